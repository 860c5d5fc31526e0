"""What a study will cost, by arithmetic alone: sizes in, one line for each step out. Opens nothing and imports no torch.

    seconds of a core = work / measured rate + parts · overhead            rates and their sources: flows/cost/rates.py
    forward pass      = 2 · parameters · tokens FLOPs,   training = 6 · parameters · tokens
    wall time         = max(longest part, seconds of cores / processes), added up over the steps

A line is right within a factor of about two where its rates were measured, and a guess where one of them is a guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from flows.cost.hardware import Machine
from flows.cost.line import Line, line_of, novelty_rate, query_rate
from flows.cost.rates import RATES, SIZES
from flows.cost.sizes import Asking, CorpusSize, Counting, ModelSize, TaskSize
from tasks.metrics.measure import MEASURES, NEEDS


def forward_flops(parameters: float, tokens: float) -> float:
    """FLOPs of a pass over so many tokens."""
    return 2.0 * parameters * tokens


def training_flops(parameters: float, tokens: float) -> float:
    """FLOPs of a training on so many tokens: the way back costs twice the way there."""
    return 6.0 * parameters * tokens


def estimate(
    corpus: CorpusSize,
    tasks: Sequence[TaskSize],
    models: Sequence[ModelSize],
    machine: Machine,
    asking: Asking,
    counting: Counting,
    placebo: CorpusSize | None = None,
) -> list[Line]:
    """A line for each step of a study, in the order they run."""
    lines = [
        *_corpus(corpus, counting),
        _held_out(corpus, tasks, models),
        _placebo(placebo, tasks, machine, asking, counting),
        *_tasks(corpus, tasks, machine, asking),
        *_models(corpus, tasks, models, machine, asking, counting),
    ]
    order = [
        "plant",
        "ingest",
        "held_out",
        "read",
        "tokenizer",
        "tokens",
        "models",
        "words",
        "extract",
        "embed",
        "align",
        "query",
        "placebo",
        "infinigram",
        "score",
        "generate",
        "novelty",
        "count",
        "index",
        "measure",
        "trace",
        "report",
    ]
    lines += _counts(corpus, tasks, models, counting, len(asking.variants))
    return sorted(lines, key=lambda line: order.index(line.step))


def _corpus(c: CorpusSize, counting: Counting) -> list[Line]:
    """Files to documents, tokens and words."""
    rate, size, guesses = RATES, SIZES, c.guesses
    stored = {
        name: size[name].value * amount for name, amount in (("documents", c.text), ("tokens", c.tokens), ("words", c.words))
    }
    unpacking = c.unpacked / rate["unpack"].value
    trained = min(counting.training_bytes, c.text) if counting.trains_tokenizer else 0.0
    return [
        line_of(
            "plant",
            5 if c.planted else 0,
            work=c.words if c.planted else 0,
            unit="words",
            written=c.text if c.planted else 0,
            core=c.words / rate["plant"].value if c.planted else 0,
        ),
        line_of(
            "ingest",
            c.parts,
            ["unpack"] if c.unpacked else [],
            guesses,
            work=c.documents,
            unit="documents",
            read=c.packed,
            written=stored["documents"],
            core=c.text / rate["ingest"].value + unpacking,
            memory=0.5e9,
        ),
        line_of(
            "tokenizer",
            1,
            work=trained,
            unit="bytes",
            read=trained,
            written=1e5,
            core=trained / rate["train a tokenizer"].value,
            memory=1e9,
        ),
        line_of(
            "tokens",
            c.parts,
            [],
            guesses,
            work=c.tokens,
            unit="tokens",
            read=stored["documents"],
            written=stored["tokens"],
            core=c.tokens / rate["tokens"].value,
            memory=0.65e9,
        ),
        line_of(
            "words",
            c.parts,
            [],
            guesses,
            work=c.words,
            unit="words",
            read=stored["documents"],
            written=stored["words"],
            core=c.words / rate["words"].value,
            memory=0.45e9,
        ),
    ]


def _held_out(c: CorpusSize, tasks: Sequence[TaskSize], models: Sequence[ModelSize]) -> Line:
    """A sample of what is kept out of the corpus, where models are asked to say something."""
    wanted = bool(models) and any(t.new_tokens for t in tasks)
    text = c.held_out if wanted else 0.0
    parts = (1 if c.planted else c.parts * c.held_out / c.text if c.text else 0.0) if wanted else 0.0
    return line_of(
        "held_out",
        math.ceil(parts),
        work=text,
        unit="bytes of text",
        read=text,
        written=1e5 * math.ceil(parts),
        core=text / RATES["ingest"].value,
        memory=0.2e9,
    )


def _placebo(c: CorpusSize | None, tasks: Sequence[TaskSize], machine: Machine, asking: Asking, counting: Counting) -> Line:
    """What the steps that count pairs cost on the placebo corpus."""
    if c is None:
        return line_of("placebo", 0, unit="words")
    every = (*_corpus(c, counting), *_tasks(c, tasks, machine, asking))
    own = [line for line in every if line.step in ("plant", "ingest", "words", "query")]
    total = {name: sum(getattr(line, name) for line in own) for name in ("read", "written", "core")}
    guesses = tuple(dict.fromkeys(g for line in own for g in line.guesses))
    return Line(
        "placebo",
        sum(line.parts for line in own),
        work=c.words,
        unit="words",
        **total,
        longest=max(line.longest for line in own),
        memory=max(line.memory for line in own),
        guesses=guesses,
    )


def _tasks(c: CorpusSize, tasks: Sequence[TaskSize], machine: Machine, asking: Asking) -> list[Line]:
    """Examples to task-grams, and their counts in the corpus."""
    rate, size, n = RATES, SIZES, len(tasks)
    examples, ngrams, pairs = (sum(f(t) for t in tasks) for f in (lambda t: t.evaluated + t.mined, _ngrams, _pairs))
    context = sum(t.evaluated * (t.prompt_bytes + t.output_bytes) / size["token"].value for t in tasks)
    rows = context * size["partial rows"].value * c.parts
    asked = (
        [pairs, pairs * len(asking.variants)] if asking.variants else [pairs]
    )  # variants have a scan of their own, together
    scan = sum(c.words / query_rate(some) + c.parts * some * rate["prepare pairs"].value for some in asked)
    total = sum(asked) * (rate["sum pairs"].value + c.parts * 0.2e-6)
    policies, mined = len({v.ngrams for v in asking.variants} | {""}), pairs * (1 + len(asking.variants))
    found = ("pairs of other tasks and encoders than the debian study's",)
    many = ("partial results of more parts than the debian study's ten",) if c.parts > 100 else ()
    return [
        line_of(
            "read",
            n,
            work=examples,
            unit="examples",
            written=examples * size["example"].value,
            core=examples / rate["read"].value,
        ),
        line_of(
            "extract",
            n * policies,
            work=ngrams * policies,
            unit="n-grams",
            written=ngrams * policies * size["ngram"].value,
            core=ngrams * policies / rate["extract"].value,
        ),
        _embed(tasks, machine, asking),
        line_of(
            "align",
            n * (1 + len(asking.variants)),
            [],
            found,
            work=mined,
            unit="pairs",
            written=mined * size["pair"].value,
            core=mined / rate["align"].value,
            memory=1e9,
        ),
        line_of(
            "query",
            len(asked) * (c.parts + 1) if c.parts else 0,
            [],
            (*c.guesses, *found, *many),
            unit="words",
            work=len(asked) * c.words,
            read=len(asked) * c.words * size["words"].value,
            core=scan + total,
            longest=max(total, scan / max(1, c.parts)) / len(asked),
            memory=0.3e9 + 200 * max(asked),
            written=sum(asked) * (size["count of a pair"].value + c.parts * size["pair partial"].value),
        ),
        line_of(
            "infinigram",
            c.parts + 1 if c.parts else 0,
            [],
            (*c.guesses, *many),
            work=c.tokens,
            unit="tokens",
            read=c.tokens * size["tokens"].value,
            written=rows * size["partial"].value,
            core=c.tokens / rate["infinigram"].value + rows * rate["infinigram sum"].value,
            longest=max(rows * rate["infinigram sum"].value, c.tokens / rate["infinigram"].value / max(1, c.parts)),
            memory=0.5e9 + 100 * context,
        ),
    ]


def _embed(tasks: Sequence[TaskSize], machine: Machine, asking: Asking) -> Line:
    """Vectors of the distinct n-grams, about half of all: learnt links, or passes of a sentence encoder."""
    distinct = sum(t.ngrams for t in tasks) / 2
    longest = max((t.ngrams for t in tasks), default=0) / 2
    every = (asking, *asking.variants)
    largest = max(a.encoder for a in every)
    speed, guesses = _speed(machine, [ModelSize("encoder", largest)]) if largest else (0.0, [])
    each = [forward_flops(a.encoder, 8) / speed if a.encoder else 1 / RATES["embed"].value for a in every]
    on_gpu = [bool(a.encoder) and machine.gpu is not None for a in every]
    cores, gpus = (distinct * sum(s for s, gpu in zip(each, on_gpu, strict=True) if gpu == there) for there in (False, True))
    return line_of(
        "embed",
        len(tasks) * len(every),
        ["encoder"] if largest else [],
        guesses,
        work=distinct * len(every),
        unit="distinct n-grams",
        written=distinct * sum(a.dimensions for a in every) * SIZES["embedding"].value,
        core=cores,
        gpu=gpus,
        longest=longest * max(each),
        memory=1e9 + 4 * largest,
    )


def _ngrams(task: TaskSize) -> float:
    return task.ngrams


def _pairs(task: TaskSize) -> float:
    return task.pairs


def _models(
    c: CorpusSize,
    tasks: Sequence[TaskSize],
    models: Sequence[ModelSize],
    machine: Machine,
    asking: Asking,
    counting: Counting,
) -> list[Line]:
    """Training, and asking: score and generate."""
    score = _Passes("score", machine)
    said = _Passes("generate", machine)
    for model in models:
        for task in tasks:
            prompt, output = (b / counting.bytes_per_token.value for b in (task.prompt_bytes, task.output_bytes))
            requests = task.evaluated * (1 + max(0, task.options - 1) + asking.other_inputs)
            score.ask(model, requests, requests * (prompt + output))
            score.written += (
                task.evaluated * (1 + task.options + asking.other_inputs) * SIZES["score"].value * model.checkpoints
            )
            if task.new_tokens:
                batch = max(1.0, asking.batch_tokens / (prompt + task.new_tokens))
                said.ask(model, task.evaluated, task.evaluated * prompt, task.evaluated * task.new_tokens, batch)
                said.written += task.evaluated * SIZES["generation"].value * model.checkpoints
    flops = {m.name: training_flops(m.parameters, m.trained) for m in models}
    speed, guesses = _speed(machine, [m for m in models if m.trained])
    seconds = {name: work / speed for name, work in flops.items()}
    down = sum(m.download for m in models)
    own = sum(m.parameters * 4 * m.checkpoints for m in models if m.trained)
    fetch = down / RATES["download"].value
    notes = [g for m in models if (g := m.guess)] + (guesses if sum(flops.values()) else [])
    training = line_of(
        "models",
        len(models),
        ["download"] if down else [],
        notes,
        work=sum(flops.values()) or down,
        unit="FLOPs" if sum(flops.values()) else "bytes to download",
        read=down,
        written=own + down,
        core=fetch + (0 if machine.gpu else sum(seconds.values())),
        gpu=sum(seconds.values()) if machine.gpu else 0,
        longest=max([fetch, *seconds.values()]),
        memory=max((m.parameters * 16 + 0.5e9 for m in models if m.trained), default=0),
    )
    return [training, score.line(), said.line()]


class _Passes:
    """Adds up what asking models costs."""

    def __init__(self, step: str, machine: Machine) -> None:
        self.step, self.machine = step, machine
        self.parts, self.passes, self.seconds, self.read, self.written = 0, 0.0, 0.0, 0.0, 0.0
        self.longest, self.memory = 0.0, 0.0
        self.models: list[ModelSize] = []

    def ask(self, model: ModelSize, requests: float, tokens: float, new: float = 0.0, batch: float = 1.0) -> None:
        """One task put to every checkpoint of a model: tokens in passes, and tokens generated one after the other."""
        speed, _ = _speed(self.machine, [model])
        weights = model.parameters * self.machine.weight_bytes
        one = forward_flops(model.parameters, tokens) / speed + weights / RATES["load"].value + RATES["model part"].value
        if self.machine.gpu:  # a step of generation reads all weights, however few texts there are
            step = max(weights / self.machine.gpu.bandwidth, forward_flops(model.parameters, batch) / speed)
            one += new / batch * step
        else:
            one += new * RATES["new token"].value + forward_flops(model.parameters, new) / speed
        self.parts += model.checkpoints
        self.passes += (requests if not new else requests + new) * model.checkpoints
        self.seconds += one * model.checkpoints
        self.read += weights * model.checkpoints
        self.longest = max(self.longest, one)
        self.memory = max(self.memory, weights * 1.1 + 1.0e9)
        self.models.append(model)

    def line(self) -> Line:
        """The step."""
        _, guesses = _speed(self.machine, self.models)
        on_gpu = self.machine.gpu is not None
        return line_of(
            self.step,
            self.parts,
            ["load"] if self.read > 1e9 else [],
            guesses if self.parts else [],
            work=self.passes,
            unit="forward passes",
            read=self.read,
            written=self.written,
            core=0 if on_gpu else self.seconds,
            gpu=self.seconds if on_gpu else 0,
            longest=self.longest,
            memory=self.memory,
        )


def _speed(machine: Machine, models: Sequence[ModelSize]) -> tuple[float, list[str]]:
    """FLOP/s of a GPU, or of a core without one, and whether it is a guess."""
    if machine.flops:
        return machine.flops, []
    if machine.gpu:
        peak = machine.gpu.half if machine.weight_bytes == 2 else machine.gpu.single
        rate = RATES["gpu"]
        return peak * rate.value, [f"{rate.source} ({rate.value:g} {rate.unit})"]
    rate = RATES["core, large" if any(m.parameters > 10e6 for m in models) else "core"]
    return rate.value, [f"{rate.value / 1e9:g} GFLOP/s of a core, {rate.source}"] if rate.guess else []


def _counts(
    c: CorpusSize, tasks: Sequence[TaskSize], models: Sequence[ModelSize], counting: Counting, variants: int
) -> list[Line]:
    """Novelty, all n-grams, the index; measures and report."""
    rate, size = RATES, SIZES
    measures = len(MEASURES) - len(NEEDS)  # those for planted worlds and placebos apart
    asked = sum(m.checkpoints for m in models)
    measured = len(tasks) * asked * rate["measure"].value
    traced = sum(t.evaluated for t in tasks) * max(1, len(models))
    orders, longest = len(counting.orders), max(counting.orders, default=-2)
    spilled = c.words * size["suffixes"].value * (longest + 2)
    counted = c.words * orders / rate["count"].value
    indexed = (c.words + c.tokens) if counting.index else 0.0
    return [
        _novelty(c, tasks, asked, counting),
        line_of(
            "count",
            c.parts + counting.buckets + 1 if orders else 0,
            [],
            c.guesses,
            work=c.words * orders,
            unit="words × orders",
            read=c.words * size["words"].value if orders else 0,
            core=counted,
            written=c.words * size["ngrams"].value * orders + spilled,
            memory=0.6e9,
        ),
        line_of(
            "index",
            2 * c.parts if counting.index else 0,
            ["index"] if counting.index else [],
            work=indexed,
            unit="tokens",
            written=indexed * size["index"].value,
            core=indexed / rate["index"].value,
            memory=1.5e9,
        ),
        line_of(
            "measure",
            (measures + variants) * len(tasks) + 1 if tasks else 0,
            work=len(tasks) * asked,
            unit="tasks × checkpoints",
            written=4e5,
            core=measured,
            longest=measured / max(1, len(tasks)),
            memory=1e9,
        ),
        line_of(
            "trace",
            len(tasks),
            work=traced,
            unit="examples × models",
            written=traced * size["trace"].value,
            core=traced * rate["trace"].value,
            memory=0.5e9,
        ),
        line_of(
            "report",
            2 + len(tasks),
            core=rate["report"].value + traced * rate["trace page"].value,
            unit="pages",
            work=1,
            written=1e6 + traced * size["trace page"].value,
            memory=0.5e9,
        ),
    ]


def _novelty(c: CorpusSize, tasks: Sequence[TaskSize], asked: int, counting: Counting) -> Line:
    """All texts of all models, references and held-out text ask each part of the corpus together, as often as memory demands."""
    rate, size = RATES, SIZES
    generated = [t for t in tasks if t.new_tokens] if asked and c.parts else []
    beside = 2 if c.planted or c.held_out else 1
    words = counting.bytes_per_token.value / size["word"].value  # of a token
    said = sum(
        t.evaluated * (asked * t.new_tokens * words + beside * t.output_bytes / size["word"].value) for t in generated
    )
    ngrams = said * counting.novelty_orders
    distinct = ngrams * size["distinct"].value
    passes = max(1, math.ceil(distinct * size["asked"].value / counting.memory))
    texts, parts = len(generated) * (asked + beside), c.parts if generated else 0
    read = passes * c.words if generated else 0.0
    scan = read / novelty_rate(distinct / passes) + parts * distinct * rate["prepare n-grams"].value
    own, together = texts * rate["novelty texts"].value, ngrams * rate["sum novelty"].value
    far = ("n-grams beyond the three million that were measured",) if distinct / passes > 3e6 else ()
    return line_of(
        "novelty",
        texts + parts + (2 if generated else 0),
        [],
        (*c.guesses, *far) if generated else (),
        work=read,
        unit="words",
        read=read * size["words"].value,
        core=scan + own + together,
        written=ngrams * size["question"].value + parts * distinct * size["novelty"].value,
        longest=max(together, scan / max(1, parts)),
        memory=0.4e9 + min(distinct * size["asked"].value, counting.memory) + 100 * distinct,
    )

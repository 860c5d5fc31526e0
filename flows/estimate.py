"""What a study will cost, by arithmetic alone: sizes in, one line for each step out. Opens nothing and imports no torch.

    seconds of a core = work / measured rate + parts · overhead            rates and their sources: flows/rates.py
    forward pass      = 2 · parameters · tokens FLOPs,   training = 6 · parameters · tokens
    wall time         = max(longest part, seconds of cores / processes), added up over the steps

A line is right within a factor of about two where its rates were measured, and a guess where one of them is a guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from flows.hardware import Machine
from flows.rates import RATES, SIZES
from flows.sizes import Asking, CorpusSize, Counting, ModelSize, TaskSize
from tasks.metrics.measure import MEASURES


@dataclass(frozen=True)
class Line:
    """One step. `work` in `unit`s; read and written in bytes; seconds of cores, of GPUs, and of its longest part."""

    step: str
    parts: int
    work: float = 0.0
    unit: str = ""
    read: float = 0.0
    written: float = 0.0
    core: float = 0.0
    gpu: float = 0.0
    longest: float = 0.0
    memory: float = 0.0
    guesses: tuple[str, ...] = ()

    def wall(self, machine: Machine) -> float:
        """Seconds it takes, its parts spread over processes or GPUs."""
        return max(self.longest, self.core / max(1, machine.processes), self.gpu / machine.gpus) if self.parts else 0.0


def query_rate(pairs: float) -> float:
    """Words a second of the scan that counts so many pairs: between the measured ones a straight line of logarithms."""
    known = [(3.0, RATES["query, 1k pairs"]), (5.0, RATES["query, 100k pairs"]), (6.0, RATES["query, 1M pairs"])]
    at = math.log10(max(pairs, 1_000.0))
    for (x, low), (y, high) in zip(known, known[1:], strict=False):
        if at <= y or (y, high) == known[-1]:  # beyond a million the last line goes on
            slope = (math.log(high.value) - math.log(low.value)) / (y - x)
            return math.exp(math.log(low.value) + slope * (at - x))
    raise AssertionError("the last line covers all")


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
) -> list[Line]:
    """A line for each step of a study, in the order they run."""  # fmt: skip
    lines = [
        *_corpus(corpus, counting),
        *_tasks(corpus, tasks, machine, asking),
        *_models(corpus, tasks, models, machine, asking, counting),
    ]
    order = ["plant", "ingest", "read", "tokenizer", "tokens", "models", "words", "extract", "embed", "align", "query",
             "infinigram", "score", "generate", "novelty", "count", "index", "measure", "trace", "report"]  # fmt: skip
    lines += _counts(corpus, tasks, models, counting, len(asking.variants))
    return sorted(lines, key=lambda line: order.index(line.step))


def _line(step: str, parts: float, rates: Iterable[str] = (), guesses: Iterable[str] = (), **numbers: object) -> Line:
    """A line with its overhead added, and what of it is a guess."""
    told = [f"{RATES[r].source} ({RATES[r].value:g} {RATES[r].unit})" for r in rates if RATES[r].guess]
    line = Line(step, int(parts), guesses=(*guesses, *told), **numbers)  # type: ignore[arg-type]
    overhead = RATES["part"].value
    core = line.core + line.parts * overhead
    longest = line.longest or (line.core / line.parts if line.parts else 0.0)
    return replace(line, core=core, longest=longest + overhead if line.parts else 0.0)


def _corpus(c: CorpusSize, counting: Counting) -> list[Line]:
    """Files to documents, tokens and words."""
    rate, size, guesses = RATES, SIZES, c.guesses
    stored = {name: size[name].value * amount for name, amount in
              (("documents", c.text), ("tokens", c.tokens), ("words", c.words))}  # fmt: skip
    unpacking = c.unpacked / rate["unpack"].value
    trained = min(counting.training_bytes, c.text) if counting.trains_tokenizer else 0.0
    return [
        _line("plant", 5 if c.planted else 0, work=c.words if c.planted else 0, unit="words",
              written=c.text if c.planted else 0, core=c.words / rate["plant"].value if c.planted else 0),
        _line("ingest", c.parts, ["unpack"] if c.unpacked else [], guesses, work=c.documents, unit="documents", read=c.packed,
              written=stored["documents"], core=c.text / rate["ingest"].value + unpacking, memory=0.5e9),
        _line("tokenizer", 1, work=trained, unit="bytes", read=trained, written=1e5,
              core=trained / rate["train a tokenizer"].value, memory=1e9),
        _line("tokens", c.parts, [], guesses, work=c.tokens, unit="tokens", read=stored["documents"],
              written=stored["tokens"], core=c.tokens / rate["tokens"].value, memory=0.65e9),
        _line("words", c.parts, [], guesses, work=c.words, unit="words", read=stored["documents"], written=stored["words"],
              core=c.words / rate["words"].value, memory=0.45e9),
    ]  # fmt: skip


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
        _line("read", n, work=examples, unit="examples", written=examples * size["example"].value,
              core=examples / rate["read"].value),
        _line("extract", n * policies, work=ngrams * policies, unit="n-grams", written=ngrams * policies * size["ngram"].value,
              core=ngrams * policies / rate["extract"].value),
        _embed(tasks, machine, asking),
        _line("align", n * (1 + len(asking.variants)), [], found, work=mined, unit="pairs", written=mined * size["pair"].value,
              core=mined / rate["align"].value, memory=1e9),
        _line("query", len(asked) * (c.parts + 1) if c.parts else 0, [], (*c.guesses, *found, *many), unit="words",
              work=len(asked) * c.words, read=len(asked) * c.words * size["words"].value, core=scan + total,
              longest=max(total, scan / max(1, c.parts)) / len(asked), memory=0.3e9 + 200 * max(asked),
              written=sum(asked) * (size["count of a pair"].value + c.parts * size["pair partial"].value)),
        _line("infinigram", c.parts + 1 if c.parts else 0, [], (*c.guesses, *many), work=c.tokens, unit="tokens",
              read=c.tokens * size["tokens"].value, written=rows * size["partial"].value,
              core=c.tokens / rate["infinigram"].value + rows * rate["infinigram sum"].value,
              longest=max(rows * rate["infinigram sum"].value, c.tokens / rate["infinigram"].value / max(1, c.parts)),
              memory=0.5e9 + 100 * context),
    ]  # fmt: skip


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
    return _line(
        "embed", len(tasks) * len(every), ["encoder"] if largest else [], guesses, work=distinct * len(every),
        unit="distinct n-grams", written=distinct * sum(a.dimensions for a in every) * SIZES["embedding"].value, core=cores,
        gpu=gpus, longest=longest * max(each), memory=1e9 + 4 * largest,
    )  # fmt: skip


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
    """Training, and asking: score and generate."""  # fmt: skip
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
    training = _line(
        "models", len(models), ["download"] if down else [], notes, work=sum(flops.values()) or down,
        unit="FLOPs" if sum(flops.values()) else "bytes to download", read=down, written=own + down,
        core=fetch + (0 if machine.gpu else sum(seconds.values())), gpu=sum(seconds.values()) if machine.gpu else 0,
        longest=max([fetch, *seconds.values()]),
        memory=max((m.parameters * 16 + 0.5e9 for m in models if m.trained), default=0),
    )  # fmt: skip
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
        return _line(
            self.step, self.parts, ["load"] if self.read > 1e9 else [], guesses if self.parts else [], work=self.passes,
            unit="forward passes", read=self.read, written=self.written, core=0 if on_gpu else self.seconds,
            gpu=self.seconds if on_gpu else 0, longest=self.longest, memory=self.memory,
        )  # fmt: skip


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
    generated = [t for t in tasks if t.new_tokens]
    measures = len(MEASURES) - 1  # `truth` is for planted worlds
    asked = sum(m.checkpoints for m in models)
    texts = len(generated) * (asked + 1) if asked else 0
    scans = texts * c.words / rate["novelty scan"].value
    measured = len(tasks) * asked * rate["measure"].value
    traced = sum(t.evaluated for t in tasks) * max(1, len(models))
    orders, longest = len(counting.orders), max(counting.orders, default=-2)
    spilled = c.words * size["suffixes"].value * (longest + 2)
    counted = c.words * orders / rate["count"].value
    indexed = (c.words + c.tokens) if counting.index else 0.0
    return [
        # a scan is one part for each model, task and part of the corpus; the overhead is in its rate
        replace(_line("novelty", texts * (c.parts + 2), [], c.guesses, work=texts * c.words, unit="words",
                      read=texts * c.words * size["words"].value, written=texts * c.parts * size["novelty"].value,
                      memory=0.6e9), core=scans + texts * rate["novelty texts"].value, longest=rate["novelty texts"].value),
        _line("count", c.parts + counting.buckets + 1 if orders else 0, [], c.guesses, work=c.words * orders,
              unit="words × orders", read=c.words * size["words"].value if orders else 0, core=counted,
              written=c.words * size["ngrams"].value * orders + spilled,
              memory=0.6e9),
        _line("index", 2 * c.parts if counting.index else 0, ["index"] if counting.index else [], work=indexed, unit="tokens",
              written=indexed * size["index"].value, core=indexed / rate["index"].value, memory=1.5e9),
        _line("measure", (measures + variants) * len(tasks) + 1 if tasks else 0, work=len(tasks) * asked,
              unit="tasks × checkpoints", written=4e5, core=measured, longest=measured / max(1, len(tasks)), memory=1e9),
        _line("trace", len(tasks), work=traced, unit="examples × models", written=traced * size["trace"].value,
              core=traced * rate["trace"].value, memory=0.5e9),
        _line("report", 2 + len(tasks), core=rate["report"].value + traced * rate["trace page"].value, unit="pages", work=1,
              written=1e6 + traced * size["trace page"].value, memory=0.5e9),
    ]  # fmt: skip

"""A survey of a study: how large its parts are, from names, sizes and settings, before anything of it is read.

What is there is measured (bytes of files, rows of small task files, shapes of models); what is not is taken from what the
study expects of it (`tokens`, `documents`, `expected`), and else named as missing. Imports no torch.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.cost.rates import HUB, PROMPT_BYTES, RATES, SIZES, Rate, Shape
from flows.cost.sizes import Asking, CorpusSize, Counting, Missing, ModelSize, Sizes, TaskSize
from schemas import Study, StudyError
from schemas.settings.study_file import Model, Source, Task, parse_count
from schemas.settings.variant_views import views
from tasks.storage.source_files import pattern_below

COUNTED = 100_000_000  # bytes of task files whose lines are counted; larger ones are estimated by their size
PACKED = (".gz", ".zst")
PLANTED_LENGTH = {"translation": 0.2, "qa": 0.8, "multiple_choice": 0.2, "math": 0.15}  # of texts, as in the sample


@dataclass
class _Notes:
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def files(self, patterns: Sequence[str], study: Study, what: str) -> list[Path]:
        """The files that patterns name; those that name none are noted."""
        found: list[Path] = []
        for pattern in patterns:
            where = Path(study.data or ".") / pattern
            here = sorted(
                Path(p)
                for p in glob.glob(pattern_below(Path(study.data or "."), pattern), recursive=True)
                if Path(p).is_file()
            )
            if not here:
                self.missing.append(Missing(what, str(where)))
            found += [p for p in here if p not in found]
        return found


def sizes_of(study: Study) -> Sizes:
    """Everything that can be said of a study's sizes."""
    told = _Notes()
    if study.tokenizer.file and not (Path(study.data or ".") / study.tokenizer.file).is_file():
        told.missing.append(Missing("tokenizer", str(Path(study.data or ".") / study.tokenizer.file)))
    per_token = _bytes_per_token(study)
    corpus = _size(study, per_token, told)
    instead = study.of_placebo()
    placebo = _size(instead, per_token, told) if instead else None
    counting = Counting(
        tuple(sorted(set(study.counting.all_orders))),
        study.counting.buckets,
        study.counting.index,
        study.tokenizer.training_bytes,
        not study.tokenizer.file,
        per_token,
        study.counting.memory_bytes,
        len(set(study.counting.novelty_orders)),
    )
    return Sizes(
        corpus,
        tuple(_task(t, study, told) for t in study.tasks),
        tuple(_model(m, study, told) for m in study.models),
        counting,
        _asking(study),
        tuple(told.missing),
        tuple(told.notes),
        placebo,
    )


def _asking(study: Study) -> Asking:
    found = [
        Asking(
            study.scoring.other_inputs,
            study.scoring.batch_tokens,
            0.0 if view.study.encoder.kind == "association" else RATES["encoder"].value,
            view.study.encoder.dimensions,
            view.ngrams,
        )
        for view in views(study)
    ]
    return replace(found[0], variants=tuple(found[1:]))


def _bytes_per_token(study: Study) -> Rate:
    small = not study.tokenizer.file and study.tokenizer.vocabulary < 16_000
    return SIZES["small token" if small else "token"]


# -- the corpus ------------------------------------------------------------------------------------------------------
def _size(study: Study, per_token: Rate, told: _Notes) -> CorpusSize:
    return _planted(study, per_token) if study.corpus.planted else _corpus(study, per_token, told)


def _planted(study: Study, per_token: Rate) -> CorpusSize:
    """A planted world: words are a setting, and the sample says the rest (4.35 bytes a token, 53 a document)."""
    planted = study.corpus.planted
    assert planted is not None
    text = planted.tokens * 6.55
    return CorpusSize(text, text, text / 53, text / 4.35, planted.tokens, planted.shards, 0.0, planted=True)


def _corpus(study: Study, per_token: Rate, told: _Notes) -> CorpusSize:
    found = [_source(s, study, per_token, told) for s in study.corpus.sources]
    guesses = tuple(dict.fromkeys(g for s in found for g in s.guesses))
    total = {
        n: sum(getattr(s, n) for s in found)
        for n in ("packed", "text", "documents", "tokens", "words", "unpacked", "held_out")
    }
    return CorpusSize(**total, parts=sum(s.parts for s in found), guesses=guesses)


def _source(source: Source, study: Study, per_token: Rate, told: _Notes) -> CorpusSize:
    """Sizes of one source: from its files, unless the study says how many tokens to expect."""
    files = told.files(source.files, study, f"corpus source {source.name!r}")
    piece, packing = study.corpus.partition_bytes, SIZES["packing"].value
    unfolded = [(float(p.stat().st_size), p.stat().st_size * (packing if p.suffix in PACKED else 1.0)) for p in files]
    guesses: list[str] = []
    if source.tokens:
        tokens = float(parse_count(source.tokens))
        text = tokens * per_token.value
        guesses.append(f"{source.name}: {source.tokens} tokens, as the study expects")
    else:
        text = sum(size for _, size in unfolded) * SIZES["text"].value
        tokens = text / per_token.value
        if files:
            guesses.append(
                f"text from the size of files: {packing:g} bytes of JSON lines in a packed byte, {SIZES['text'].value:.0%} text"
            )
        else:
            told.notes.append(
                f'{source.name}: not in the estimate; tokens = "300G" under its [[corpus.sources]] would tell its size'
            )
    if text:
        guesses.append(f"{per_token.value:g} {per_token.unit} ({per_token.source})")
    documents = float(parse_count(source.documents)) if source.documents else text / SIZES["document"].value
    if text and not source.documents:
        guesses.append(f"{SIZES['document'].value:,.0f} {SIZES['document'].unit} ({SIZES['document'].source})")
    if not files:  # shards as the Pile has them: packed, far larger than a piece
        json_bytes = text / SIZES["text"].value
        shards = max(1, round(json_bytes / SIZES["shard"].value))
        if text:
            guesses.append(f"{SIZES['shard'].value:.3g} {SIZES['shard'].unit} ({SIZES['shard'].source})")
        unfolded = [(json_bytes / packing / shards, json_bytes / shards)] * (shards if text else 0)
    pieces = [max(1, -(-int(size) // piece)) for _, size in unfolded]
    unpacked = sum(
        size * n for (held, size), n in zip(unfolded, pieces, strict=True) if held != size
    )  # each piece of a packed file unpacks all of it
    if unpacked > 20 * text > 0:
        told.notes.append(
            f"{source.name}: a packed file is unpacked once for each of its pieces, {unpacked / text:.0f} times in all; smaller "
            f"shards, or a larger `partition` (now {study.corpus.partition}), make ingest cheaper"
        )
    return CorpusSize(
        sum(held for held, _ in unfolded),
        text,
        documents,
        tokens,
        text / SIZES["word"].value,
        sum(pieces),
        unpacked,
        guesses=tuple(guesses),
        held_out=text if source.held_out else 0.0,
    )


# -- the tasks -------------------------------------------------------------------------------------------------------
def _task(task: Task, study: Study, told: _Notes) -> TaskSize:
    options = 4 if task.family == "multiple_choice" else 0
    size = TaskSize(
        task.name,
        task.family,
        0.0,
        0.0,
        tuple(task.orders),
        options=options,
        shots=int(getattr(task, "shots", 0) or 0),
        new_tokens=task.max_new_tokens if task.generate and task.family != "multiple_choice" else 0,
    )
    if task.reader == "planted":
        most = study.corpus.planted.examples if study.corpus.planted else 0
        return replace(size, evaluated=0.9 * most, mined=3.2 * most, length=PLANTED_LENGTH[task.family])  # as in the sample
    evaluate = told.files(task.evaluate, study, f"task {task.name!r}")
    mine = told.files(task.mine, study, f"task {task.name!r}, mining")
    evaluated, mined = _records(evaluate, task), _records(mine, task)
    if task.split:
        share = study.splits[task.split].share
        evaluated, mined = evaluated * share, evaluated * (1 - share)
    elif not task.mine:
        mined = evaluated
    if task.expected and (not evaluate or (task.mine and not mine)):
        evaluated, mined = task.expected
    if not evaluated:
        told.notes.append(
            f"task {task.name!r}: not in the estimate; expected = [2000, 10000] would tell its evaluated and mining examples"
        )
    return replace(size, evaluated=min(evaluated, task.limit or evaluated), mined=min(mined, task.mine_limit or mined))


def _records(files: Sequence[Path], task: Task) -> float:
    """Records of task files: lines of those with one record a line, else by size."""
    prompt, output = PROMPT_BYTES[task.family]
    found = 0.0
    for path in files:
        size = path.stat().st_size
        if path.suffix in (".jsonl", ".csv", ".tsv", ".txt") and size <= COUNTED:
            with path.open("rb") as lines:
                found += sum(1 for _ in lines)
        else:
            found += size * (SIZES["packing"].value if path.suffix in PACKED else 1) / (prompt + output + 40)
    return found


# -- the models ------------------------------------------------------------------------------------------------------
def _model(model: Model, study: Study, told: _Notes) -> ModelSize:
    if model.pretrain:
        p = model.pretrain
        vocabulary = study.tokenizer.vocabulary if not study.tokenizer.file else 50_304
        shape = Shape(p.hidden, p.layers, vocabulary, 4, tied=True)
        return ModelSize(model.name, shape.parameters, len(set(p.checkpoints)), trained=p.tokens)
    if model.hub:
        known = HUB.get(model.hub)
        if known:
            return ModelSize(model.name, known.parameters, download=known.parameters * known.bytes_each)
        told.notes.append(
            f"model {model.name!r}: the size of {model.hub} is not known before it is here; 1e9 parameters assumed"
        )
        return ModelSize(model.name, 1e9, download=2e9, guess=f"{model.name}: 1e9 parameters")
    folder = Path(study.data or ".") / Path(model.path).expanduser()
    weights = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not weights:
        told.missing.append(Missing(f"model {model.name!r}", str(folder)))
        return ModelSize(model.name, 0.0, checkpoints=0)
    return ModelSize(model.name, sum(_numbers(w) for w in weights))


def _numbers(path: Path) -> float:
    """How many numbers a safetensors file holds, from its header (a length of 8 bytes, then JSON)."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found = 0.0
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1.0
                for width in tensor["shape"]:
                    count *= width
                found += count
        return found
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{path}: no safetensors file; copy it again") from None

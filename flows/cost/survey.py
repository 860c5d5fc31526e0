"""A survey of a study: how large its parts are, from names, sizes, settings and a sample of its corpus, before it runs.

What is there is measured (texts of a sample, rows of small task files, shapes of models, the speed of the last training); what
is not is taken from what the study expects of it (`tokens`, `documents`, `expected`), and else listed as missing. Imports no
torch.
"""

import glob
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flows.cost.sample import SourceSample, bytes_per_token, sample_of
from schemas import MODELS, Study, StudyError
from schemas.settings.base import parse_count, parse_size
from schemas.settings.study_file import Model, Source, Task
from tasks import cost
from tasks.corpus.ingest import TYPICAL_PACKING, pieces_of, unpacked_size
from tasks.cost import CorpusSize, Gpu, Machine, Missing, ModelSize, Rate, Sizes, TaskSize
from tasks.models.shapes import HUB, Shape, saved_parameters
from tasks.models.special_tokens import special_tokens
from tasks.storage.source_files import pattern_below
from tasks.storage.store import Part, Store

SHARD = Rate(10e9, "bytes of JSON lines in a packed shard that is not here", "the Pile's have more, Dolma's fewer", guess=True)
TEXT = Rate(0.9, "bytes of text in a byte of JSON lines", "names and quotes are the rest", guess=True)
DOCUMENT = Rate(4_000.0, "bytes of text in a document", "dictionaries have 400, the Pile 5,900", guess=True)
SHORTEST, LARGE = 2.0, 10e6  # seconds of a training that tells a speed; parameters of models that reach another
COUNTED = 100_000_000  # bytes of task files whose lines are counted; larger ones are estimated by their size
PLANTED_LENGTH = {"translation": 0.2, "qa": 0.8, "multiple_choice": 0.2, "math": 0.15}  # of texts, as in the sample


@dataclass
class _Survey:
    study: Study
    missing: list[Missing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def files(self, patterns: Sequence[str], what: str) -> list[Path]:
        """The files that match the patterns; patterns without one are missing."""
        folder, files = Path(self.study.data or "."), list[Path]()
        for pattern in patterns:
            matches = sorted(Path(p) for p in glob.glob(pattern_below(folder, pattern), recursive=True) if Path(p).is_file())
            if not matches:
                self.missing.append(Missing(what, str(folder / pattern)))
            files += [p for p in matches if p not in files]
        return files


def survey(study: Study, root: str = ".") -> Sizes:
    """The sizes of a study. Raises StudyError for a file that cannot be read, never for one that is not here."""
    s = _Survey(study)
    tokenizer = Path(study.data or ".") / study.tokenizer.file
    if study.tokenizer.file and not tokenizer.is_file():
        s.missing.append(Missing("tokenizer", str(tokenizer)))
    corpus, other = _corpus(s), study.of_placebo()
    placebo = _corpus(_Survey(other, s.missing, s.notes)) if other else None
    tasks, models = tuple(_task(t, s) for t in study.tasks), tuple(_model(m, s) for m in study.models)
    machine = machine_of(study, root)
    if not (machine.flops or machine.gpu or study.hardware.cores) and max((m.parameters for m in models), default=0) < LARGE:
        flops, trained = training_speed(root)
        machine = replace(machine, flops=flops)
        s.notes += [f"models run at {flops / 1e9:.3g} GFLOP/s of a core, as {trained} did in training here"] if flops else []
    return Sizes(study, corpus, tasks, models, machine, tuple(s.missing), tuple(s.notes), placebo)


def training_speed(root: str) -> tuple[float, str]:
    """FLOP/s of a core in the newest training under a root, by its manifest, and the models that it trained; 0.0 if there is none.
    Trainings of less than two seconds, and those on a GPU, say nothing about a core."""
    store = Store(root)
    read = (store.read_json(path) for path in store.listed(store.layout.kind("models", "manifests"), ".json"))
    for manifest in sorted((m for m in read if m), key=lambda m: m["written"], reverse=True):
        flops, seconds, names = 0.0, 0.0, list[str]()
        for entry in (e for e in manifest["parts"] if e.get("seconds", 0.0) >= SHORTEST):
            part = Part("models", entry["key"], entry["labels"])
            if not store.stat(store.part_path(part)) or store.footer(part).get("settings", {}).get("device", "cpu") != "cpu":
                continue
            last = store.read([part], MODELS.schema, ["model", "parameters", "tokens_seen"]).to_pylist()[-1]
            if last["tokens_seen"] > 0:
                flops += cost.training_flops(last["parameters"], last["tokens_seen"])
                seconds += entry["seconds"]
                names.append(last["model"])
        if seconds:
            return flops / seconds, ", ".join(names)
    return 0.0, ""


def machine_of(study: Study, root: str = ".") -> Machine:
    """The machine a study names; for what it does not name, this one. StudyError for an unknown GPU."""
    h, scoring = study.hardware, study.scoring
    if h.gpu and h.gpu not in cost.GPUS and not h.flops:
        sheets = f'known are {", ".join(cost.GPUS)}. Or give what it really reaches as flops = "250T"'
        raise StudyError(f"hardware.gpu: no data sheet of {h.gpu!r}; {sheets}")
    cores = h.cores or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    ram, disk = (float(parse_size(text)) if text else 0.0 for text in (h.memory, h.disk))
    if not ram and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        ram = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    folder = next((p for p in (Path(root), *Path(root).parents) if p.is_dir()), None)
    if not disk and folder and "://" not in root:
        disk = float(shutil.disk_usage(folder).free)
    flops = float(parse_count(h.flops)) if h.flops else 0.0
    gpu = cost.GPUS.get(h.gpu, Gpu(flops, flops, 0.0, 1e12)) if h.gpu and scoring.device != "cpu" else None
    width = 4 if scoring.dtype == "float32" else 2
    return Machine(max(1, min(study.workers, cores)), gpu, h.gpus, flops, width, cores, ram, disk)


# -- the corpus ------------------------------------------------------------------------------------------------------
def _corpus(s: _Survey) -> CorpusSize:
    if planted := s.study.corpus.planted:  # words are a setting; the sample gives the rest: 4.35 bytes a token, 53 a document
        text = planted.tokens * 6.55
        return CorpusSize(text, text, text / 53, text / 4.35, planted.tokens, planted.shards, 0.0, planted=True)
    if controlled := s.study.corpus.controlled:  # one word is one token, of four letters
        documents = sum(controlled.member_copies)
        words, text = documents * controlled.window, documents * controlled.window * 5.0
        return CorpusSize(text, text, documents, words, words, 1, 0.0)
    files = {source.name: s.files(source.files, f"corpus source {source.name!r}") for source in s.study.corpus.sources}
    read = {source.name: sample_of(files[source.name], source, s.study) for source in s.study.corpus.sources}
    samples = {name: sample for name, sample in read.items() if sample}
    tokens = bytes_per_token(samples, s.study)
    named = s.study.corpus.sources
    sources = [_source(source, s, files[source.name], samples.get(source.name), tokens.get(source.name)) for source in named]
    total = {n: sum(getattr(c, n) for c in sources) for n in CorpusSize.__dataclass_fields__ if n not in ("planted", "guesses")}
    return CorpusSize(**total, guesses=tuple(dict.fromkeys(g for c in sources for g in c.guesses)))


def _source(source: Source, s: _Survey, paths: Sequence[Path], sample: SourceSample | None, token: float | None) -> CorpusSize:
    """Sizes of one source: from a sample of its files, unless the study states how many tokens to expect."""
    files = [(p.stat().st_size, p.name) for p in paths]
    per_token, per_document, per_word = cost.bytes_per_token(s.study), DOCUMENT, cost.WORD
    text, guesses, where = 0.0, list[str](), f"a sample of {source.name}"
    if token:
        per_token = Rate(token, "bytes of text in a token", where)
    if sample:
        per_document = Rate(sample.document, "bytes of text in a document", where)
        per_word = Rate(sample.word, "bytes of text in a word", where)
        if sample.read < 0.99 * sample.size:
            guesses.append(f"{source.name}: as in {sample.read / 1e6:.1f} MB of its text")
    if source.tokens:
        text = parse_count(source.tokens) * per_token
        guesses.append(f"{source.name}: {source.tokens} tokens, as the study expects")
    elif sample:
        text = sample.size
    elif files:
        text = sum(unpacked_size(name, size) for size, name in files) * TEXT
        guesses.append(f"text from the size of files: {TYPICAL_PACKING:g} bytes of JSON lines in a packed byte, {TEXT:.0%} text")
    else:
        s.notes.append(f'{source.name}: not in the estimate; tokens = "300G" under its [[corpus.sources]] would give its size')
    documents = float(parse_count(source.documents)) if source.documents else text / per_document
    if text and not sample:
        guesses.append(f"{per_token:g} {per_token.unit} ({per_token.source})")
        guesses += [] if source.documents else [f"{per_document:,.0f} {per_document.unit} ({per_document.source})"]
    if text and not files:  # shards as the Pile has them: packed, far larger than a piece
        guesses.append(f"{SHARD:.3g} {SHARD.unit} ({SHARD.source})")
        shards = max(1, round(text / TEXT / SHARD))
        files = [(round(text / TEXT / TYPICAL_PACKING / shards), "shard.zst")] * shards
    packed, full = sum(size for size, _ in files), [unpacked_size(name, size) for size, name in files]
    pieces = [pieces_of(size, s.study.corpus.partition_bytes) for size in full]
    # each piece of a packed file unpacks all of it
    unpacked = sum(all_of * n for (size, _), all_of, n in zip(files, full, pieces, strict=True) if size != all_of)
    if unpacked > 20 * text > 0:
        s.notes.append(
            f"{source.name}: a packed file is unpacked once for each of its pieces, {unpacked / text:.0f} times in all; smaller "
            f"shards, or a larger `partition` (now {s.study.corpus.partition}), make ingest cheaper"
        )
    cut = [(size, n) for size, n in zip(full, pieces, strict=True) if n > 1]
    tokens, words = text / per_token, text / per_word
    sizes = CorpusSize(packed, text, documents, tokens, words, sum(pieces), unpacked, guesses=tuple(guesses))
    cut_text = text * sum(size for size, _ in cut) / max(1, sum(full))
    sizes = replace(sizes, pieces=sum(n for _, n in cut), cut_files=len(cut), cut_text=cut_text)
    return replace(sizes, held_out=text, held_out_parts=sum(pieces)) if source.held_out else sizes


# -- the tasks -------------------------------------------------------------------------------------------------------
def _task(task: Task, s: _Survey) -> TaskSize:
    choice = task.family == "multiple_choice"
    new, options = task.max_new_tokens if task.generate and not choice else 0, 4 if choice else 0
    size = TaskSize(task.name, task.family, 0.0, 0.0, tuple(task.orders), new, options, task.shots)
    if task.reader == "planted":
        most = s.study.corpus.planted.examples if s.study.corpus.planted else 0
        return replace(size, evaluated=0.9 * most, mined=3.2 * most, length=PLANTED_LENGTH[task.family])  # as in the sample
    evaluate, mine = s.files(task.evaluate, f"task {task.name!r}"), s.files(task.mine, f"task {task.name!r}, mining")
    evaluated, mined = _records(evaluate, task), _records(mine, task)
    if task.split:
        share = s.study.splits[task.split].share
        evaluated, mined = evaluated * share, evaluated * (1 - share)
    elif not task.mine:
        mined = evaluated
    if task.expected and (not evaluate or (task.mine and not mine)):
        evaluated, mined = task.expected
    if not evaluated:
        expected = "expected = [2000, 10000] would give its evaluated and mining examples"
        s.notes.append(f"task {task.name!r}: not in the estimate; {expected}")
    return replace(size, evaluated=min(evaluated, task.limit or evaluated), mined=min(mined, task.mine_limit or mined))


def _records(files: Sequence[Path], task: Task) -> float:
    """Records of task files: lines of those with one record a line, else by size."""
    typical, records = cost.TYPICAL_TASKS[task.family], 0.0
    for path in files:
        size = path.stat().st_size
        if path.suffix in (".jsonl", ".csv", ".tsv", ".txt") and size <= COUNTED:
            with path.open("rb") as lines:
                records += sum(1 for _ in lines)
        else:
            records += unpacked_size(path.name, size) / (typical.prompt + typical.output + 40)
    return records


# -- the models ------------------------------------------------------------------------------------------------------
def _model(model: Model, s: _Survey) -> ModelSize:
    if p := model.pretrain:
        vocabulary = 50_304 if s.study.tokenizer.file else s.study.tokenizer.vocabulary
        shape = Shape(p.hidden, p.layers, vocabulary, 4, tied=True)
        ends = f"{s.study.tokenizer.end_of_document} (the study's tokenizer)"
        return ModelSize(model.name, shape.parameters, len(set(p.checkpoints)), trained=p.tokens, ends=ends)
    if model.hub in HUB:
        parameters, bytes_each = HUB[model.hub].parameters, HUB[model.hub].bytes_each
        return ModelSize(model.name, parameters, download=parameters * bytes_each, ends=_cached_ends(model))
    if model.hub:
        unknown = f"the size of {model.hub} is not known before it is downloaded; 1e9 parameters assumed"
        s.notes.append(f"model {model.name!r}: {unknown}")
        return ModelSize(model.name, 1e9, download=2e9, guess=f"{model.name}: 1e9 parameters", ends=_cached_ends(model))
    folder = Path(s.study.data or ".") / Path(model.path).expanduser()
    weights = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    if not weights:
        s.missing.append(Missing(f"model {model.name!r}", str(folder)))
    ends = special_tokens(folder, model.name).words if weights else ""
    return ModelSize(model.name, sum(saved_parameters(w) for w in weights), checkpoints=1 if weights else 0, ends=ends)


def _cached_ends(model: Model) -> str:
    """What ends the answers of a hub model, if it has been downloaded; "" if not."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model.hub, "config.json", revision=model.revision)
    return special_tokens(Path(config).parent, model.name).words if isinstance(config, str) else ""

"""python -m benchmarks.billion_sides FOLDER TOKENS PHASE: a corpus of this many model tokens, and all that is counted in it.

It is the base corpus again and again, each time with words exchanged for others about as frequent, so that its n-grams are new;
every tenth, hundredth … document begins with marks, whose counts are known. A part is written, ingested and deleted. Then come
words, tokens, all orders 1..8, pairs, the ∞-gram and novelty, job by job in this process, without the checks of content. Each
finished job is a line of FOLDER/log.jsonl, and what is there is not computed again.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.corpora import SEED, Corpora, exchanged, places
from benchmarks.side import ROOT, BenchmarkSide, Case
from schemas import CONTRACTS, EXAMPLES, GENERATION_QUERIES, PLANTED_FILES, TASK_GRAMS, Study
from tasks.step import Job, Stage, Step, Work, keyed, run_job
from tasks.storage import memory
from tasks.storage.store import Part, Store

WORDS_A_COPY, TOKENS_A_COPY, COPIES_A_PART = 7_000_000, 10_000_000, 5
MARKS = [f"qza{x} qzb{x}" for x in "abcdef"]  # of every, every tenth, every hundredth … document
ASKED = {"examples": 10_000, "ngrams": 1_000_000}
COUNTED = ("ngram_counts", "task_grams", "generation_ngrams")
LOG, BASE = "log.jsonl", "TASKGRAM_BENCHMARK_BASE"


# -- the corpus -------------------------------------------------------------------------------------------------------
class Texts:
    """The words of the base corpus that are letters a to z, as ids."""

    def __init__(self, corpora: Corpora, size: int) -> None:
        from tasks.text.words.word_ids import WordIds

        word_ids = WordIds()
        ids, offsets = word_ids.add(corpora.texts(2 * size))
        words, rank = word_ids.sorted()
        self.vocabulary = pa.array(words, pa.string())
        plain = pc.match_substring_regex(self.vocabulary, "^[a-z]{1,20}$").to_numpy(zero_copy_only=False)[rank[ids]]
        offsets = np.unique(np.concatenate([[0], np.cumsum(plain)])[offsets])
        self.offsets = offsets[: np.searchsorted(offsets, size) + 1]
        self.ids = rank[ids][plain][: self.offsets[-1]].astype(np.int32)
        occurrences = np.bincount(self.ids, minlength=len(words))
        self.by_frequency = np.argsort(-occurrences, kind="stable")[: np.count_nonzero(occurrences)]

    def words(self, copy: int) -> pa.StringArray:
        """The word of each id in this copy."""
        renamed = np.arange(len(self.vocabulary))
        renamed[self.by_frequency] = exchanged(self.by_frequency, copy)
        return self.vocabulary.take(pa.array(renamed))

    def lines(self, copy: int) -> bytes:
        """Its documents as JSON lines."""
        numbers = np.arange(len(self.offsets) - 1) + copy * (len(self.offsets) - 1)
        marks = pa.array(["".join(f"{mark} " for k, mark in enumerate(MARKS) if i % 10**k == 0) for i in numbers.tolist()])
        begins = pc.binary_join_element_wise('"}\n{"id": "d', pa.array(numbers).cast(pa.string()), '", "text": "', marks, "")
        texts = pa.concat_arrays([pc.binary_join_element_wise(self.words(copy), "", " "), begins])
        stream = np.insert(self.ids, self.offsets[:-1], len(self.vocabulary) + np.arange(len(begins)))
        return texts.take(pa.array(stream)).buffers()[2].to_pybytes()[3:] + b'"}\n'

    def passages(self, copy: int, count: int, words: int, seed: int) -> list[list[str]]:
        """Passages of a copy, as words."""
        at = places((self.ids, self.offsets), count, words, seed)
        return np.array(self.words(copy).to_pylist(), object)[self.ids[at[:, None] + np.arange(words)]].tolist()


@cache
def _texts(base: str, size: int) -> Texts:
    return Texts(Corpora(Path(base), ROOT.parent / "shared" / "data"), size)


def _plant(work: Work) -> None:
    path, world = work.folder() / work.labels["file"], _texts(os.environ[BASE], work.settings["words"])
    sha256, documents = hashlib.sha256(), 0
    with path.open("wb") as out:
        for copy in work.settings["copies"]:
            lines, documents = world.lines(copy), documents + len(world.offsets) - 1
            out.write(lines)
            sha256.update(lines)
    row = {"file": path.name, "kind": "corpus", "sha256": sha256.hexdigest(), "bytes": path.stat().st_size, "records": documents}
    work.write("planted_files", {name: [value] for name, value in row.items()})


def _ask(work: Work) -> None:
    """Examples, each with 10 × 10 pairs of n-grams of n = 1..5; n-grams of n = 1..6, every other one with another last word."""
    world, drawn, texts, grams = _texts(os.environ[BASE], work.settings["words"]), 10, list[list[str]](), list[list[str]]()
    for draw, copy in enumerate(np.linspace(0, work.settings["copies"] - 1, drawn).astype(int).tolist()):
        texts += world.passages(copy, work.settings["examples"] // drawn, 68, 2 * draw)
        grams += world.passages(copy, work.settings["ngrams"] // drawn, 6, 2 * draw + 1)
    prompts, outputs = ([" ".join(words[part]) for words in texts] for part in (slice(60), slice(60, None)))
    names, lists = [f"{i:05d}" for i in range(len(texts))], pl.Series([[]] * len(texts), dtype=pl.List(pl.String))
    columns = {"example": names, "input": prompts, "prompt": prompts, "output": outputs, "aliases": lists, "options": lists}
    same = dict.fromkeys(("file", "version", "group", "sha256"), "-")
    _write(work, EXAMPLES, pl.DataFrame(columns), split="evaluate", row=1, separator=" ", answer=-1, **same)
    pairs = [mark.split() for mark in MARKS]
    for words in texts:
        sides = [[" ".join(words[at : at + 1 + at % 5]) for at in range(begin, begin + 30, 3)] for begin in (0, 31)]
        pairs += [[x, y] for x in sides[0] for y in sides[1] if x != y]
    both = pl.DataFrame(pairs, schema=["input_ngram", "output_ngram"], orient="row").unique().sort(pl.all())
    _write(work, TASK_GRAMS, both, order=1, similarity=1.0, shares_word=False, examples=1)
    last = np.random.default_rng(SEED).permutation([words[-1] for words in grams]).tolist()
    rows = [
        ("changed" if i % 2 else "seen", n := 1 + i // 2 % 6, " ".join([*words[: n - 1], last[i] if i % 2 else words[n - 1]]))
        for i, words in enumerate(grams)
    ]
    queries = pl.DataFrame(rows, schema=["example", "order", "output_ngram"], orient="row").unique().sort(pl.all())
    _write(work, GENERATION_QUERIES, queries, model="bench", checkpoint=0, kind="ngram", input_ngram="")


def _write(work: Work, contract: Any, rows: pl.DataFrame, **constant: Any) -> None:
    every = rows.with_columns(**{name: pl.lit(value) for name, value in {"task": "bench", **constant}.items()})
    work.write(contract.name, every.select(contract.schema.names).to_arrow().cast(contract.schema))


PLANT = Step("bench", 1, "", (), (Stage((PLANTED_FILES,), lambda study, inputs: [], _plant),))
ASK = Step("ask", 1, "", (), (Stage((EXAMPLES, TASK_GRAMS, GENERATION_QUERIES), lambda study, inputs: [], _ask),))


def _steps() -> dict[str, tuple[Step, ...]]:
    from tasks.corpus.encode import TOKENIZER, TOKENS, WORDS
    from tasks.corpus.ingest import INGEST
    from tasks.ngrams.count.count import COUNT
    from tasks.ngrams.infinigram import INFINIGRAM
    from tasks.ngrams.novelty_scan import NOVELTY
    from tasks.ngrams.query.query import QUERY

    return {"ingest": (INGEST, TOKENIZER, WORDS, TOKENS)} | {step.name: (step,) for step in (COUNT, QUERY, INFINIGRAM, NOVELTY)}


def _phases() -> list[str]:
    """Each in a process of its own, so that its memory is its own. Of novelty only the stages that look up."""
    ingest, *counting = _steps()
    return [ingest, "ask", *counting]


# -- the run ----------------------------------------------------------------------------------------------------------
class Run:
    """A run in a folder, which goes on where an earlier one ended."""

    def __init__(self, folder: Path, tokens: int, tokenizer: Path) -> None:
        self.folder, self.store = folder, Store(str(folder / "root"))
        self.parts: dict[str, tuple[Part, ...]] = dict.fromkeys(CONTRACTS, ())
        self.copies, self.words = -(-tokens // TOKENS_A_COPY), min(WORDS_A_COPY, tokens)
        counting = {"all_orders": tuple(range(1, 9)), "unit": "tokens", "buckets": max(8, self.copies), "documents_per_pair": 0}
        settings = {"corpus": {"planted": {"tokens": 100_000}}, "tokenizer": {"file": tokenizer.name}, "counting": counting}
        self.study = Study.model_validate({"name": "billion", "data": str(tokenizer.parent), **settings})
        self.done = {line["step"] for line in _log(folder) if "kept" in line}

    def job(self, step: Step, number: int, job: Job) -> tuple[Part, ...]:
        """Make the parts of a job, unless they are there."""
        planned, stage = keyed(step, number, job), step.stages[number]
        parts = planned.parts(stage)
        if step.name in self.done or all(self.store.stat(self.store.part_path(p)) for p in parts):
            return parts
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak of memory begins again
        cpu, wall = time.process_time(), time.perf_counter()
        result = run_job(self.store, planned, stage, CONTRACTS)
        if "error" in result:
            raise RuntimeError(result["traceback"] or result["error"])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        _add(self.folder, step=step.name, stage=number, job=job.name, peak=memory.peak(), cpu=cpu, wall=wall)
        return parts

    def add(self, step: Step, number: int, made: Sequence[tuple[Part, ...]]) -> None:
        """The parts of a stage; after the last the bytes of all tables are logged, and what counting has spilled is deleted."""
        for index, contract in enumerate(step.stages[number].writes):
            self.parts[contract.name] = tuple(parts[index] for parts in made)
        if number + 1 == len(step.stages) and step.name not in self.done:
            paths = {c.name: [Path(self.store.part_path(p)) for p in self.parts[c.name]] for c in step.writes}
            _add(self.folder, step=step.name, kept={name: sum(p.stat().st_size for p in of) for name, of in paths.items()})
            for path in paths.get("ngram_suffixes", ()):
                path.unlink()

    def steps(self, *steps: Step, first: int = 0) -> None:
        """All their jobs, stage by stage."""
        for step in steps:
            for number in range(first, len(step.stages)):
                jobs = step.stages[number].plan(self.study, self.parts)
                self.add(step, number, [self.job(step, number, job) for job in jobs])

    def ingest(self) -> None:
        """The corpus, part by part; each file is deleted when it is read."""
        ingest, *others = _steps()["ingest"]
        planted, ingested = [], []
        for first in range(0, self.copies, COPIES_A_PART):
            copies = list(range(first, min(first + COPIES_A_PART, self.copies)))
            job = Job({"kind": "corpus", "source": "bench", "file": f"{first:04d}.jsonl"}, {"copies": copies, "words": self.words})
            planted.append(self.job(PLANT, 0, job))
            (one,) = ingest.stages[0].plan(self.study, self.parts | {"planted_files": planted[-1]})
            ingested.append(self.job(ingest, 0, one))
            (self.store.folder("planted_files", planted[-1][0].key) / job.labels["file"]).unlink(missing_ok=True)
        self.add(PLANT, 0, planted)
        self.add(ingest, 0, ingested)
        self.steps(*others)

    def until(self, phase: str) -> None:
        """All phases to this one, without what is done."""
        sizes = {name: max(10, number * self.words // WORDS_A_COPY) for name, number in ASKED.items()}
        ask = Job({"task": "bench"}, {"copies": self.copies, "words": self.words, **sizes})
        phases: dict[str, Callable[[], None]] = {
            "ingest": self.ingest,
            "ask": lambda: self.add(ASK, 0, [self.job(ASK, 0, ask)]),
            **{name: partial(self.steps, *_steps()[name], first=2 * (name == "novelty")) for name in _phases()[2:]},
        }
        for name in _phases()[: _phases().index(phase) + 1]:
            phases[name]()
        if phase == _phases()[-1]:
            _add(self.folder, **self.result())

    def frame(self, table: str, *columns: str) -> pl.DataFrame:
        """All parts of a table."""
        return pl.DataFrame(self.store.read(self.parts[table], CONTRACTS[table].schema, columns))

    def result(self) -> dict[str, Any]:
        """Sizes, and what is not as planted."""
        sums = {t: [self.store.footer(p)["sums"] for p in self.parts[t]] for t in ("tokens", "ngram_counts")}
        rows = {t: sum(self.store.open(p).metadata.num_rows for p in self.parts[t]) for t in ("documents", *COUNTED)}
        tokens, words = sum(s["tokens"] for s in sums["tokens"]), self.frame("vocabulary", "occurrences")["occurrences"].sum()
        pairs = {f"{x} {y}": n for x, y, n in self.frame("pair_counts", "input_ngram", "output_ngram", "documents").rows()}
        novel = dict(self.frame("generation_counts", "example", "novel").group_by("example").agg(pl.col("novel").sum()).rows())
        counted = [pl.scan_parquet(self.store.part_path(p)).filter(order=1) for p in self.parts["ngram_counts"]]
        unigrams = pl.concat(counted).select(pl.col("occurrences").sum()).collect().item()
        wrong = {
            "documents with marks": any(pairs[mark] != -(-rows["documents"] // 10**k) for k, mark in enumerate(MARKS)),
            "n-grams of the corpus are novel, or none of the others": novel["seen"] > 0 or novel["changed"] == 0,
            "tokens that follow no context": (self.frame("infinigram", "numerator")["numerator"] < 1).any(),
            "unigrams": unigrams + sum(s.get("occurrences_below_min_count_1", 0) for s in sums["ngram_counts"]) != tokens,
        }
        return {"tokens": tokens, "words": words, **rows, "wrong": ", ".join(what for what, is_wrong in wrong.items() if is_wrong)}


def run(folder: Path, tokens: int, phase: str) -> None:
    """A phase; before it the same in a tiny corpus, which compiles its kernels."""
    corpora = Corpora(folder.parent.parent, ROOT.parent / "shared" / "data")
    os.environ[BASE] = str(corpora.folder)
    tokenizer = corpora.place("billion.json")
    if not tokenizer.exists():
        tokenizer.write_text(corpora.tokenizer(), encoding="utf-8")
    for place, size in ((folder / "tiny", 50_000), (folder, tokens)):
        place.mkdir(exist_ok=True)
        Run(place, size, tokenizer).until(phase)


def billion(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The run, killed once while it counts. What a folder has from a run that was interrupted is not computed again."""
    folder = corpora.place(f"billion-{case['tokens']}")
    folder.mkdir(exist_ok=True)

    def work(_: object) -> list[dict[str, Any]]:
        for phase in _phases():
            command = [sys.executable, "-m", "benchmarks.billion_sides", str(folder), str(case["tokens"]), phase]
            while _killed(subprocess.Popen(command, cwd=ROOT), folder):
                _add(folder, killed=phase)
        return _log(folder)

    def extra(lines: list[dict[str, Any]]) -> dict[str, Any]:
        jobs = pl.DataFrame([line for line in lines if "cpu" in line])
        steps = jobs.group_by("step", maintain_order=True).agg(pl.col("cpu", "wall").sum(), pl.col("peak").max())
        counted = steps.filter(~pl.col("step").is_in([PLANT.name, ASK.name]))
        kept = {table: size for line in lines if "kept" in line for table, size in line["kept"].items()}
        whole = {"cpu_seconds": counted["cpu"].sum(), "wall_seconds": counted["wall"].sum(), "peak_memory": counted["peak"].max()}
        whole |= {"spilled_bytes": kept.pop("ngram_suffixes"), "kept_bytes": sum(kept.values())}
        return whole | {"steps": {row.pop("step"): row for row in steps.to_dicts()}, **lines[-1]}

    close = partial(shutil.rmtree, folder)
    return BenchmarkSide(work=work, items=case["tokens"], check=lambda lines: lines[-1]["wrong"], extra=extra, close=(close,))


def _killed(process: subprocess.Popen[bytes], folder: Path) -> bool:
    """Wait for the end of a process; kill it once, when it has counted a bucket. RuntimeError if it fails."""
    while process.poll() is None:
        time.sleep(0.1)
        lines = _log(folder)
        last = lines[-1] if lines else {}
        if (last.get("step"), last.get("stage")) == ("count", 2) and not any("killed" in line for line in lines):
            process.kill()
            process.wait()
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    return bool(process.returncode)


def _add(folder: Path, **line: Any) -> None:
    with (folder / LOG).open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


def _log(folder: Path) -> list[dict[str, Any]]:
    path = folder / LOG
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

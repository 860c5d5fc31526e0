"""Reads corpus files into documents. Malformed records become rejects with row and reason; nothing is dropped silently.

Files are JSON lines, plain, .gz or .zst:

    {"id": "a-17", "lang": "en", "text": "The harbour of Velm is deep."}

A dot enters a field: text = "content.text" reads {"content": {"text": "…"}}.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from schemas import DOCUMENT_IDS, DOCUMENT_REJECTS, DOCUMENTS, REPEATED_IDS, Study, StudyError
from schemas.settings.study_file import Source
from tasks.cost import DEBIAN, Cost, Rate, Sizes, on_each_corpus
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus
from tasks.storage.source_files import outside_file, resolve_files
from tasks.text.display import brief
from tasks.text.lines import excerpt, has_surrogates, json_records, text_of, value_at
from tasks.text.split import in_evaluated_half

ROWS_AT_ONCE, CHARACTERS_AT_ONCE = 2_000, 16_000_000
IDS_AT_ONCE, ID_BYTES = 65_536, 200  # memory of an id while it is compared
TYPICAL_PACKING = 4  # bytes of text per byte of a .gz or .zst file
IsRepeated = Callable[[int, str], bool]  # (row, id) -> whether the id occurred in an earlier row of the file
PLANTED: dict[str, Any] = {"text": "text", "id": "id", "language": "", "join": [], "held_out": None}


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per corpus file, or per chunk of a large one. Small files are not merged, so a new file changes no old part."""
    planted = [p for p in inputs["planted_files"] if p.labels["kind"] == "corpus"]
    repeated = {(part.labels["source"], part.labels["file"]): {"repeated_ids": (part,)} for part in inputs["repeated_ids"]}
    jobs = [Job({n: p.labels[n] for n in ("source", "file")}, PLANTED, {"planted_files": (p,)}) for p in planted]
    for job in file_jobs(study):
        key = job.labels["source"], job.labels["file"]
        jobs.append(replace(job, inputs=repeated[key] if "piece" in job.labels else {}))
    return jobs


def file_jobs(study: Study) -> list[Job]:
    jobs: list[Job] = []
    for source in study.corpus.sources:
        settings = record_settings(source, study)
        for name, path in resolve_files(source.files, study.data, f"corpus source {source.name!r}"):
            file = outside_file(path)
            jobs += _chunks(Job({"source": source.name, "file": name}, settings, {}, (file,)), study.corpus.partition_bytes)
    return jobs


def record_settings(source: Source, study: Study) -> dict[str, Any]:
    split = study.splits[source.held_out] if source.held_out else None
    settings = source.model_dump(mode="json", include={"text", "id", "language", "join"})
    return settings | {"held_out": {"name": source.held_out, **split.model_dump()} if split else None}


def unpacked_size(name: str, size: int) -> int:
    """Bytes of text that a file has, as far as its size tells: those of a compressed one are a multiple of it."""
    return size * (TYPICAL_PACKING if name.endswith((".gz", ".zst")) else 1)


def pieces_of(size: int, largest: int) -> int:
    return max(1, -(-size // largest))


def _chunks(job: Job, largest: int) -> list[Job]:
    """The job, or, if its file has more than `largest` bytes of text, several jobs for chunks of equal size."""
    file = job.files[0]
    text = unpacked_size(file.path, file.bytes)
    pieces = pieces_of(text, largest)
    if pieces == 1:
        return [replace(job, cost=float(text))]
    labels = [{**job.labels, "piece": f"{i:0{len(str(pieces - 1))}}"} for i in range(pieces)]
    settings = [{**job.settings, "piece": i, "pieces": pieces} for i in range(pieces)]
    return [replace(job, labels=of, settings=s, cost=text / pieces) for of, s in zip(labels, settings, strict=True)]


def run(work: Work) -> None:
    """Write documents and rejects in the order of the file; sums: records."""
    documents, rejects, count = RowWriter(work, "documents"), RowWriter(work, "document_rejects"), 0
    work.add("records", 0)
    for row, line, record in read_documents(work, _repeated_ids(work)):
        work.add("records")
        base = {"source": work.labels["source"], "row": row}
        if isinstance(record, str):
            rejects.add({**base, "file": work.labels["file"], "reason": record, "excerpt": excerpt(line)})
        else:
            documents.add({**base, **record, "document": count})
            count += 1
    documents.flush()
    rejects.flush()
    if count == 0 and "piece" not in work.labels:
        why = f"; row {rejects.first['row']} was rejected: {rejects.first['reason']}" if rejects.first else ""
        none = f"none of its {work.sums['records']} records is a document{why}"
        raise StudyError(f"{path_of(work)}: empty corpus: {none}. Fix it or leave it out.")


def path_of(work: Work) -> Path:
    planted = work.job.inputs.get("planted_files")
    return work.folder_of(planted[0]) / work.labels["file"] if planted else Path(work.job.files[0].path)


def records(work: Work) -> Iterator[tuple[int, bytes, dict[str, Any] | str]]:
    """(row, line, record or why there is none) for every line of the job's file or chunk."""
    return json_records(path_of(work), piece=work.settings.get("piece", 0), pieces=work.settings.get("pieces", 1))


def read_documents(work: Work, repeated: IsRepeated) -> Iterator[tuple[int, bytes, dict[str, Any] | str]]:
    """(row, line, document or reason for rejection) for every line of the job's file or chunk."""
    for row, line, record in records(work):
        yield row, line, record if isinstance(record, str) else as_document(record, row, work.settings, repeated)


def id_hash(name: str) -> bytes:
    """16 bytes of a cryptographic hash in place of an id: collisions do not occur in practice."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()


def _repeated_ids(work: Work) -> IsRepeated:
    """Whether an id occurred before in the file; for chunks of a split file, the step `ids` has found these rows."""
    if "piece" in work.labels:
        rows = work.read("repeated_ids", "row").column("row").to_numpy()
        return lambda row, name: bool(len(rows)) and rows[min(np.searchsorted(rows, row), len(rows) - 1)] == row
    seen: set[bytes] = set()

    def is_repeated(row: int, name: str) -> bool:
        before = len(seen)
        seen.add(id_hash(name))
        return len(seen) == before

    return is_repeated


def as_document(record: dict[str, Any], row: int, settings: Any, repeated: IsRepeated) -> dict[str, Any] | str:
    fields = settings["join"] or [settings["text"]]
    texts = []
    for field in fields:
        text, problem = text_of(record, field, paragraphs=bool(settings["join"]))
        if problem:
            return problem
        texts.append(text)
    try:
        identifier: Any = value_at(record, settings["id"]) if settings["id"] else f"row-{row}"
    except KeyError:
        identifier = None
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    if not isinstance(identifier, str) or not identifier.strip():
        return f'field {settings["id"]!r} has no identifier; set another field, or id = "" to use the row number'
    _, problem = text_of({"id": identifier}, "id")
    if problem:
        return problem
    if settings["held_out"]:
        evaluated = in_evaluated_half(settings["held_out"], record)
        if isinstance(evaluated, str):
            return evaluated
        if evaluated:
            return f"held out for evaluation (split {settings['held_out']['name']})"
    if repeated(row, identifier):
        return f"the id {identifier!r:.80} occurs in an earlier row of this file"
    language = settings["language"] or record.get("lang") or ""
    if not isinstance(language, str) or has_surrogates(language):
        return f"field 'lang' is not a language tag: {brief(language).encode('ascii', 'backslashreplace').decode()[:80]}"
    return {"id": identifier, "language": language, "text": "\n".join(texts)}


class RowWriter:
    """Collects rows of one table and writes them in batches of at most `most` rows, and of bounded text."""

    def __init__(self, work: Work, table: str, most: int = ROWS_AT_ONCE) -> None:
        self.work, self.table, self.most, self.characters = work, table, most, 0
        self.rows: list[dict[str, Any]] = []
        self.first: dict[str, Any] | None = None

    def add(self, row: dict[str, Any]) -> None:
        self.first = self.first or row
        self.rows.append(row)
        self.characters += len(row.get("text", ""))
        if len(self.rows) >= self.most or self.characters >= CHARACTERS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.work.write(self.table, {name: [r[name] for r in self.rows] for name in self.rows[0]})
            self.rows, self.characters = [], 0


RATES = {"ingest": Rate(21e6, "bytes of text /s", DEBIAN)}
RATES["unpack"] = Rate(800e6, "bytes of text unpacked /s", "zstd and finding lines", guess=True)


def cost(sizes: Sizes) -> Cost:
    c, unpack = sizes.corpus, RATES["unpack"]
    core, guesses = c.text / RATES["ingest"] + c.unpacked / unpack, (*c.guesses, *unpack.as_guess(c.unpacked))
    written = c.stored_documents
    return Cost(c.parts, c.documents, "documents", c.packed, written, core, memory=0.5e9, guesses=guesses, rates=RATES)


ABOUT = "corpus files as documents; malformed records become rejects with a reason"
READS = ("planted_files", "repeated_ids")
STAGES = (Stage(writes=(DOCUMENTS, DOCUMENT_REJECTS), plan=for_each_corpus(plan), run=run),)
INGEST = Step("ingest", version=2, about=ABOUT, reads=READS, stages=STAGES, variants=True, cost=on_each_corpus(cost))


# -- ids: duplicates across the chunks of a split file, so that they are rejected as in a file of one chunk ------------------
# Each chunk is read on its own, so the ids are read in a first pass, which takes about half as long as ingesting, and one job per
# file finds the rows whose id occurs in an earlier row. Files that are not split skip this step.
def plan_ids(study: Study, inputs: Inputs) -> list[Job]:
    return [job for job in file_jobs(study) if "piece" in job.labels]


def run_ids(work: Work) -> None:
    """Write a hash of the id of each record that can become a document."""
    ids = RowWriter(work, "document_ids", IDS_AT_ONCE)
    work.add("records", 0)
    for row, _, record in read_documents(work, lambda row, name: False):
        work.add("records")
        if not isinstance(record, str):
            ids.add({"row": row, "mark": id_hash(record["id"])})
    ids.flush()


def plan_repeats(study: Study, inputs: Inputs) -> list[Job]:
    pieces = defaultdict(list)
    for part in inputs["document_ids"]:
        pieces[part.labels["source"], part.labels["file"]].append(part)
    memory, files = study.counting.memory_bytes, pieces.items()
    return [Job({"source": s, "file": f}, {}, {"document_ids": tuple(parts)}, memory=memory) for (s, f), parts in files]


def run_repeats(work: Work) -> None:
    """Write the rows whose id occurs in an earlier row; as many hashes at a time as the memory allows."""
    import polars as pl

    parts = work.parts("document_ids")
    count = sum(work.store.open(part).metadata.num_rows for part in parts)
    if not count:
        records = sum(work.store.footer(part)["sums"]["records"] for part in parts)
        remedy = "Fix it, set the fields that contain its documents, or leave it out."
        raise StudyError(f"{work.labels['file']}: empty corpus: none of its {records} records is a document. {remedy}")
    work.passes = -(-count * ID_BYTES // work.job.memory)
    repeats = []
    for number in range(work.passes):
        batches = (pl.DataFrame(b) for part in parts for b in work.batches(part, "row", "mark", rows=IDS_AT_ONCE))
        some = pl.concat(b.filter(pl.col("mark").hash() % work.passes == number) for b in batches).sort("row")
        first = pl.col("row").first().over("mark").alias("first_row")
        repeats.append(some.with_columns(first).filter(pl.col("first_row") < pl.col("row")).drop("mark"))
    work.write("repeated_ids", pl.concat(repeats).sort("row").to_arrow())


def cost_ids(sizes: Sizes) -> Cost:
    """Reading the pieces of large files a first time, for their ids alone: about half of what `ingest` takes for them."""
    c = sizes.corpus
    share, unpack = c.cut_text / c.text if c.text else 0.0, RATES["unpack"]
    core = share * (c.text / RATES["ingest"] / 2 + c.unpacked / unpack)
    documents, guesses = share * c.documents, (*c.guesses, *unpack.as_guess(c.unpacked))
    parts, written = c.pieces + c.cut_files, 16 * documents
    return Cost(parts, documents, "ids", share * c.packed, written, core, memory=0.5e9, guesses=guesses)


IDS_ABOUT = "duplicate ids across the chunks of a split file; in other files ingest finds them itself"
IDS_STAGES = (
    Stage((DOCUMENT_IDS,), for_each_corpus(plan_ids), run_ids),
    Stage((REPEATED_IDS,), for_each_corpus(plan_repeats), run_repeats),
)
IDS = Step("ids", version=2, about=IDS_ABOUT, reads=(), stages=IDS_STAGES, cost=on_each_corpus(cost_ids))

"""Corpus files become documents. What cannot, becomes a reject with its row and reason; nothing is dropped silently.

Reads JSON lines, plain, .gz or .zst, such as

    {"id": "a-17", "lang": "en", "text": "The harbour of Velm is deep."}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from schemas import DOCUMENT_REJECTS, DOCUMENTS, Study, StudyError
from tasks.cost import DEBIAN, Cost, Rate, Sizes, on_each_corpus
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus
from tasks.storage.source_files import outside_file, resolve_files
from tasks.text.display import brief
from tasks.text.lines import excerpt, has_surrogates, json_records, text_of
from tasks.text.split import in_evaluated_half

ROWS_AT_ONCE, CHARACTERS_AT_ONCE = 2_000, 16_000_000
TYPICAL_PACKING = 4  # bytes of text in a byte of a .gz or .zst file
Repeated = Callable[[int, str], bool]  # whether the id of a row stood in the file already
PLANTED: dict[str, Any] = {"text": "text", "id": "id", "language": "", "join": [], "held_out": None}


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per corpus file, or per piece of a large one. Small files stay apart: a new one then changes no old part."""
    planted = [
        Job({"source": part.labels["source"], "file": part.labels["file"]}, PLANTED, {"planted_files": (part,)})
        for part in inputs["planted_files"]
        if part.labels["kind"] == "corpus"
    ]
    repeated = {(part.labels["source"], part.labels["file"]): part for part in inputs["repeated_ids"]}
    return planted + [
        replace(job, inputs={"repeated_ids": (repeated[job.labels["source"], job.labels["file"]],)})
        if "piece" in job.labels
        else job
        for job in file_jobs(study)
    ]


def file_jobs(study: Study) -> list[Job]:
    """One job per file of the study's sources, or per piece of a large one."""
    jobs: list[Job] = []
    for source in study.corpus.sources:
        split = study.splits[source.held_out] if source.held_out else None
        settings = {
            "text": source.text,
            "id": source.id,
            "language": source.language,
            "join": list(source.join),
            "held_out": {"name": source.held_out, **split.model_dump()} if split else None,
        }
        for name, path in resolve_files(source.files, study.data, f"corpus source {source.name!r}"):
            file = outside_file(path)
            jobs += _pieces(Job({"source": source.name, "file": name}, settings, {}, (file,)), study.corpus.partition_bytes)
    return jobs


def unpacked_size(name: str, size: int) -> int:
    """Bytes that a file holds, as far as its size tells: those of a packed one are a multiple of it."""
    return size * (TYPICAL_PACKING if name.endswith((".gz", ".zst")) else 1)


def pieces_of(size: int, most: int) -> int:
    """Pieces of at most so many bytes that a file is cut into."""
    return max(1, -(-size // most))


def _pieces(job: Job, most: int) -> list[Job]:
    """The job; or, where its file holds more than so many bytes, several that share it, as large as each other."""
    file = job.files[0]
    text = unpacked_size(file.path, file.bytes)
    pieces = pieces_of(text, most)
    if pieces == 1:
        return [replace(job, cost=float(text))]
    width = len(str(pieces - 1))
    return [
        replace(
            job,
            labels={**job.labels, "piece": f"{i:0{width}}"},
            settings={**job.settings, "piece": i, "pieces": pieces},
            cost=text / pieces,
        )
        for i in range(pieces)
    ]


def run(work: Work) -> None:
    """Write documents and rejects in the order of the file; sums: records."""
    documents, rejects, count = _Rows(work, "documents"), _Rows(work, "document_rejects"), 0
    work.add("records", 0)
    for row, line, record in read_documents(work, _repeated(work)):
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
        seen = work.sums["records"]
        why = f"; row {rejects.first['row']} was refused: {rejects.first['reason']}" if rejects.first else ""
        raise StudyError(
            f"{path_of(work)}: empty corpus: none of its {seen} records is a document{why}. Mend or leave it out."
        )


def path_of(work: Work) -> Path:
    """The file of a job."""
    planted = work.job.inputs.get("planted_files")
    return work.folder_of(planted[0]) / work.labels["file"] if planted else Path(work.job.files[0].path)


def read_documents(work: Work, repeated: Repeated) -> Iterator[tuple[int, bytes, dict[str, Any] | str]]:
    """(row, line, document or reason) for every line of the job's file, or of its piece of it."""
    settings = work.settings
    for row, line, record in json_records(path_of(work), piece=settings.get("piece", 0), pieces=settings.get("pieces", 1)):
        yield row, line, record if isinstance(record, str) else as_document(record, row, settings, repeated)


def _repeated(work: Work) -> Repeated:
    """Whether an id stood in the file already: of a file that is cut the step `ids` has said so."""
    if "piece" in work.labels:
        rows = work.read("repeated_ids", "row").column("row").to_numpy()
        return lambda row, name: bool(len(rows)) and rows[min(np.searchsorted(rows, row), len(rows) - 1)] == row
    seen: set[bytes] = set()

    def stood(row: int, name: str) -> bool:
        # Sixteen bytes of a cryptographic hash stand for an id: two ids that share them are not to be found.
        before = len(seen)
        seen.add(hashlib.blake2b(name.encode(), digest_size=16).digest())
        return len(seen) == before

    return stood


def as_document(record: dict[str, Any], row: int, settings: Any, repeated: Repeated) -> dict[str, Any] | str:
    """One record as a document, or why it is none."""
    fields = settings["join"] or [settings["text"]]
    texts = []
    for field in fields:
        text, problem = text_of(record, field, paragraphs=bool(settings["join"]))
        if problem:
            return problem
        texts.append(text)
    identifier: Any = record.get(settings["id"]) if settings["id"] else f"row-{row}"
    if isinstance(identifier, int) and not isinstance(identifier, bool):
        identifier = str(identifier)
    if not isinstance(identifier, str) or not identifier.strip():
        return f'field {settings["id"]!r} gives no identifier; name another field, or set id = "" to take the row number'
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
        return f"the id {identifier!r:.80} stands in this file already"
    language = settings["language"] or record.get("lang") or ""
    if not isinstance(language, str) or has_surrogates(language):
        return f"field 'lang' is no language tag: {brief(language).encode('ascii', 'backslashreplace').decode()[:80]}"
    return {"id": identifier, "language": language, "text": "\n".join(texts)}


class _Rows:
    """Rows of one table, written in groups."""

    def __init__(self, work: Work, table: str) -> None:
        self.work, self.table = work, table
        self.rows: list[dict[str, Any]] = []
        self.first: dict[str, Any] | None = None
        self.characters = 0

    def add(self, row: dict[str, Any]) -> None:
        self.first = self.first or row
        self.rows.append(row)
        self.characters += len(row.get("text", ""))
        if len(self.rows) >= ROWS_AT_ONCE or self.characters >= CHARACTERS_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        if self.rows:
            self.work.write(self.table, {name: [r[name] for r in self.rows] for name in self.rows[0]})
            self.rows, self.characters = [], 0


RATES = {
    "ingest": Rate(21e6, "bytes of text /s", DEBIAN),
    "unpack": Rate(800e6, "bytes of text unpacked /s", "zstd and finding lines", guess=True),
}


def cost(sizes: Sizes) -> Cost:
    """Files to documents."""
    c = sizes.corpus
    return Cost(
        parts=c.parts,
        work=c.documents,
        unit="documents",
        read=c.packed,
        written=c.stored_documents,
        core=c.text / RATES["ingest"] + c.unpacked / RATES["unpack"],
        memory=0.5e9,
        guesses=(*c.guesses, *RATES["unpack"].as_guess(c.unpacked)),
        rates=RATES,
    )


INGEST = Step(
    "ingest",
    version=1,
    about="corpus files as documents; what cannot be one is a reject with its reason",
    reads=("planted_files", "repeated_ids"),
    stages=(Stage(writes=(DOCUMENTS, DOCUMENT_REJECTS), plan=for_each_corpus(plan), run=run),),
    variants=True,
    cost=on_each_corpus(cost),
)

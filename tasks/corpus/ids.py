"""Duplicate ids across the chunks of a split file, so that `ingest` rejects them as it does in a file of one chunk.

Each chunk is read on its own, so the ids are read in a first pass, which takes about half as long as ingesting, and one job
per file finds the rows whose id occurs in an earlier row. Files that are not split skip this step.
"""

from collections import defaultdict

from schemas import DOCUMENT_IDS, REPEATED_IDS, Study, StudyError
from tasks.corpus.ingest import RATES, RowWriter, file_jobs, id_hash, read_documents
from tasks.cost import Cost, Sizes, on_each_corpus
from tasks.step import Inputs, Job, Stage, Step, Work, for_each_corpus

ROW_BYTES = 200  # memory of an id while it is compared
ROWS_AT_ONCE = 65_536


def plan_ids(study: Study, inputs: Inputs) -> list[Job]:
    return [job for job in file_jobs(study) if "piece" in job.labels]


def run_ids(work: Work) -> None:
    """Write a hash of the id of each record that can become a document."""
    ids = RowWriter(work, "document_ids", ROWS_AT_ONCE)
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
    work.passes = -(-count * ROW_BYTES // work.job.memory)
    repeats = []
    for number in range(work.passes):
        batches = (pl.DataFrame(b) for part in parts for b in work.batches(part, "row", "mark", rows=ROWS_AT_ONCE))
        some = pl.concat(b.filter(pl.col("mark").hash() % work.passes == number) for b in batches).sort("row")
        first = pl.col("row").first().over("mark").alias("first_row")
        repeats.append(some.with_columns(first).filter(pl.col("first_row") < pl.col("row")).drop("mark"))
    work.write("repeated_ids", pl.concat(repeats).sort("row").to_arrow())


def cost(sizes: Sizes) -> Cost:
    """Reading the pieces of large files a first time, for their ids alone: about half of what `ingest` takes for them."""
    c = sizes.corpus
    share, unpack = c.cut_text / c.text if c.text else 0.0, RATES["unpack"]
    core = share * (c.text / RATES["ingest"] / 2 + c.unpacked / unpack)
    documents, guesses = share * c.documents, (*c.guesses, *unpack.as_guess(c.unpacked))
    parts, written = c.pieces + c.cut_files, 16 * documents
    return Cost(parts, documents, "ids", share * c.packed, written, core, memory=0.5e9, guesses=guesses)


ABOUT = "duplicate ids across the chunks of a split file; in other files ingest finds them itself"
STAGES = (
    Stage((DOCUMENT_IDS,), for_each_corpus(plan_ids), run_ids),
    Stage((REPEATED_IDS,), for_each_corpus(plan_repeats), run_repeats),
)
IDS = Step("ids", version=2, about=ABOUT, reads=(), stages=STAGES, cost=on_each_corpus(cost))

"""Text of the same kind as the corpus, but not in it: how novel is ordinary text? (docs/method.md §10)

    a source with `held_out`     records of the evaluated half of its split, which `ingest` rejects
    a planted corpus             documents of the same world drawn again, with its names and sentence forms; frequent statements
                                 occur in both, as in two samples of any text

A seeded sample of each file is enough: it is compared with generations of a few words, and windows are drawn from it that no
model was trained on (docs/memorization.md). Documents that equal one of the corpus are left out later, when the corpus is read
(`novelty`); of a planted world, which repeats its short statements, twice as many are drawn, because about half of them do.
"""

import heapq
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from schemas import HELD_OUT_DOCUMENTS, Study
from schemas.settings.study_file import Planted
from tasks.corpus.ingest import RATES, as_document, file_jobs, records
from tasks.corpus.planted.world import World
from tasks.cost import Cost, Sizes
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.text.split import in_evaluated_half, seeded_hash
from tasks.text.words.analyzer import words_of

MOST, CHARACTERS = 1_000, 4_000


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per file, or chunk of one, with a held-out half; one for a planted corpus; none if nothing is compared
    with it, neither generated text nor windows."""
    generated = study.models and any(task.generate for task in study.tasks)
    if not generated and not (study.memorization and study.memorization.samples.phantoms):
        return []
    planted = study.corpus.planted
    if planted:
        again = planted.model_copy(update={"redrawn": True}).model_dump(mode="json", exclude={"examples"})
        return [Job({"source": "planted"}, {"planted": again, "seed": study.seed, "most": 2 * MOST})]
    jobs = [job for job in file_jobs(study) if job.settings["held_out"]]
    return [replace(job, settings={**job.settings, "seed": study.seed, "most": MOST}) for job in jobs]


def run(work: Work) -> None:
    """Write the documents with the smallest hashes, in this order, so that the first of them are a sample, too."""
    seed, most, source = work.settings["seed"], work.settings["most"], work.labels["source"]
    candidates = _planted(work) if "planted" in work.settings else _held_out(work)
    hashed = ((seeded_hash(seed, "held out", source, d["id"]), i, d) for i, d in enumerate(candidates))
    drawn = [d | {"words": len(words_of(d["text"])), "text": _beginning(d["text"])} for _, _, d in heapq.nsmallest(most, hashed)]
    rows = [{"document": number, "source": source, **d} for number, d in enumerate(drawn)]
    work.write("held_out_documents", pa.Table.from_pylist(rows, HELD_OUT_DOCUMENTS.schema))


def _beginning(text: str) -> str:
    """At most CHARACTERS of a text, cut between words where it has spaces: half a word would be new to any corpus."""
    begin = text[:CHARACTERS]
    return begin if text[CHARACTERS : CHARACTERS + 1].strip() == "" else (begin.rsplit(None, 1) or [begin])[0]


def _planted(work: Work) -> Iterator[dict[str, Any]]:
    world = World(Planted.model_validate(work.settings["planted"]), work.settings["seed"])
    for number, text, language in world.texts(0, min(work.settings["most"], world.fill())):
        yield {"id": f"planted-{number:08d}", "language": language, "text": text}


def _held_out(work: Work) -> Iterator[dict[str, Any]]:
    settings = {**work.settings, "held_out": None}
    for row, _, record in records(work):
        if not isinstance(record, str) and in_evaluated_half(work.settings["held_out"], record) is True:
            document = as_document(record, row, settings, lambda row, name: False)
            if not isinstance(document, str):
                yield document


def cost(sizes: Sizes) -> Cost:
    c = sizes.corpus
    memorization, generated = sizes.study.memorization, sizes.models and any(t.new_tokens for t in sizes.tasks)
    if not generated and not (memorization and memorization.samples.phantoms):
        return Cost(unit="bytes of text")
    parts = 1 if c.planted else c.held_out_parts
    core = c.held_out / RATES["ingest"]
    return Cost(parts, c.held_out, "bytes of text", c.held_out, written=1e5 * parts, core=core, memory=0.2e9)


ABOUT = "a sample of text that is kept out of the corpus, to compare the novelty of generations with"
STAGES = (Stage(writes=(HELD_OUT_DOCUMENTS,), plan=plan, run=run),)
HELD_OUT = Step("held_out", version=2, about=ABOUT, reads=(), stages=STAGES, cost=cost)

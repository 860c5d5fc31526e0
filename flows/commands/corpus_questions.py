"""`taskgram count`: how often phrases occur in a study's corpus, in which documents, and in how many of the same ones.

Answers come from the study's index if it has one and the corpus is large, else from a scan of its words, whichever is faster; both
give the same answers.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flows.manifests import is_finished
from flows.plan import PlannedStep, lay_out
from flows.session import default_root
from flows.study_files import study_path
from schemas import NGRAM_INDEX, StudyError, load_study
from tasks.corpus.encode import TOKENIZER, TOKENS, WORDS
from tasks.corpus.ingest import IDS, INGEST
from tasks.corpus.planted.plant import PLANT
from tasks.ngrams.index import INDEX, CorpusLookup, DocumentMatch, Index, Scan
from tasks.step import parts_of
from tasks.storage.store import Part, Store
from tasks.text.display import excerpt_around, mark_spans, printable
from tasks.text.words.analyzer import normalise, segment

STEPS = (PLANT, IDS, INGEST, TOKENIZER, TOKENS, WORDS, INDEX)  # what answers depend on; flows.study would import all steps
ROWS_AT_ONCE = 256
# A process needs 0.5 s to load the index's kernels, and 5.5 ns to decode a word or to compare it with a phrase: measured on 10
# million words, one to four phrases, and two cores.
KERNELS, LOADED, PER_WORD = "tasks.ngrams.kernels.suffix_kernels", 0.5, 5.5e-9
BOLD, PLAIN = ("\x1b[1m", "\x1b[0m"), ("«", "»")


def count(study: str, root: str, given: Sequence[str], documents: int) -> dict[str, Any]:
    """The answer as a plain object. Raises StudyError for a phrase without a word, and before the corpus is analysed."""
    if documents < 0:
        raise StudyError("--documents must be 0 or more")
    phrases = [normalise(text) for text in given]
    for text, phrase in zip(given, phrases, strict=True):
        if not phrase:
            raise StudyError(f'"{text}" has no word: a word has a letter, a mark or a number')
    settings, store = load_study(study_path(study)), Store(root)
    plan = {p.step.name: p for p in lay_out(STEPS, settings)}
    if not is_finished(store, plan["words"]):
        place = "" if root == default_root() else f" --root {root}"
        raise StudyError(f"the words of {settings.name} are not up to date. Run: taskgram run {study}{place}")
    began = time.monotonic()
    corpus = open_corpus(store, plan, len(phrases))
    answer = corpus.ask(phrases, documents)
    documents_parts = parts_of(plan["ingest"].outputs)["documents"]
    excerpts = [read_excerpt(store, documents_parts, place, phrases) for place in answer.places]
    seconds = time.monotonic() - began
    counted, words = zip(given, phrases, answer.counted, strict=True), parts_of(plan["words"].outputs)["words"]
    about = {"study": settings.name, "read": "index" if isinstance(corpus, Index) else "scan", "seconds": round(seconds, 3)}
    counts = [{"given": g, "phrase": p, "occurrences": c.occurrences, "documents": c.documents} for g, p, c in counted]
    return about | {
        "corpus_documents": sum(store.open(p).metadata.num_rows for p in words),
        **{"phrases": counts, "documents_with_all": answer.together, "excerpts": excerpts},
    }


def open_corpus(store: Store, plan: Mapping[str, PlannedStep], phrases: int | None = None) -> CorpusLookup:
    """The index of the words if it is finished; the words where a scan for so few phrases is done before its kernels are loaded."""
    words, index = parts_of(plan["words"].outputs), plan["index"]
    if index.outputs["ngram_index"] and is_finished(store, index):
        shards = store.read(index.outputs["ngram_index"], NGRAM_INDEX.schema, ["words"])
        scan = sum(shards.column("words").to_pylist()) * PER_WORD * (1 + (phrases or 0))
        if phrases is None or KERNELS in sys.modules or scan > LOADED:
            return Index.of_words(store, index.outputs["ngram_index"], words["vocabulary"])
    return Scan.of_words(store, words["words"], words["vocabulary"])


# -- the documents ---------------------------------------------------------------------------------------------------
def read_excerpt(store: Store, parts: Sequence[Part], place: DocumentMatch, phrases: Sequence[str]) -> dict[str, Any]:
    """The text around the phrases in a document; spans[i] are the code points of phrase i in it."""
    row = read_document(store, parts[place.part], place.document)
    _, starts, ends = segment(row["text"])
    spans = [(starts[at], ends[at + phrase.count(" ")]) for at, phrase in zip(place.words, phrases, strict=True)]
    text, spans_of_it = excerpt_around(row["text"], spans)
    return {"source": row["source"], "id": row["id"], "text": text, "spans": [list(span) for span in spans_of_it]}


def read_document(store: Store, part: Part, document: int) -> dict[str, Any]:
    """One row of a documents part, by its position; reads its row group up to there."""
    file, first, group = store.open(part), 0, 0
    while document >= first + file.metadata.row_group(group).num_rows:
        first, group = first + file.metadata.row_group(group).num_rows, group + 1
    columns = ["document", "source", "id", "text"]
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, row_groups=[group], columns=columns):
        if document < first + batch.num_rows:
            row = batch.slice(document - first, 1).to_pylist()[0]
            if row["document"] != document:
                raise StudyError(f"documents part {part.key}: row {document} is numbered {row['document']}")
            return row
        first += batch.num_rows
    raise AssertionError(f"row group {group} of {part.key} ends before row {document}")


# -- as text ---------------------------------------------------------------------------------------------------------
def show(answer: Mapping[str, Any], *, bold: bool) -> str:
    """The answer as text; phrases are bold on a terminal, else in guillemets."""
    phrases, together = answer["phrases"], answer["documents_with_all"]
    width = max(len("phrase"), *(len(p["phrase"]) for p in phrases))
    lines = [f"{'phrase':<{width}}  {'occurrences':>12}  {'documents':>12}"]
    lines += [f"{p['phrase']:<{width}}  {p['occurrences']:>12,}  {p['documents']:>12,}" for p in phrases]
    if len(phrases) > 1:
        some = "1 document contains" if together == 1 else f"{together:,} documents contain"
        lines += ["", f"{some} {'both' if len(phrases) == 2 else f'all {len(phrases)}'}"]
    if len(phrases) == 2 and together:
        shares = (f'{together / p["documents"]:.1%} of those with "{p["phrase"]}"' for p in phrases)
        lines[-1] += f": {', '.join(shares)}"
    for excerpt in answer["excerpts"]:
        lines += ["", printable(f"{excerpt['source']} {excerpt['id']}")]
        lines += [f"  {mark_spans(excerpt['text'], [excerpt['spans']], {1: BOLD if bold else PLAIN})}"]
    origin = "from the index" if answer["read"] == "index" else "by a scan of all words"
    lines += ["", f"{answer['corpus_documents']:,} documents, answered {origin} in {answer['seconds']:.2f} s"]
    return "\n".join(lines)

"""The n-grams of each example: G_n(x) and G_n(y) of arXiv 2407.14985 §2, with their positions in the text.

    Which city is the capital of Maron Velk?   n = 2  →  which city · city is · … · maron velk    ("is the": only stop words)
    Torin Vale, the answer as a whole          n = 2  →  torin vale;  the same for n = 1 and n = 3

n-grams are contiguous. Those of stop words only are dropped, but never whole answers (other stop-word policies:
tasks/text/words/word_ngrams.py). x is the column `input`: for multiple choice the question without its options.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas import EXAMPLE_NGRAMS, Study
from schemas.settings.variant_views import views
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.step import Inputs, Job, Stage, Step, Work, labelled
from tasks.text.encoders.ngram_encoders import ngram_text
from tasks.text.words.analyzer import analyzer, segment
from tasks.text.words.word_ngrams import keep, places

ROWS_AT_ONCE = 65_536


class NGram(NamedTuple):
    """One distinct n-gram of a text. starts[i], ends[i]: code point offsets of its i-th occurrence."""

    words: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]


def ngrams_of(text: str, n: int, policy: str = "none", language: str = "") -> list[NGram]:
    """G_n(text): its distinct n-grams, sorted, before those of stop words only are dropped. Under `authors` an occurrence of
    "capital land" includes the deleted words in between: "capital of the land"."""
    words, starts, ends = segment(text)
    chosen = places(words, n, policy, language)
    spans: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for i in range(len(chosen) - n + 1):
        gram = chosen[i : i + n]
        spans.setdefault(tuple(words[w] for w in gram), []).append((starts[gram[0]], ends[gram[-1]]))
    return [NGram(gram, *zip(*at, strict=True)) for gram, at in sorted(spans.items())]


def whole_answers(output: str, aliases: list[str]) -> list[NGram]:
    """The output as one n-gram, and each alias as one more; none for a text without words. An alias does not occur in the output,
    but every n-gram needs a span: it gets that of the whole output."""
    ngrams: dict[tuple[str, ...], NGram] = {}
    words, starts, ends = segment(output)
    span = (starts[0], ends[-1]) if words else (0, len(output))
    for gram in [tuple(words), *(tuple(segment(a)[0]) for a in aliases)]:
        if gram:
            ngrams.setdefault(gram, NGram(gram, (span[0],), (span[1],)))
    return [ngrams[gram] for gram in sorted(ngrams)]


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task, and another one per stop-word policy of a variant."""
    # Variants with the study's own policy share its parts.
    policies = {view.ngrams: view.study for view in reversed(views(study))}
    jobs = []
    for label, task in ((p, t) for p in sorted(policies) for t in study.tasks):
        parts = tuple(p for p in inputs["examples"] if p.labels["task"] == task.name)
        languages = list(task.languages) if task.family == "translation" and len(task.languages) == 2 else ["en", "en"]
        settings = {"family": task.family, "orders": sorted(set(task.orders)), "languages": languages, **analyzer()}
        settings |= {"whole_answer": task.whole_answer, "stop_words": policies[label].counting.stop_words}
        jobs.append(Job(labelled({"task": task.name}, label), settings, {"examples": parts}))
    return jobs


def run(work: Work) -> None:
    """Write the n-grams of every example; both splits. Sums: outputs_shorter_than_n, one per example and n."""
    examples = work.read("examples", "split", "example", "input", "output", "aliases")
    examples = examples.sort_by([("split", "ascending"), ("example", "ascending")])
    rows: list[dict[str, Any]] = []
    for example in (row for batch in examples.to_batches(max_chunksize=256) for row in batch.to_pylist()):
        rows += _rows(work, example)
        if len(rows) >= ROWS_AT_ONCE:
            _write(work, rows)
            rows = []
    _write(work, rows)


def _rows(work: Work, example: dict[str, Any]) -> Iterator[dict[str, Any]]:
    orders = work.settings["orders"]
    sides = [("input", n, _contentful(work, example["input"], n, side=0)) for n in orders]
    for side, n, grams in [*sides, *(("output", n, _outputs(work, example, n)) for n in orders)]:
        for gram in grams:
            of_example = {"task": work.labels["task"], "split": example["split"], "example": example["example"]}
            of_ngram = {"ngram": " ".join(gram.words), "length": len(gram.words), "starts": gram.starts, "ends": gram.ends}
            yield of_example | {"side": side, "order": n} | of_ngram


def _outputs(work: Work, example: dict[str, Any], n: int) -> list[NGram]:
    """G_n(y), or the whole answer. Aliases are used for mining; only the reference output is scored."""
    text = ngram_text(work.settings["family"], example["output"])
    if work.settings["whole_answer"]:
        grams = whole_answers(text, example["aliases"] if example["split"] == "mine" else [])
        work.add("outputs_without_words", 0 if grams else 1)
        return grams
    return _contentful(work, text, n, side=1)


def _contentful(work: Work, text: str, n: int, side: int) -> list[NGram]:
    """G_n under the study's stop-word policy. Dropped n-grams are counted, once per example."""
    policy, language = work.settings["stop_words"], work.settings["languages"][side]
    grams = ngrams_of(text, n, policy, language)
    if side == 1:
        work.add("outputs_shorter_than_n", 0 if grams else 1)
        work.add(f"outputs_shorter_than_n{n}", 0 if grams else 1)
    kept = [g for g in grams if keep(g.words, policy, language)]
    work.add("stopword_ngrams", len(grams) - len(kept))
    return kept


def _write(work: Work, rows: list[dict[str, Any]]) -> None:
    work.write("example_ngrams", {name: [row[name] for row in rows] for name in EXAMPLE_NGRAMS.schema.names})


RATES = {"extract": Rate(97e3, "n-grams /s", DEBIAN), "bytes of an n-gram": Rate(8.8, "bytes for an n-gram of an example", DEBIAN)}


def cost(sizes: Sizes) -> Cost:
    """The n-grams of every example, by each stop-word policy of the study and its variants."""
    policies = len({view.ngrams for view in views(sizes.study)})
    ngrams = policies * sum(t.ngrams for t in sizes.tasks)
    written, core = ngrams * RATES["bytes of an n-gram"], ngrams / RATES["extract"]
    return Cost(len(sizes.tasks) * policies, ngrams, "n-grams", written=written, core=core, rates=RATES)


ABOUT, STAGES = "n-grams of each example's input and output, with their positions", (Stage((EXAMPLE_NGRAMS,), plan, run),)
EXTRACT = Step("extract", version=1, about=ABOUT, reads=("examples",), stages=STAGES, cost=cost)

"""Novelty: the n-grams and pairs of generated texts, and which of them are absent from the corpus."""

import pyarrow as pa

from schemas.contract import Contract, column, rows

_TEXT = (
    column("model", pa.string(), "model, or `reference`, or `held_out`"),
    column("checkpoint", pa.int64(), "training step; -1 where there is no model", at_least=-1),
    column("task", pa.string(), "name of the task"),
    column("example", pa.string(), "evaluated example"),
    column("kind", pa.string(), "n-grams of the text, or pairs of input and text", one_of=("ngram", "pair")),
    column("order", pa.int16(), "n", between=(1, 16)),
)

GENERATION_QUERIES = Contract(
    name="generation_queries",
    description="What novelty looks up in the corpus: the n-grams of each generated or reference text, and its aligned pairs "
    "(docs/method.md §10).",
    columns=(
        *_TEXT,
        column("input_ngram", pa.string(), "s_x of a pair; empty for an n-gram"),
        column("output_ngram", pa.string(), "s_y of the text, or the n-gram"),
    ),
    key=("model", "checkpoint", "task", "example", "kind", "order", "input_ngram", "output_ngram"),
    rules=(
        rows("(kind = 'pair') = (length(input_ngram) > 0)", "a pair has two n-grams"),
        rows("length(output_ngram) > 0", "an n-gram has a word"),
    ),
)
GENERATION_NGRAMS = Contract(
    "generation_ngrams",
    "The distinct n-grams of generation_queries and its pairs, of all models and tasks, with their beginnings and words; each is "
    "looked up once per corpus part.",
    (
        column("ngram", pa.string(), "normalised words, one space between"),
        column("length", pa.int16(), "words", at_least=1),
        column("last", pa.int32(), "number of its last word among the n-grams of one word, from 0", at_least=0),
    ),
    key=("ngram",),
)
GENERATION_PAIRS = Contract(
    "generation_pairs",
    "The distinct pairs of generation_queries, of all models and tasks.",
    (
        column("input_ngram", pa.string(), "s_x"),
        column("output_ngram", pa.string(), "s_y of a text"),
        column(
            "input_row", pa.int32(), "row of s_x in generation_ngrams, from 0; of its first eight words if it is longer", at_least=0
        ),
        column("output_row", pa.int32(), "row of s_y, likewise", at_least=0),
    ),
    key=("input_ngram", "output_ngram"),
)


def _present(name: str, description: str, of: str = "the queries") -> Contract:
    """Which of some rows occur in one part of the corpus."""
    number = column("number", pa.int64(), f"row of {of}, from 0, that occurs in the part", at_least=0)
    return Contract(name, description, (number,), key=("number",), compression="none")


GENERATION_PARTIALS = _present("generation_partials", "Which rows of generation_ngrams occur in one corpus part.")
GENERATION_PAIR_PARTIALS = _present(
    "generation_pair_partials", "Which rows of generation_pairs co-occur in a document of one corpus part."
)
HELD_OUT_REPEATS = _present(
    "held_out_repeats",
    "Which held-out documents equal a document of one corpus part, word for word; novelty leaves them out.",
    of="held_out_documents",
)
GENERATION_COUNTS = Contract(
    name="generation_counts",
    description="Novelty of each generation and of its reference: n-grams of every order, and aligned pairs (docs/method.md §10).",
    columns=(
        *_TEXT,
        column("total", pa.int64(), "distinct n-grams or pairs", at_least=0),
        column("novel", pa.int64(), "those absent from the corpus", at_least=0),
    ),
    key=("model", "checkpoint", "task", "example", "kind", "order"),
    rules=(rows("novel <= total", "novel n-grams are a subset"),),
)

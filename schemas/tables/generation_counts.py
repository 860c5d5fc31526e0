"""Novelty: the n-grams and pairs of generated texts, and which of them are absent from the corpus."""

from schemas.contract import Contract, int16, int32, int64, rows, string, table

_TEXT = (
    string("model", "model, or `reference`, or `held_out`"),
    int64("checkpoint", "training step; -1 where there is no model", at_least=-1),
    string("task", "name of the task"),
    string("example", "evaluated example"),
    string("kind", "n-grams of the text, or pairs of input and text", one_of=("ngram", "pair")),
    int16("order", "n", between=(1, 16)),
)

GENERATION_QUERIES = table(
    "generation_queries by model checkpoint task example kind order input_ngram output_ngram",
    "What novelty looks up in the corpus: the n-grams of each generated or reference text, and its aligned pairs "
    "(docs/method.md §10).",
    *_TEXT,
    string("input_ngram", "s_x of a pair; empty for an n-gram"),
    string("output_ngram", "s_y of the text, or the n-gram"),
    rows("(kind = 'pair') = (length(input_ngram) > 0)", "a pair has two n-grams"),
    rows("length(output_ngram) > 0", "an n-gram has a word"),
)
GENERATION_NGRAMS = table(
    "generation_ngrams by ngram",
    "The distinct n-grams of generation_queries and its pairs, of all models and tasks, with their beginnings and words; each is "
    "looked up once per corpus part.",
    string("ngram", "normalised words, one space between"),
    int16("length", "words", at_least=1),
    int32("last", "number of its last word among the n-grams of one word, from 0", at_least=0),
)
GENERATION_PAIRS = table(
    "generation_pairs by input_ngram output_ngram",
    "The distinct pairs of generation_queries, of all models and tasks.",
    string("input_ngram", "s_x"),
    string("output_ngram", "s_y of a text"),
    int32("input_row", "row of s_x in generation_ngrams, from 0; of its first eight words if it is longer", at_least=0),
    int32("output_row", "row of s_y, likewise", at_least=0),
)


def _present(name: str, description: str, of: str = "the queries") -> Contract:
    """Which of some rows occur in one part of the corpus."""
    number = int64("number", f"row of {of}, from 0, that occurs in the part", at_least=0)
    return table(f"{name} by number", description, number, compression="none")


GENERATION_PARTIALS = _present("generation_partials", "Which rows of generation_ngrams occur in one corpus part.")
GENERATION_PAIR_PARTIALS = _present(
    "generation_pair_partials", "Which rows of generation_pairs co-occur in a document of one corpus part."
)
HELD_OUT_REPEATS = _present(
    "held_out_repeats",
    "Which held-out documents equal a document of one corpus part, word for word; novelty leaves them out.",
    of="held_out_documents",
)
GENERATION_COUNTS = table(
    "generation_counts by model checkpoint task example kind order",
    "Novelty of each generation and of its reference: n-grams of every order, and aligned pairs (docs/method.md §10).",
    *_TEXT,
    int64("total", "distinct n-grams or pairs", at_least=0),
    int64("novel", "those absent from the corpus", at_least=0),
    rows("novel <= total", "novel n-grams are a subset"),
)

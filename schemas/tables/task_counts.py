"""Counts of the tasks' n-grams and pairs in the corpus, their documents, contamination, ∞-grams. Tables named `…_partials` contain
one corpus part's share of a sum."""

from typing import Any

from schemas.contract import Contract, balance, int16, int32, int64, rows, string, table, total

_STATS = (
    string("ngram", "normalised words, one space between"),
    int16("length", "number of words", at_least=1),
    int64("occurrences", "occurrences in the corpus: C(s)", at_least=0),
    int64("documents", "documents that contain it: df(s)", at_least=0),
    rows("documents <= occurrences", "an n-gram occurs at least once in each document that contains it"),
    rows("documents > 0 OR occurrences = 0", "an n-gram that occurs is in a document"),
)

_EXAMPLE = (string("task", "name of the task"), string("example", "evaluated example"))
_PAIR = (string("input_ngram", "s_x"), string("output_ngram", "s_y"))
_PAIR_COUNT = (*_PAIR, int64("documents", "documents that contain both, anywhere and in any order: C(s_x, s_y)", at_least=0))

_PAIR_WINDOW = (
    *_PAIR,
    int32("window", "words from the first word of the one that begins first to the last of the other", at_least=1),
    int64("documents", "documents that contain both within so many words", at_least=1),
)


def _share(key: str, of: str, what: str, columns: tuple[Any, ...]) -> Contract:
    return table(key, f"One corpus part's share of {of}; {what} with count 0 are left out.", *columns)


NGRAM_PARTIALS = _share("ngram_partials by ngram", "ngram_stats", "n-grams", _STATS)
PAIR_PARTIALS = _share("pair_partials by input_ngram output_ngram", "pair_counts", "pairs", _PAIR_COUNT)
PAIR_WINDOW_PARTIALS = _share("pair_window_partials by input_ngram output_ngram window", "pair_windows", "pairs", _PAIR_WINDOW)
PAIR_DOCUMENT_PARTIALS = table(
    "pair_document_partials by input_ngram output_ngram hash document",
    "For each pair, the documents of one part with the k smallest hashes.",
    *_PAIR,
    int64("hash", "hash(seed, pair, document), 63 bits", at_least=0),
    string("part", "key of the documents part"),
    int64("document", "position of the document in its part", at_least=0),
    int32("input_word", "position of the first word of s_x, in words from 0", at_least=0),
    int32("output_word", "position of the first word of s_y, in words from 0", at_least=0),
)
CONTAMINATION_PARTIALS = table(
    "contamination_partials by ngram",
    "Long n-grams of evaluated examples that occur in one corpus part.",
    string("ngram", "normalised words, one space between"),
    int64("documents", "documents of the part that contain it", at_least=1),
    string("source", "source of the first such document"),
    string("id", "id of the first such document"),
)

NGRAM_STATS = table("ngram_stats by ngram", "Occurrences and documents of every n-gram that the tasks query.", *_STATS)
PAIR_COUNTS = table(
    "pair_counts by input_ngram output_ngram",
    "Exact document co-occurrence of every task-gram (and of every planted pair).",
    *_PAIR_COUNT,
    balance(
        "(SELECT count(*) FROM pair_counts p "
        "LEFT JOIN ngram_stats x ON x.part_key = p.part_key AND x.ngram = p.input_ngram "
        "LEFT JOIN ngram_stats y ON y.part_key = p.part_key AND y.ngram = p.output_ngram "
        "WHERE p.documents > least(x.documents, y.documents) OR x.ngram IS NULL OR y.ngram IS NULL)",
        "0",
        "C(s_x, s_y) ≤ min(df(s_x), df(s_y)), and both n-grams are counted",
    ),
    balance(total("documents", "pair_counts"), total("documents", "pair_partials"), "partial counts add up"),
)
_TASK = string("task", "task whose evaluated examples share a long n-gram with the documents")
CONTAMINATED_NGRAM_PARTIALS = table(
    "contaminated_ngram_partials by task ngram",
    "One corpus part's share of the n-grams of a task's pairs in contaminated documents: those that contain an n-gram "
    "of an evaluated example's input or output, where n is the smallest of `contamination_orders`.",
    _TASK,
    *_STATS,
)
CONTAMINATED_PAIR_PARTIALS = table(
    "contaminated_pair_partials by task input_ngram output_ngram",
    "For each pair of a task's evaluated examples, the contaminated documents of one corpus part that contain both.",
    _TASK,
    *_PAIR_COUNT,
)
CLEAN_NGRAM_STATS = table(
    "clean_ngram_stats by task ngram",
    "ngram_stats without a task's contaminated documents; only n-grams that occur in one of these.",
    _TASK,
    *_STATS,
    balance(
        total("s.documents - c.documents", "clean_ngram_stats c JOIN ngram_stats s USING (part_key, ngram)"),
        total("documents", "contaminated_ngram_partials"),
        "the difference is in contaminated documents",
    ),
)
CLEAN_PAIR_COUNTS = table(
    "clean_pair_counts by task input_ngram output_ngram",
    "pair_counts without a task's contaminated documents (docs/method.md §6c); only pairs that occur in one of these.",
    _TASK,
    *_PAIR_COUNT,
    balance(
        total("p.documents - c.documents", "clean_pair_counts c JOIN pair_counts p USING (part_key, input_ngram, output_ngram)"),
        total("documents", "contaminated_pair_partials"),
        "the difference is in contaminated documents",
    ),
)
PAIR_WINDOWS = table(
    "pair_windows by input_ngram output_ngram window",
    "Documents in which both n-grams of a pair occur near each other, for each width in study.counting.windows.",
    *_PAIR_WINDOW,
    balance(
        "(SELECT count(*) FROM pair_windows w LEFT JOIN pair_counts p USING (part_key, input_ngram, output_ngram) "
        "WHERE p.documents IS NULL OR w.documents > p.documents)",
        "0",
        "n-grams that occur near each other occur in one document",
    ),
    balance(total("documents", "pair_windows"), total("documents", "pair_window_partials"), "partial counts add up"),
)
PAIR_DOCUMENTS = table(
    "pair_documents by input_ngram output_ngram rank",
    "For each pair of an evaluated example, k documents that contain it, chosen by smallest hash.",
    *_PAIR,
    int32("rank", "order of the hash, from 0", at_least=0),
    string("source", "source of the document"),
    string("id", "id of the document in its source"),
    string("excerpt", "text around the two n-grams"),
    int32("input_start", "code points into the excerpt where s_x begins", at_least=-1),
    int32("input_end", "code points into the excerpt just after s_x", at_least=-1),
    int32("output_start", "code points into the excerpt where s_y begins", at_least=-1),
    int32("output_end", "code points into the excerpt just after s_y", at_least=-1),
)
CONTAMINATION = table(
    "contamination by task example order side",
    "Evaluated examples that share a long n-gram with the corpus (docs/method.md §13).",
    *_EXAMPLE,
    int16("order", "n of the shared n-gram", between=(1, 64)),
    string("side", "text of the example that contains it", one_of=("input", "output")),
    string("ngram", "the shared n-gram with the smallest position in the example"),
    int64("shared", "distinct n-grams of the example that occur in the corpus", at_least=1),
    int64("documents", "documents that contain `ngram`", at_least=1),
    string("source", "source of the first such document"),
    string("id", "id of the first such document"),
)

_TOKEN = (*_EXAMPLE, int32("position", "token of the continuation, from 0", at_least=0))
INFINIGRAM_PARTIALS = table(
    "infinigram_partials by task example position suffix",
    "One corpus part's counts for each suffix of the context that occurs in it.",
    *_TOKEN,
    int32("suffix", "length of the context suffix, in tokens", at_least=0),
    int64("denominator", "occurrences of the suffix in the part that a token follows", at_least=0),
    int64("numerator", "those that the queried token follows", at_least=0),
    rows("numerator <= denominator", "the queried token is one of those that follow"),
)
INFINIGRAM = table(
    "infinigram by task example position",
    "∞-gram counts of each token of each reference output (arXiv 2407.14985 §2, Eq. 5-6).",
    *_TOKEN,
    int32("token", "token id", at_least=0),
    int32("start", "code point offset in the output where the token begins; negative in the separator"),
    int32("end", "code point offset in the output just after the token"),
    int32("suffix", "length of the longest context suffix that occurs in the corpus", at_least=0),
    int64("numerator", "times the token follows that suffix", at_least=0),
    int64("denominator", "times any token follows that suffix", at_least=0),
    int32("backoff_suffix", "longest suffix the token follows; -1 if it does not occur", at_least=-1),
    int64("backoff_numerator", "times the token follows that suffix", at_least=0),
    int64("backoff_denominator", "times any token follows that suffix", at_least=0),
    rows("numerator <= denominator AND backoff_numerator <= backoff_denominator", "a probability is at most 1"),
    rows("backoff_suffix <= suffix", "backing off shortens"),
)

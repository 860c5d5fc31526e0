"""Counts of the tasks' n-grams and pairs in the corpus, their documents, contamination, ∞-grams.

Tables named `…_partials` contain one corpus part's share of a sum.
"""

from dataclasses import replace

import pyarrow as pa

from schemas.contract import Contract, balance, column, rows, total

_STAT_COLUMNS = (
    column("ngram", pa.string(), "normalised words, one space between"),
    column("length", pa.int16(), "number of words", at_least=1),
    column("occurrences", pa.int64(), "occurrences in the corpus: C(s)", at_least=0),
    column("documents", pa.int64(), "documents that contain it: df(s)", at_least=0),
)
_STAT_RULES = (
    rows("documents <= occurrences", "an n-gram occurs at least once in each document that contains it"),
    rows("documents > 0 OR occurrences = 0", "an n-gram that occurs is in a document"),
)

_PAIR = (column("input_ngram", pa.string(), "s_x"), column("output_ngram", pa.string(), "s_y"))
_PAIR_COLUMNS = (
    *_PAIR,
    column("documents", pa.int64(), "documents that contain both, anywhere and in any order: C(s_x, s_y)", at_least=0),
)

NGRAM_PARTIALS = Contract(
    "ngram_partials",
    "One corpus part's share of ngram_stats; n-grams with count 0 are left out.",
    _STAT_COLUMNS,
    key=("ngram",),
    rules=_STAT_RULES,
)
PAIR_PARTIALS = Contract(
    "pair_partials",
    "One corpus part's share of pair_counts; pairs with count 0 are left out.",
    _PAIR_COLUMNS,
    key=("input_ngram", "output_ngram"),
)
PAIR_WINDOW_PARTIALS = Contract(
    "pair_window_partials",
    "One corpus part's share of pair_windows; pairs with count 0 are left out.",
    (
        *_PAIR,
        column("window", pa.int32(), "words from the first word of the one that begins first to the last of the other", at_least=1),
        column("documents", pa.int64(), "documents that contain both within so many words", at_least=1),
    ),
    key=("input_ngram", "output_ngram", "window"),
)
PAIR_DOCUMENT_PARTIALS = Contract(
    name="pair_document_partials",
    description="For each pair, the documents of one part with the k smallest hashes.",
    columns=(
        *_PAIR,
        column("hash", pa.int64(), "hash(seed, pair, document), 63 bits", at_least=0),
        column("part", pa.string(), "key of the documents part"),
        column("document", pa.int64(), "position of the document in its part", at_least=0),
        column("input_word", pa.int32(), "position of the first word of s_x, in words from 0", at_least=0),
        column("output_word", pa.int32(), "position of the first word of s_y, in words from 0", at_least=0),
    ),
    key=("input_ngram", "output_ngram", "hash", "document"),
)
CONTAMINATION_PARTIALS = Contract(
    name="contamination_partials",
    description="Long n-grams of evaluated examples that occur in one corpus part.",
    columns=(
        column("ngram", pa.string(), "normalised words, one space between"),
        column("documents", pa.int64(), "documents of the part that contain it", at_least=1),
        column("source", pa.string(), "source of the first such document"),
        column("id", pa.string(), "id of the first such document"),
    ),
    key=("ngram",),
)

NGRAM_STATS = replace(
    NGRAM_PARTIALS, name="ngram_stats", description="Occurrences and documents of every n-gram that the tasks query."
)
PAIR_COUNTS = replace(
    PAIR_PARTIALS,
    name="pair_counts",
    description="Exact document co-occurrence of every task-gram (and of every planted pair).",
    balances=(
        balance(
            "(SELECT count(*) FROM pair_counts p "
            "LEFT JOIN ngram_stats x ON x.part_key = p.part_key AND x.ngram = p.input_ngram "
            "LEFT JOIN ngram_stats y ON y.part_key = p.part_key AND y.ngram = p.output_ngram "
            "WHERE p.documents > least(x.documents, y.documents) OR x.ngram IS NULL OR y.ngram IS NULL)",
            "0",
            "C(s_x, s_y) ≤ min(df(s_x), df(s_y)), and both n-grams are counted",
        ),
        balance(total("documents", "pair_counts"), total("documents", "pair_partials"), "partial counts add up"),
    ),
)
_TASK = column("task", pa.string(), "task whose evaluated examples share a long n-gram with the documents")
CONTAMINATED_NGRAM_PARTIALS = replace(
    NGRAM_PARTIALS,
    name="contaminated_ngram_partials",
    description="One corpus part's share of the n-grams of a task's pairs in contaminated documents: those that contain an n-gram "
    "of an evaluated example's input or output, where n is the smallest of `contamination_orders`.",
    columns=(_TASK, *_STAT_COLUMNS),
    key=("task", "ngram"),
)
CONTAMINATED_PAIR_PARTIALS = Contract(
    "contaminated_pair_partials",
    "For each pair of a task's evaluated examples, the contaminated documents of one corpus part that contain both.",
    (_TASK, *_PAIR_COLUMNS),
    key=("task", "input_ngram", "output_ngram"),
)
CLEAN_NGRAM_STATS = replace(
    CONTAMINATED_NGRAM_PARTIALS,
    name="clean_ngram_stats",
    description="ngram_stats without a task's contaminated documents; only n-grams that occur in one of these.",
    balances=(
        balance(
            total("s.documents - c.documents", "clean_ngram_stats c JOIN ngram_stats s USING (part_key, ngram)"),
            total("documents", "contaminated_ngram_partials"),
            "the difference is in contaminated documents",
        ),
    ),
)
CLEAN_PAIR_COUNTS = replace(
    CONTAMINATED_PAIR_PARTIALS,
    name="clean_pair_counts",
    description="pair_counts without a task's contaminated documents (docs/method.md §6c); only pairs that occur in one of these.",
    balances=(
        balance(
            total(
                "p.documents - c.documents", "clean_pair_counts c JOIN pair_counts p USING (part_key, input_ngram, output_ngram)"
            ),
            total("documents", "contaminated_pair_partials"),
            "the difference is in contaminated documents",
        ),
    ),
)
PAIR_WINDOWS = replace(
    PAIR_WINDOW_PARTIALS,
    name="pair_windows",
    description="Documents in which both n-grams of a pair occur near each other, for each width in study.counting.windows.",
    balances=(
        balance(
            "(SELECT count(*) FROM pair_windows w LEFT JOIN pair_counts p USING (part_key, input_ngram, output_ngram) "
            "WHERE p.documents IS NULL OR w.documents > p.documents)",
            "0",
            "n-grams that occur near each other occur in one document",
        ),
        balance(total("documents", "pair_windows"), total("documents", "pair_window_partials"), "partial counts add up"),
    ),
)
PAIR_DOCUMENTS = Contract(
    name="pair_documents",
    description="For each pair of an evaluated example, k documents that contain it, chosen by smallest hash.",
    columns=(
        *_PAIR,
        column("rank", pa.int32(), "order of the hash, from 0", at_least=0),
        column("source", pa.string(), "source of the document"),
        column("id", pa.string(), "id of the document in its source"),
        column("excerpt", pa.string(), "text around the two n-grams"),
        column("input_start", pa.int32(), "code points into the excerpt where s_x begins", at_least=-1),
        column("input_end", pa.int32(), "code points into the excerpt just after s_x", at_least=-1),
        column("output_start", pa.int32(), "code points into the excerpt where s_y begins", at_least=-1),
        column("output_end", pa.int32(), "code points into the excerpt just after s_y", at_least=-1),
    ),
    key=("input_ngram", "output_ngram", "rank"),
)
CONTAMINATION = Contract(
    "contamination",
    "Evaluated examples that share a long n-gram with the corpus (docs/method.md §13).",
    (
        column("task", pa.string(), "name of the task"),
        column("example", pa.string(), "evaluated example"),
        column("order", pa.int16(), "n of the shared n-gram", between=(1, 64)),
        column("side", pa.string(), "text of the example that contains it", one_of=("input", "output")),
        column("ngram", pa.string(), "the shared n-gram with the smallest position in the example"),
        column("shared", pa.int64(), "distinct n-grams of the example that occur in the corpus", at_least=1),
        column("documents", pa.int64(), "documents that contain `ngram`", at_least=1),
        column("source", pa.string(), "source of the first such document"),
        column("id", pa.string(), "id of the first such document"),
    ),
    key=("task", "example", "order", "side"),
)

_INFINIGRAM_KEY = (
    column("task", pa.string(), "name of the task"),
    column("example", pa.string(), "evaluated example"),
    column("position", pa.int32(), "token of the continuation, from 0", at_least=0),
)
INFINIGRAM_PARTIALS = Contract(
    name="infinigram_partials",
    description="One corpus part's counts for each suffix of the context that occurs in it.",
    columns=(
        *_INFINIGRAM_KEY,
        column("suffix", pa.int32(), "length of the context suffix, in tokens", at_least=0),
        column("denominator", pa.int64(), "occurrences of the suffix in the part that a token follows", at_least=0),
        column("numerator", pa.int64(), "those that the queried token follows", at_least=0),
    ),
    key=("task", "example", "position", "suffix"),
    rules=(rows("numerator <= denominator", "the queried token is one of those that follow"),),
)
INFINIGRAM = Contract(
    name="infinigram",
    description="∞-gram counts of each token of each reference output (arXiv 2407.14985 §2, Eq. 5-6).",
    columns=(
        *_INFINIGRAM_KEY,
        column("token", pa.int32(), "token id", at_least=0),
        column("start", pa.int32(), "code point offset in the output where the token begins; negative in the separator"),
        column("end", pa.int32(), "code point offset in the output just after the token"),
        column("suffix", pa.int32(), "length of the longest context suffix that occurs in the corpus", at_least=0),
        column("numerator", pa.int64(), "times the token follows that suffix", at_least=0),
        column("denominator", pa.int64(), "times any token follows that suffix", at_least=0),
        column("backoff_suffix", pa.int32(), "longest suffix the token follows; -1 if it does not occur", at_least=-1),
        column("backoff_numerator", pa.int64(), "times the token follows that suffix", at_least=0),
        column("backoff_denominator", pa.int64(), "times any token follows that suffix", at_least=0),
    ),
    key=("task", "example", "position"),
    rules=(
        rows("numerator <= denominator AND backoff_numerator <= backoff_denominator", "a probability is at most 1"),
        rows("backoff_suffix <= suffix", "backing off shortens"),
    ),
)

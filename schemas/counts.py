"""Everything that is counted in the corpus. Tables named `…_partials` hold one corpus part's share of a sum."""

import pyarrow as pa

from schemas.contract import Column, Contract, balance, column, rows

_LENGTHS = """CASE WHEN (SELECT count(*) FROM sums WHERE name = 'of_tokens') > 0
  THEN (SELECT coalesce(sum(greatest(0, len(ids) - n + 1)), 0) FROM tokens)
  ELSE (SELECT coalesce(sum(greatest(0, len(ids) - n + 1)), 0) FROM words) END"""

NGRAM_SUFFIXES = Contract(
    name="ngram_suffixes",
    description="Every position of one part of the corpus with the ids that follow it, in buckets by the first two of these.",
    columns=(
        column("block", pa.int32(), "run of documents that was put into buckets together, from 0", at_least=0),
        column("bucket", pa.int16(), "all suffixes with the same first two words are in one bucket", at_least=0),
        column("suffixes", pa.int64(), "how many there are, each of at least two ids", at_least=0),
        column("last_document", pa.int32(), "the last document of the block, as its position in the documents part", at_least=-1),
        column("ids_per_number", pa.int16(), "4 ids of 16 bits, 3 of 21 or 2 of 32", between=(2, 4)),
        column("numbers", pa.int16(), "numbers of a suffix", at_least=1),
        column("documents", pa.binary(), "of each suffix the document, as its position in the documents part: int32"),
        column("packed", pa.binary(), "int64 [numbers, suffixes]: a suffix' ids, each plus 1, the first highest; 0 behind its end"),
    ),
    key=("block", "bucket"),
    rules=(
        rows("octet_length(documents) = 4 * suffixes", "each suffix has a document"),
        rows("octet_length(packed) = 8 * numbers * suffixes", "each suffix has so many numbers"),
    ),
    balances=(
        balance("(SELECT COALESCE(sum(suffixes), 0) FROM ngram_suffixes)",
                f"CASE WHEN (SELECT count(*) FROM ngram_suffixes) = 0 THEN 0 ELSE {_LENGTHS.replace('- n + 1', '- 1')} END",
                "no position is lost, where any order is counted"),
    ),
    compression="none",
)  # fmt: skip

NGRAM_COUNTS = Contract(
    name="ngram_counts",
    description="How often each n-gram stands in the corpus, and in how many documents; one part per bucket.",
    columns=(
        column("order", pa.int16(), "n", between=(1, 16)),
        column("ngram", pa.binary(), "4·n bytes: big-endian ids of ngram_vocabulary, so that byte order is id order"),
        column("occurrences", pa.int64(), "times it stands there", at_least=1),
        column("documents", pa.int64(), "documents that hold it", at_least=1),
    ),
    key=("order", "ngram"),
    rules=(
        rows("documents <= occurrences", "an n-gram stands at least once in each document that holds it"),
        rows('octet_length(ngram) = 4 * "order"', "an n-gram has n ids"),
    ),
    balances=(
        balance(
            f"""(SELECT count(*) FROM (
              SELECT n, sum(counted) AS counted FROM (
                SELECT "order"::BIGINT AS n, sum(occurrences) AS counted FROM ngram_counts GROUP BY 1
                UNION ALL
                SELECT replace(name, 'occurrences_below_min_count_', '')::BIGINT, sum(value) FROM sums
                WHERE name LIKE 'occurrences_below_min_count_%' GROUP BY 1
              ) GROUP BY 1
            ) WHERE counted <> {_LENGTHS})""",
            "0",
            "for every n, Σ counts and what min_count drops = Σ over documents of max(0, length - n + 1)",
        ),
    ),
    compression="none",
)

NGRAM_VOCABULARY = Contract(
    name="ngram_vocabulary",
    description="What the ids in ngram_counts stand for: the corpus vocabulary, sorted; or the tokenizer's.",
    columns=(
        column("id", pa.int32(), "id in ngram_counts", at_least=0),
        column("word", pa.string(), "the normalised word; for tokens, as tokenizer.json writes it"),
        column("occurrences", pa.int64(), "times it stands in the corpus", at_least=0),
        column("documents", pa.int64(), "documents that hold it", at_least=0),
    ),
    key=("id",),
    rules=(rows("documents <= occurrences", "it stands at least once in each document that holds it"),),
)

_STAT_COLUMNS = (
    column("ngram", pa.string(), "normalised words, one space between"),
    column("length", pa.int16(), "number of words", at_least=1),
    column("occurrences", pa.int64(), "times it stands in the corpus: C(s)", at_least=0),
    column("documents", pa.int64(), "documents that hold it: df(s)", at_least=0),
)
_STAT_RULES = (
    rows("documents <= occurrences", "an n-gram stands at least once in each document that holds it"),
    rows("documents > 0 OR occurrences = 0", "what occurs, occurs in a document"),
)


_PAIR_COLUMNS = (
    column("input_ngram", pa.string(), "s_x"),
    column("output_ngram", pa.string(), "s_y"),
    column("documents", pa.int64(), "documents that hold both, anywhere and in any order: C(s_x, s_y)", at_least=0),
)

NGRAM_PARTIALS = Contract(
    "ngram_partials",
    "One corpus part's share of ngram_stats; what is absent has count 0.",
    _STAT_COLUMNS,
    key=("ngram",),
    rules=_STAT_RULES,
)
PAIR_PARTIALS = Contract(
    "pair_partials",
    "One corpus part's share of pair_counts; what is absent has count 0.",
    _PAIR_COLUMNS,
    key=("input_ngram", "output_ngram"),
)
_WINDOW_COLUMNS = (
    column("input_ngram", pa.string(), "s_x"),
    column("output_ngram", pa.string(), "s_y"),
    column(
        "window", pa.int32(), "words from the first word of the one that begins first to the last of the other", at_least=1
    ),
    column("documents", pa.int64(), "documents that hold both within so many words", at_least=1),
)
PAIR_WINDOW_PARTIALS = Contract(
    "pair_window_partials",
    "One corpus part's share of pair_windows; what is absent has count 0.",
    _WINDOW_COLUMNS,
    key=("input_ngram", "output_ngram", "window"),
)
PAIR_DOCUMENT_PARTIALS = Contract(
    name="pair_document_partials",
    description="For each pair, the documents of one part with the k smallest hashes.",
    columns=(
        column("input_ngram", pa.string(), "s_x"),
        column("output_ngram", pa.string(), "s_y"),
        column("hash", pa.int64(), "hash(seed, pair, document), 63 bits", at_least=0),
        column("part", pa.string(), "key of the documents part"),
        column("document", pa.int64(), "position of the document in its part", at_least=0),
        column("input_word", pa.int32(), "position of the first word of s_x, in words from 0", at_least=0),
        column("output_word", pa.int32(), "position of the first word of s_y, in words from 0", at_least=0),
    ),
    key=("input_ngram", "output_ngram", "hash", "document"),
)
_CONTAMINATION_COLUMNS: tuple[Column, ...] = (
    column("task", pa.string(), "name of the task"),
    column("example", pa.string(), "evaluated example"),
    column("order", pa.int16(), "n of the shared n-gram", between=(1, 64)),
    column("side", pa.string(), "text of the example it stands in", one_of=("input", "output")),
    column("ngram", pa.string(), "the shared n-gram with the smallest position in the example"),
    column("shared", pa.int64(), "distinct n-grams of the example that stand in the corpus", at_least=1),
    column("documents", pa.int64(), "documents that hold `ngram`", at_least=1),
    column("source", pa.string(), "source of the first such document"),
    column("id", pa.string(), "id of the first such document"),
)
CONTAMINATION_PARTIALS = Contract(
    name="contamination_partials",
    description="Long n-grams of evaluated examples that stand in one corpus part.",
    columns=(
        column("ngram", pa.string(), "normalised words, one space between"),
        column("documents", pa.int64(), "documents of the part that hold it", at_least=1),
        column("source", pa.string(), "source of the first such document"),
        column("id", pa.string(), "id of the first such document"),
    ),
    key=("ngram",),
)

NGRAM_STATS = Contract(
    "ngram_stats",
    "Occurrences and documents of every n-gram the tasks ask for.",
    _STAT_COLUMNS,
    key=("ngram",),
    rules=_STAT_RULES,
)
PAIR_COUNTS = Contract(
    "pair_counts",
    "Exact document co-occurrence of every task-gram (and of every planted pair).",
    _PAIR_COLUMNS,
    key=("input_ngram", "output_ngram"),
    balances=(
        balance(
            "(SELECT count(*) FROM pair_counts p LEFT JOIN ngram_stats x ON x.ngram = p.input_ngram "
            "LEFT JOIN ngram_stats y ON y.ngram = p.output_ngram "
            "WHERE p.documents > least(x.documents, y.documents) OR x.ngram IS NULL OR y.ngram IS NULL)",
            "0",
            "C(s_x, s_y) ≤ min(df(s_x), df(s_y)), and both are counted",
        ),
        balance(
            "(SELECT coalesce(sum(documents), 0) FROM pair_counts)",
            "(SELECT coalesce(sum(documents), 0) FROM pair_partials)",
            "partial counts add up",
        ),
    ),
)
_TASK = column("task", pa.string(), "task whose evaluated examples the documents hold a long n-gram of")
CONTAMINATED_NGRAM_PARTIALS = Contract(
    "contaminated_ngram_partials",
    "Of each n-gram of a task's pairs, one corpus part's share of it in contaminated documents: those that hold an n-gram of an "
    "evaluated example's input or output, n being the smallest of `contamination_orders`.",
    (_TASK, *_STAT_COLUMNS),
    key=("task", "ngram"),
    rules=_STAT_RULES,
)
CONTAMINATED_PAIR_PARTIALS = Contract(
    "contaminated_pair_partials",
    "Of each pair of a task's evaluated examples, the contaminated documents of one corpus part that hold both.",
    (_TASK, *_PAIR_COLUMNS),
    key=("task", "input_ngram", "output_ngram"),
)
CLEAN_NGRAM_STATS = Contract(
    "clean_ngram_stats",
    "ngram_stats without a task's contaminated documents; only n-grams that stand in one of these.",
    (_TASK, *_STAT_COLUMNS),
    key=("task", "ngram"),
    rules=_STAT_RULES,
    balances=(
        balance(
            "(SELECT coalesce(sum(s.documents - c.documents), 0) FROM clean_ngram_stats c "
            "JOIN (SELECT ngram, max(documents) AS documents FROM ngram_stats GROUP BY 1) s USING (ngram))",
            "(SELECT coalesce(sum(documents), 0) FROM contaminated_ngram_partials)",
            "what is missing stands in contaminated documents",
        ),
    ),
)
CLEAN_PAIR_COUNTS = Contract(
    "clean_pair_counts",
    "pair_counts without a task's contaminated documents (§6c); only pairs that stand in one of these.",
    (_TASK, *_PAIR_COLUMNS),
    key=("task", "input_ngram", "output_ngram"),
    balances=(
        balance(
            "(SELECT coalesce(sum(p.documents - c.documents), 0) FROM clean_pair_counts c "
            "JOIN (SELECT input_ngram, output_ngram, max(documents) AS documents FROM pair_counts GROUP BY 1, 2) p "
            "USING (input_ngram, output_ngram))",
            "(SELECT coalesce(sum(documents), 0) FROM contaminated_pair_partials)",
            "what is missing stands in contaminated documents",
        ),
    ),
)
PAIR_WINDOWS = Contract(
    "pair_windows",
    "Documents in which both n-grams of a pair stand near each other, for each width in study.counting.windows.",
    _WINDOW_COLUMNS,
    key=("input_ngram", "output_ngram", "window"),
    balances=(
        balance(
            "(SELECT count(*) FROM pair_windows w LEFT JOIN pair_counts p USING (input_ngram, output_ngram) "
            "WHERE p.documents IS NULL OR w.documents > p.documents)",
            "0",
            "what stands near each other stands in one document",
        ),
        balance(
            "(SELECT coalesce(sum(documents), 0) FROM pair_windows)",
            "(SELECT coalesce(sum(documents), 0) FROM pair_window_partials)",
            "partial counts add up",
        ),
    ),
)
PAIR_DOCUMENTS = Contract(
    name="pair_documents",
    description="For each pair of an evaluated example, k documents that hold it, chosen by smallest hash.",
    columns=(
        column("input_ngram", pa.string(), "s_x"),
        column("output_ngram", pa.string(), "s_y"),
        column("rank", pa.int32(), "order of the hash, from 0", at_least=0),
        column("source", pa.string(), "source of the document"),
        column("id", pa.string(), "id of the document in its source"),
        column("excerpt", pa.string(), "text around the two n-grams"),
        column("input_start", pa.int32(), "code points into the excerpt where s_x begins", at_least=-1),
        column("input_end", pa.int32(), "code points into the excerpt just behind s_x", at_least=-1),
        column("output_start", pa.int32(), "code points into the excerpt where s_y begins", at_least=-1),
        column("output_end", pa.int32(), "code points into the excerpt just behind s_y", at_least=-1),
    ),
    key=("input_ngram", "output_ngram", "rank"),
)
CONTAMINATION = Contract(
    "contamination",
    "Evaluated examples that share a long n-gram with the corpus (§13).",
    _CONTAMINATION_COLUMNS,
    key=("task", "example", "order", "side"),
)

_INFINIGRAM_KEY = (
    column("task", pa.string(), "name of the task"),
    column("example", pa.string(), "evaluated example"),
    column("position", pa.int32(), "token of the continuation, from 0", at_least=0),
)
INFINIGRAM_PARTIALS = Contract(
    name="infinigram_partials",
    description="One corpus part's counts for each suffix of the context that stands in it.",
    columns=(
        *_INFINIGRAM_KEY,
        column("suffix", pa.int32(), "tokens of context taken", at_least=0),
        column("denominator", pa.int64(), "times the suffix stands in the part with a token behind it", at_least=0),
        column("numerator", pa.int64(), "times the asked token is the one behind it", at_least=0),
    ),
    key=("task", "example", "position", "suffix"),
    rules=(rows("numerator <= denominator", "the asked token is one of those that follow"),),
)
INFINIGRAM = Contract(
    name="infinigram",
    description="∞-gram counts of each token of each reference output (arXiv 2407.14985 §2, Eq. 5-6).",
    columns=(
        *_INFINIGRAM_KEY,
        column("token", pa.int32(), "token id", at_least=0),
        column("start", pa.int32(), "code point offset in the output where the token begins; negative in the separator"),
        column("end", pa.int32(), "code point offset in the output just behind the token"),
        column("suffix", pa.int32(), "length of the longest context suffix that stands in the corpus", at_least=0),
        column("numerator", pa.int64(), "times the token follows that suffix", at_least=0),
        column("denominator", pa.int64(), "times any token follows that suffix", at_least=0),
        column("backoff_suffix", pa.int32(), "longest suffix the token follows; -1 if it stands nowhere", at_least=-1),
        column("backoff_numerator", pa.int64(), "times the token follows that suffix", at_least=0),
        column("backoff_denominator", pa.int64(), "times any token follows that suffix", at_least=0),
    ),
    key=("task", "example", "position"),
    rules=(
        rows("numerator <= denominator AND backoff_numerator <= backoff_denominator", "a probability is at most 1"),
        rows("backoff_suffix <= suffix", "backing off shortens"),
    ),
)

GENERATION_QUERIES = Contract(
    name="generation_queries",
    description="What novelty asks of the corpus: the n-grams of each generated or reference text, and its aligned pairs (§10).",
    columns=(
        column("model", pa.string(), "model, or `reference`, or `held_out`"),
        column("checkpoint", pa.int64(), "training step; -1 where there is no model", at_least=-1),
        column("task", pa.string(), "name of the task"),
        column("example", pa.string(), "evaluated example"),
        column("kind", pa.string(), "n-grams of the text, or pairs of input and text", one_of=("ngram", "pair")),
        column("order", pa.int16(), "n", between=(1, 16)),
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
    "The distinct n-grams of generation_queries, of all models and tasks: what each part of the corpus is asked once.",
    (column("ngram", pa.string(), "normalised words, one space between"),),
    key=("ngram",),
)
GENERATION_PAIRS = Contract(
    "generation_pairs",
    "The distinct pairs of generation_queries, of all models and tasks.",
    (column("input_ngram", pa.string(), "s_x"), column("output_ngram", pa.string(), "s_y of a text")),
    key=("input_ngram", "output_ngram"),
)
_FOUND = (column("number", pa.int64(), "row of what was asked, from 0, that stands in the part", at_least=0),)
GENERATION_PARTIALS = Contract(
    "generation_partials",
    "Which rows of generation_ngrams stand in one corpus part.",
    _FOUND,
    key=("number",),
    compression="none",
)
GENERATION_PAIR_PARTIALS = Contract(
    "generation_pair_partials",
    "Which rows of generation_pairs stand in a document of one corpus part.",
    _FOUND,
    key=("number",),
    compression="none",
)
GENERATION_COUNTS = Contract(
    name="generation_counts",
    description="Novelty of each generation and of its reference: n-grams of every order, and aligned pairs (§10).",
    columns=(
        column("model", pa.string(), "model, or `reference`, or `held_out`"),
        column("checkpoint", pa.int64(), "training step; -1 where there is no model", at_least=-1),
        column("task", pa.string(), "name of the task"),
        column("example", pa.string(), "evaluated example"),
        column("kind", pa.string(), "n-grams of the text, or pairs of input and text", one_of=("ngram", "pair")),
        column("order", pa.int16(), "n", between=(1, 16)),
        column("total", pa.int64(), "distinct n-grams or pairs", at_least=0),
        column("novel", pa.int64(), "of these, absent from the corpus", at_least=0),
    ),
    key=("model", "checkpoint", "task", "example", "kind", "order"),
    rules=(rows("novel <= total", "what is novel is among all"),),
)


def _index(name: str, unit: str, read: str) -> Contract:
    """An index over the ids of a table; both have the same shape."""
    return Contract(
        name=name,
        description=f"Suffix arrays over {unit}, for questions after the study; the arrays are files beside each part.",
        columns=(
            column("part", pa.string(), f"key of the {read} part"),
            column(
                "shard", pa.int32(), "number of the shard in its part: a part beyond 32 million ids has several", at_least=0
            ),
            column("first_document", pa.int64(), "position of the shard's first document in its part", at_least=0),
            column("documents", pa.int64(), "documents in the shard", at_least=0),
            column(unit, pa.int64(), f"{unit} in the shard", at_least=0),
            column("vocabulary", pa.int64(), f"distinct {unit} in the shard", at_least=0),
            column("bytes", pa.int64(), "size of the shard's files", at_least=1),
            column(
                "files", pa.list_(pa.field("element", pa.string(), nullable=False)), "names of the files beside the part"
            ),
        ),
        key=("part", "shard"),
        rules=(rows(f"vocabulary <= {unit}", f"each of the distinct {unit} stands there"),),
        balances=(
            balance(
                f"(SELECT coalesce(sum({unit}), 0) FROM {name})",
                f"(SELECT CASE WHEN (SELECT count(*) FROM {name}) = 0 THEN 0 ELSE coalesce(sum(len(ids)), 0) END FROM {read})",
                "every id is indexed, where an index is asked for",
            ),
            balance(
                f"(SELECT coalesce(sum(documents), 0) FROM {name})",
                f"(SELECT CASE WHEN (SELECT count(*) FROM {name}) = 0 THEN 0 ELSE count(*) END FROM {read})",
                "every document is indexed, where an index is asked for",
            ),
        ),
    )


NGRAM_INDEX = _index("ngram_index", "words", "words")
TOKEN_INDEX = _index("token_index", "tokens", "tokens")

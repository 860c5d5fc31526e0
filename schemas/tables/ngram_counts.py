"""All n-grams of the corpus with their counts, and suffix arrays that answer queries for any other n-gram."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, count, rows, total

_LENGTHS = """CASE WHEN (SELECT count(*) FROM sums WHERE name = 'of_tokens') > 0
  THEN (SELECT coalesce(sum(greatest(0, len(ids) - n + 1)), 0) FROM tokens)
  ELSE (SELECT coalesce(sum(greatest(0, len(ids) - n + 1)), 0) FROM words) END"""

NGRAM_SUFFIXES = Contract(
    name="ngram_suffixes",
    description="Every position of one part of the corpus with the ids that follow it, in buckets by the first two ids.",
    columns=(
        column("block", pa.int32(), "run of documents that was distributed to the buckets together, from 0", at_least=0),
        column("bucket", pa.int16(), "all suffixes with the same first two words are in one bucket", at_least=0),
        column("suffixes", pa.int64(), "number of suffixes, each of at least two ids", at_least=0),
        column("last_document", pa.int32(), "the last document of the block, as its position in the documents part", at_least=-1),
        column("ids_per_number", pa.int16(), "4 ids of 16 bits, 3 of 21 or 2 of 32", between=(2, 4)),
        column("numbers", pa.int16(), "numbers of a suffix", at_least=1),
        column("documents", pa.binary(), "of each suffix the document, as its position in the documents part: int32"),
        column("packed", pa.binary(), "int64 [numbers, suffixes]: a suffix' ids, each plus 1, the first highest; 0 after its end"),
    ),
    key=("block", "bucket"),
    rules=(
        rows("octet_length(documents) = 4 * suffixes", "each suffix has a document"),
        rows("octet_length(packed) = 8 * numbers * suffixes", "each suffix has as many numbers as stated"),
    ),
    balances=(
        balance(
            total("suffixes", "ngram_suffixes"),
            f"CASE WHEN {count('ngram_suffixes')} = 0 THEN 0 ELSE {_LENGTHS.replace('- n + 1', '- 1')} END",
            "no position is lost, if any order is counted",
        ),
    ),
    compression="none",
)

NGRAM_COUNTS = Contract(
    name="ngram_counts",
    description="How often each n-gram occurs in the corpus, and in how many documents; one part per bucket.",
    columns=(
        column("order", pa.int16(), "n", between=(1, 16)),
        column("ngram", pa.binary(), "4·n bytes: big-endian ids of ngram_vocabulary, so that byte order is id order"),
        column("occurrences", pa.int64(), "occurrences in the corpus", at_least=1),
        column("documents", pa.int64(), "documents that contain it", at_least=1),
    ),
    key=("order", "ngram"),
    rules=(
        rows("documents <= occurrences", "an n-gram occurs at least once in each document that contains it"),
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
            "for every n, Σ counts + occurrences dropped by min_count = Σ over documents of max(0, length - n + 1)",
        ),
    ),
    compression="none",
)

NGRAM_VOCABULARY = Contract(
    name="ngram_vocabulary",
    description="What the ids in ngram_counts mean: the sorted vocabulary of the corpus, or the tokenizer's.",
    columns=(
        column("id", pa.int32(), "id in ngram_counts", at_least=0),
        column("word", pa.string(), "the normalised word; for tokens, as tokenizer.json writes it"),
        column("occurrences", pa.int64(), "occurrences in the corpus", at_least=0),
        column("documents", pa.int64(), "documents that contain it", at_least=0),
    ),
    key=("id",),
    rules=(rows("documents <= occurrences", "it occurs at least once in each document that contains it"),),
)


def _index(name: str, unit: str, read: str) -> Contract:
    """An index over the ids of a table; both have the same shape."""
    return Contract(
        name=name,
        description=f"Suffix arrays over {unit}, for queries after the study; the arrays are files next to each part.",
        columns=(
            column("part", pa.string(), f"key of the {read} part"),
            column("shard", pa.int32(), "number of the shard in its part: a part beyond 32 million ids has several", at_least=0),
            column("first_document", pa.int64(), "position of the shard's first document in its part", at_least=0),
            column("documents", pa.int64(), "documents in the shard", at_least=0),
            column(unit, pa.int64(), f"{unit} in the shard", at_least=0),
            column("vocabulary", pa.int64(), f"distinct {unit} in the shard", at_least=0),
            column("bytes", pa.int64(), "size of the shard's files", at_least=1),
            column("files", pa.list_(pa.field("element", pa.string(), nullable=False)), "names of the files next to the part"),
        ),
        key=("part", "shard"),
        rules=(rows(f"vocabulary <= {unit}", f"each of the distinct {unit} occurs"),),
        balances=(
            balance(
                total(unit, name),
                f"(SELECT CASE WHEN {count(name)} = 0 THEN 0 ELSE coalesce(sum(len(ids)), 0) END FROM {read})",
                "every id is indexed, if the study has an index",
            ),
            balance(
                total("documents", name),
                f"(SELECT CASE WHEN {count(name)} = 0 THEN 0 ELSE count(*) END FROM {read})",
                "every document is indexed, if the study has an index",
            ),
        ),
    )


NGRAM_INDEX = _index("ngram_index", "words", "words")
TOKEN_INDEX = _index("token_index", "tokens", "tokens")

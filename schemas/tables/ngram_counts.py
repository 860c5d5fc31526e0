"""All n-grams of the corpus with their counts, and suffix arrays that answer queries for any other n-gram."""

from schemas.contract import Contract, balance, binary, count, int16, int32, int64, list_of, rows, string, table, total

_LENGTHS = """CASE WHEN (SELECT count(*) FROM sums WHERE name = 'of_tokens') > 0
  THEN (SELECT coalesce(sum(greatest(0, len(ids) - n + 1)), 0) FROM tokens)
  ELSE (SELECT coalesce(sum(greatest(0, len(ids) - n + 1)), 0) FROM words) END"""

NGRAM_SUFFIXES = table(
    "ngram_suffixes by block bucket",
    "Every position of one part of the corpus with the ids that follow it, in buckets by the first two ids.",
    int32("block", "run of documents that was distributed to the buckets together, from 0", at_least=0),
    int16("bucket", "all suffixes with the same first two words are in one bucket", at_least=0),
    int64("suffixes", "number of suffixes, each of at least two ids", at_least=0),
    int32("last_document", "the last document of the block, as its position in the documents part", at_least=-1),
    int16("ids_per_number", "4 ids of 16 bits, 3 of 21 or 2 of 32", between=(2, 4)),
    int16("numbers", "numbers of a suffix", at_least=1),
    binary("documents", "of each suffix the document, as its position in the documents part: int32"),
    binary("packed", "int64 [numbers, suffixes]: a suffix' ids, each plus 1, the first highest; 0 after its end"),
    rows("octet_length(documents) = 4 * suffixes", "each suffix has a document"),
    rows("octet_length(packed) = 8 * numbers * suffixes", "each suffix has as many numbers as stated"),
    balance(
        total("suffixes", "ngram_suffixes"),
        f"CASE WHEN {count('ngram_suffixes')} = 0 THEN 0 ELSE {_LENGTHS.replace('- n + 1', '- 1')} END",
        "no position is lost, if any order is counted",
    ),
    compression="none",
)

NGRAM_COUNTS = table(
    "ngram_counts by order ngram",
    "How often each n-gram occurs in the corpus, and in how many documents; one part per bucket.",
    int16("order", "n", between=(1, 16)),
    binary("ngram", "4·n bytes: big-endian ids of ngram_vocabulary, so that byte order is id order"),
    int64("occurrences", "occurrences in the corpus", at_least=1),
    int64("documents", "documents that contain it", at_least=1),
    rows("documents <= occurrences", "an n-gram occurs at least once in each document that contains it"),
    rows('octet_length(ngram) = 4 * "order"', "an n-gram has n ids"),
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
    compression="none",
)

NGRAM_VOCABULARY = table(
    "ngram_vocabulary by id",
    "What the ids in ngram_counts mean: the sorted vocabulary of the corpus, or the tokenizer's.",
    int32("id", "id in ngram_counts", at_least=0),
    string("word", "the normalised word; for tokens, as tokenizer.json writes it"),
    int64("occurrences", "occurrences in the corpus", at_least=0),
    int64("documents", "documents that contain it", at_least=0),
    rows("documents <= occurrences", "it occurs at least once in each document that contains it"),
)


def _index(name: str, unit: str, read: str) -> Contract:
    """An index over the ids of a table; both have the same shape."""
    return table(
        f"{name} by part shard",
        f"Suffix arrays over {unit}, for queries after the study; the arrays are files next to each part.",
        string("part", f"key of the {read} part"),
        int32("shard", "number of the shard in its part: a part beyond 32 million ids has several", at_least=0),
        int64("first_document", "position of the shard's first document in its part", at_least=0),
        int64("documents", "documents in the shard", at_least=0),
        int64(unit, f"{unit} in the shard", at_least=0),
        int64("vocabulary", f"distinct {unit} in the shard", at_least=0),
        int64("bytes", "size of the shard's files", at_least=1),
        list_of(string, "files", "names of the files next to the part"),
        rows(f"vocabulary <= {unit}", f"each of the distinct {unit} occurs"),
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
    )


NGRAM_INDEX = _index("ngram_index", "words", "words")
TOKEN_INDEX = _index("token_index", "tokens", "tokens")

"""The corpus as documents, the records that were rejected, and the known truth about a planted corpus."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, count, reported, rows

REJECT_COLUMNS = (
    column("source", pa.string(), "name of the source the record came from"),
    column("file", pa.string(), "file name"),
    column("row", pa.int64(), "line or record number in the file, from 1", at_least=0),
    column("reason", pa.string(), "why it was rejected, and how to fix it"),
    column("excerpt", pa.string(), "the first 200 characters of the record, invalid bytes replaced"),
)

DOCUMENTS = Contract(
    name="documents",
    description="One row per document of the corpus, in the order of its file.",
    columns=(
        column("document", pa.int64(), "position in the part, from 0", at_least=0),
        column("id", pa.string(), "identifier given by the source; unique in its file"),
        column("source", pa.string(), "name of the source in the study"),
        column("language", pa.string(), "language tag as the source gives it, or empty"),
        column("text", pa.string(), "the text, unchanged"),
        column("row", pa.int64(), "line or record number in the file, from 1", at_least=1),
    ),
    key=("document",),
    rules=(rows("length(id) > 0", "a document has an id"), rows("length(text) > 0", "a document has text")),
    balances=(
        balance(f"{count('documents')} + {count('document_rejects')}", reported("records"), "documents + rejects = records read"),
    ),
)

HELD_OUT_DOCUMENTS = Contract(
    name="held_out_documents",
    description="A seeded sample of documents that are kept out of the corpus: how novel ordinary text of its kind is "
    "(docs/method.md §10).",
    columns=(
        column("document", pa.int64(), "position in the sample, from 0", at_least=0),
        column("id", pa.string(), "identifier given by the source"),
        column("source", pa.string(), "name of the source in the study"),
        column("language", pa.string(), "language tag as the source gives it, or empty"),
        column("words", pa.int64(), "words of the whole text", at_least=0),
        column("text", pa.string(), "the first 4,000 characters of the text, cut between words"),
    ),
    key=("document",),
    rules=(rows("length(text) > 0", "a document has text"),),
)

DOCUMENT_REJECTS = Contract(
    name="document_rejects",
    description="One row per corpus record that did not become a document.",
    columns=REJECT_COLUMNS,
    key=("row",),
)

DOCUMENT_IDS = Contract(
    name="document_ids",
    description="The ids of a file that is split into chunks: one row per record that can become a document.",
    columns=(
        column("row", pa.int64(), "line or record number in the file, from 1", at_least=1),
        column("mark", pa.binary(), "the first 16 bytes of a BLAKE2b hash of the id"),
    ),
    key=("row",),
)

REPEATED_IDS = Contract(
    name="repeated_ids",
    description="One row per record of a split file whose id occurs in an earlier row; empty if all ids differ.",
    columns=(
        column("row", pa.int64(), "line or record number in the file, from 1", at_least=2),
        column("first_row", pa.int64(), "the first row with the same id", at_least=1),
    ),
    key=("row",),
    rules=(rows("first_row < row", "of records with the same id the first is kept"),),
)

TRUTH = Contract(
    name="truth",
    description="Every planted pair with its exact counts, as computed from the plan of the corpus, not from its text.",
    columns=(
        column("task", pa.string(), "planted task the pair belongs to"),
        column("pair", pa.string(), "identifier of the pair, unique in its task"),
        column("relation", pa.string(), "relation, language pair or rule"),
        column(
            "kind",
            pa.string(),
            "how the output follows from the input",
            one_of=("factorial", "exposure", "rule", "lexicon", "arithmetic"),
        ),
        column("input_ngram", pa.string(), "normalised words of the input n-gram, one space between"),
        column("output_ngram", pa.string(), "normalised words of the output n-gram, one space between"),
        column("pair_documents", pa.int64(), "documents that contain both: C(s_x, s_y)", at_least=0),
        column("input_documents", pa.int64(), "documents that contain the input n-gram: df(s_x)", at_least=0),
        column("output_documents", pa.int64(), "documents that contain the output n-gram: df(s_y)", at_least=0),
        column("input_occurrences", pa.int64(), "occurrences of the input n-gram in the corpus: C(s_x)", at_least=0),
        column("output_occurrences", pa.int64(), "occurrences of the output n-gram in the corpus: C(s_y)", at_least=0),
        column("exposures", pa.int64(), "statements of exactly this pair that a model is trained on", at_least=0),
        column(
            "optimal_log_probability",
            pa.float64(),
            "log of the generator's own probability of the output given the input, in nats; null where it is zero or not defined",
            nullable=True,
            at_most=1e-9,
        ),
        column("held_out", pa.bool_(), "true if the rule or sum was kept out of the corpus"),
    ),
    key=("task", "pair"),
    rules=(
        rows("pair_documents <= least(input_documents, output_documents)", "a document with the pair contains both n-grams"),
        rows("input_documents <= input_occurrences", "an input n-gram occurs at least once in each of its documents"),
        rows("output_documents <= output_occurrences", "an output n-gram occurs at least once in each of its documents"),
        rows("exposures >= 0 AND (NOT held_out OR exposures = 0)", "a held-out fact is never stated"),
    ),
)

PLANTED_SEQUENCES = Contract(
    name="planted_sequences",
    description="Canaries, duplicate groups, rule twins and phantoms: sequences whose memorization has a known answer.",
    columns=(
        column("sequence", pa.string(), "identifier"),
        column("kind", pa.string(), "which experiment it serves", one_of=("canary", "duplicate", "twin", "phantom")),
        column("group", pa.string(), "sequences that share a rule or a duplicate cluster; for a phantom, its kind"),
        column("text", pa.string(), "the sequence, as it is (or would be) in the corpus"),
        column("copies", pa.int64(), "documents that contain it", at_least=0),
        column(
            "entropy_bits", pa.float64(), "bits of randomness that it was drawn with; 0 where it follows from a rule", at_least=0
        ),
        column("member", pa.bool_(), "true if it is in the corpus that models are trained on"),
    ),
    key=("sequence",),
    rules=(rows("member = (copies > 0)", "a member is in the corpus, a phantom is not"),),
)

INSERTIONS = Contract(
    name="insertions",
    description="Texts that a planted corpus contains an exact number of times, each copy a document of its own, and as many that "
    "are drawn alike and never inserted (docs/method.md §17).",
    columns=(
        column("text_id", pa.string(), "identifier"),
        column("group", pa.string(), "canary: random letters; sentence: like distractors", one_of=("canary", "sentence")),
        column("text", pa.string(), "the text, as it is (or would be) in the corpus"),
        column("copies", pa.int64(), "documents that are this text", at_least=0),
        column(
            "bits",
            pa.list_(pa.field("element", pa.float64(), nullable=False)),
            "for each character −log2 of the generator's probability, given the characters before it",
        ),
        column("documents", pa.list_(pa.field("element", pa.string(), nullable=False)), "ids of the documents that are this text"),
    ),
    key=("text_id",),
    rules=(
        rows("len(documents) = copies", "each copy is a document"),
        rows("len(bits) = length(text) AND list_min(bits) >= 0", "each character has its bits"),
    ),
)

PLANTED_FILES = Contract(
    name="planted_files",
    description="The files of a planted or controlled corpus: corpus shards, task files, and a controlled one's tokenizer.json.",
    columns=(
        column("file", pa.string(), "path below the part's folder"),
        column("kind", pa.string(), "what it contains", one_of=("corpus", "task", "tokenizer")),
        column("sha256", pa.string(), "hash of its bytes"),
        column("bytes", pa.int64(), "size in bytes", at_least=1),
        column("records", pa.int64(), "lines in it", at_least=1),
    ),
    key=("file",),
)

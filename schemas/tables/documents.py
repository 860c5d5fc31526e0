"""The corpus as documents, the records that were rejected, and the known truth about a planted corpus."""

from schemas.contract import balance, binary, boolean, count, float64, int64, list_of, reported, rows, string, table

REJECT_COLUMNS = (
    string("source", "name of the source the record came from"),
    string("file", "file name"),
    int64("row", "line or record number in the file, from 1", at_least=0),
    string("reason", "why it was rejected, and how to fix it"),
    string("excerpt", "the first 200 characters of the record, invalid bytes replaced"),
)

DOCUMENTS = table(
    "documents by document",
    "One row per document of the corpus, in the order of its file.",
    int64("document", "position in the part, from 0", at_least=0),
    string("id", "identifier given by the source; unique in its file"),
    string("source", "name of the source in the study"),
    string("language", "language tag as the source gives it, or empty"),
    string("text", "the text, unchanged"),
    int64("row", "line or record number in the file, from 1", at_least=1),
    rows("length(id) > 0", "a document has an id"),
    rows("length(text) > 0", "a document has text"),
    balance(f"{count('documents')} + {count('document_rejects')}", reported("records"), "documents + rejects = records read"),
)

HELD_OUT_DOCUMENTS = table(
    "held_out_documents by document",
    "A seeded sample of documents that are kept out of the corpus: how novel ordinary text of its kind is (docs/method.md §10).",
    int64("document", "position in the sample, from 0", at_least=0),
    string("id", "identifier given by the source"),
    string("source", "name of the source in the study"),
    string("language", "language tag as the source gives it, or empty"),
    int64("words", "words of the whole text", at_least=0),
    string("text", "the first 4,000 characters of the text, cut between words"),
    rows("length(text) > 0", "a document has text"),
)

DOCUMENT_REJECTS = table("document_rejects by row", "One row per corpus record that did not become a document.", *REJECT_COLUMNS)

DOCUMENT_IDS = table(
    "document_ids by row",
    "The ids of a file that is split into chunks: one row per record that can become a document.",
    int64("row", "line or record number in the file, from 1", at_least=1),
    binary("mark", "the first 16 bytes of a BLAKE2b hash of the id"),
)

REPEATED_IDS = table(
    "repeated_ids by row",
    "One row per record of a split file whose id occurs in an earlier row; empty if all ids differ.",
    int64("row", "line or record number in the file, from 1", at_least=2),
    int64("first_row", "the first row with the same id", at_least=1),
    rows("first_row < row", "of records with the same id the first is kept"),
)

TRUTH = table(
    "truth by task pair",
    "Every planted pair with its exact counts, as computed from the plan of the corpus, not from its text.",
    string("task", "planted task the pair belongs to"),
    string("pair", "identifier of the pair, unique in its task"),
    string("relation", "relation, language pair or rule"),
    string("kind", "how the output follows from the input", one_of=("factorial", "exposure", "rule", "lexicon", "arithmetic")),
    string("input_ngram", "normalised words of the input n-gram, one space between"),
    string("output_ngram", "normalised words of the output n-gram, one space between"),
    int64("pair_documents", "documents that contain both: C(s_x, s_y)", at_least=0),
    int64("input_documents", "documents that contain the input n-gram: df(s_x)", at_least=0),
    int64("output_documents", "documents that contain the output n-gram: df(s_y)", at_least=0),
    int64("input_occurrences", "occurrences of the input n-gram in the corpus: C(s_x)", at_least=0),
    int64("output_occurrences", "occurrences of the output n-gram in the corpus: C(s_y)", at_least=0),
    int64("exposures", "statements of exactly this pair that a model is trained on", at_least=0),
    float64(
        "optimal_log_probability",
        "log of the generator's own probability of the output given the input, in nats; null where it is zero or not defined",
        nullable=True,
        at_most=1e-9,
    ),
    boolean("held_out", "true if the rule or sum was kept out of the corpus"),
    rows("pair_documents <= least(input_documents, output_documents)", "a document with the pair contains both n-grams"),
    rows("input_documents <= input_occurrences", "an input n-gram occurs at least once in each of its documents"),
    rows("output_documents <= output_occurrences", "an output n-gram occurs at least once in each of its documents"),
    rows("exposures >= 0 AND (NOT held_out OR exposures = 0)", "a held-out fact is never stated"),
)

PLANTED_SEQUENCES = table(
    "planted_sequences by sequence",
    "Canaries, duplicate groups, rule twins and phantoms: sequences whose memorization has a known answer.",
    string("sequence", "identifier"),
    string("kind", "which experiment it serves", one_of=("canary", "duplicate", "twin", "phantom")),
    string("group", "sequences that share a rule or a duplicate cluster; for a phantom, its kind"),
    string("text", "the sequence, as it is (or would be) in the corpus"),
    int64("copies", "documents that contain it", at_least=0),
    float64("entropy_bits", "bits of randomness that it was drawn with; 0 where it follows from a rule", at_least=0),
    boolean("member", "true if it is in the corpus that models are trained on"),
    rows("member = (copies > 0)", "a member is in the corpus, a phantom is not"),
)

INSERTIONS = table(
    "insertions by text_id",
    "Texts that a planted corpus contains an exact number of times, each copy a document of its own, and as many that "
    "are drawn alike and never inserted (docs/method.md §17).",
    string("text_id", "identifier"),
    string("group", "canary: random letters; sentence: like distractors", one_of=("canary", "sentence")),
    string("text", "the text, as it is (or would be) in the corpus"),
    int64("copies", "documents that are this text", at_least=0),
    list_of(float64, "bits", "for each character −log2 of the generator's probability, given the characters before it"),
    list_of(string, "documents", "ids of the documents that are this text"),
    rows("len(documents) = copies", "each copy is a document"),
    rows("len(bits) = length(text) AND list_min(bits) >= 0", "each character has its bits"),
)

PLANTED_FILES = table(
    "planted_files by file",
    "The files of a planted or controlled corpus: corpus shards, task files, and a controlled one's tokenizer.json.",
    string("file", "path below the part's folder"),
    string("kind", "what it contains", one_of=("corpus", "task", "tokenizer")),
    string("sha256", "hash of its bytes"),
    int64("bytes", "size in bytes", at_least=1),
    int64("records", "lines in it", at_least=1),
)

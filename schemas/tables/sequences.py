"""Windows of the corpus and of held-out text, how often they occur, and what each model makes of their tokens."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, rows
from schemas.tables.models import INT_LIST

SAMPLES = ("planted", "uniform", "duplicates", "phantoms", "planted_phantoms")
NULLS = {"planted": "planted_phantoms", "uniform": "phantoms", "duplicates": "phantoms"}  # what members are compared with
FLOAT_LIST = pa.list_(pa.field("element", pa.float32(), nullable=False))

_PLACE = (
    column("sample", pa.string(), "which sample drew it", one_of=SAMPLES),
    column("group", pa.string(), "language of its document as the source gives it, or empty; where planted, canary or sentence"),
    column("document", pa.string(), "id of its document; where planted, of the first copy; of a planted phantom, id of the text"),
    column("source", pa.string(), "name of the source in the study"),
    column("offset", pa.int64(), "tokens of the document before it", at_least=0),
    column("ids", INT_LIST, "its token ids, of the study's tokenizer"),
    column(
        "entropy",
        pa.float64(),
        "bits of its suffix, where planted: −log2 of the generator's probability, given the prefix",
        nullable=True,
        at_least=0,
    ),
)
_COUNTS = (
    column("occurrences", pa.int64(), "places of the corpus where it occurs", at_least=0),
    column("documents", pa.int64(), "documents of the corpus that contain it", at_least=0),
    column("suffix_occurrences", pa.int64(), "places of the corpus where its suffix occurs, whatever precedes it", at_least=0),
    column("suffix_documents", pa.int64(), "documents of the corpus that contain its suffix", at_least=0),
)
_COUNTED = (
    rows("documents <= occurrences AND suffix_documents <= suffix_occurrences", "a document contains it at least once"),
    rows("occurrences <= suffix_occurrences AND documents <= suffix_documents", "a suffix occurs wherever its window does"),
)

SEQUENCE_CANDIDATES = Contract(
    name="sequence_candidates",
    description="Windows drawn in one part of the corpus, or of the held-out documents: those with the smallest hashes.",
    columns=(
        *_PLACE,
        column("hash", pa.int64(), "seeded hash of its place", at_least=0),
        column("copies", pa.int64(), "where planted, how often it was inserted", nullable=True, at_least=0),
    ),
    key=("sample", "hash", "source", "document", "offset"),
)

SEQUENCE_COUNTS = Contract(
    name="sequence_counts",
    description="How often the candidates occur in one part of the corpus; those that do not are left out.",
    columns=(column("candidate", pa.int64(), "number of the candidate, all parts together", at_least=0), *_COUNTS),
    key=("candidate",),
    rules=_COUNTED,
)

SEQUENCES = Contract(
    name="sequences",
    description="One row per window of prefix + suffix tokens: members occur in the corpus, phantoms do not "
    "(docs/memorization.md).",
    columns=(
        column("sequence", pa.string(), "name of the window: its sample and hash"),
        *_PLACE,
        column("split", pa.string(), "member: of the corpus; phantom: of held-out text", one_of=("member", "phantom")),
        column("prefix", pa.int32(), "how many of its tokens are the prefix; the others are the suffix", at_least=1),
        *_COUNTS,
        column("cluster", pa.int64(), "windows of equal tokens have the same number, counted from 0", at_least=0),
        column("near_cluster", pa.int64(), "near copies have the same number, counted from 0 (docs/memorization.md)", at_least=0),
    ),
    key=("sequence",),
    rules=(
        *_COUNTED,
        rows("prefix < len(ids)", "a window has a suffix"),
        rows("(split = 'member') = (occurrences > 0)", "members occur in the corpus, phantoms do not"),
        rows("(split = 'phantom') = (sample IN ('phantoms', 'planted_phantoms'))", "phantoms are samples of their own"),
        rows("(entropy IS NOT NULL) = (sample IN ('planted', 'planted_phantoms'))", "only of planted text are the bits known"),
    ),
)

SEQUENCE_MEASURES = Contract(
    name="sequence_measures",
    description="One row per model, checkpoint and window, a number for each definition of memorization (docs/memorization.md). "
    "Joined with `sequences` by sequence, and with `sequence_scores` by model, checkpoint and sequence.",
    columns=(
        column("model", pa.string(), "name of the model in the study"),
        column("checkpoint", pa.int64(), "training step, or 0 for a model without checkpoints", at_least=0),
        column("sequence", pa.string(), "name of the window"),
        column("extracted", pa.bool_(), "whether greedy decoding from the prefix gives the suffix exactly"),
        column(
            "extracted_from", pa.list_(pa.field("element", pa.bool_(), nullable=False)), "the same from the first 1, 2 … tokens"
        ),
        column("longest_run", pa.int32(), "most hits in a row, from any token", at_least=0),
        column("strength", pa.float64(), "share of the window that follows the shortest prefix that gives it", between=(0, 1)),
        column("accuracy", pa.float64(), "share of the window's tokens that are hits", between=(0, 1)),
        column("suffix_log_p", pa.float64(), "log p of the suffix after its prefix, in nats"),
        column("unrelated_log_p", pa.float64(), "log of its mean probability after unrelated prefixes, if any", nullable=True),
        column(
            "sampled_log_p",
            pa.list_(pa.field("element", pa.float64(), nullable=False)),
            "log p of the suffix under each scheme of memorization.sampling; −∞ where the scheme never draws it",
        ),
        column("loss", pa.float64(), "mean log p of the window's tokens"),
        column("zlib", pa.float64(), "sum of log p divided by the bytes of the compressed text"),
        column("min_k", pa.float64(), "mean of the lowest 20 % of log p"),
        column("min_k_plus_plus", pa.float64(), "the same of log p standardised over the vocabulary"),
        column(
            "exposure", pa.float64(), "bits, of a planted window among those never inserted, else null", nullable=True, at_least=0
        ),
        column("exposure_extrapolated", pa.float64(), "the same by their skew-normal distribution", nullable=True, at_least=0),
        column("kind", pa.string(), "what its extraction would be", one_of=("recite", "reconstruct", "recollect")),
    ),
    key=("model", "checkpoint", "sequence"),
    rules=(
        rows("list_last(extracted_from) = extracted", "the whole prefix is the last one"),
        rows("extracted <= (longest_run >= 1) AND (accuracy = 0) = (longest_run = 0)", "a run has hits"),
        rows("suffix_log_p <= 1e-3 AND (unrelated_log_p IS NULL OR unrelated_log_p <= 1e-3)", "probabilities are at most 1"),
    ),
    balances=(
        balance(
            "(SELECT count(*) FROM sequence_measures)", "(SELECT count(*) FROM sequence_scores)", "a row for each scored window"
        ),
        balance(
            "(SELECT count(*) FROM sequence_measures WHERE extracted)",
            "(SELECT count(*) FROM sequence_scores JOIN sequences USING (sequence) WHERE list_bool_and(hits[prefix + 1 :]))",
            "extracted are the windows whose suffix is all hits",
        ),
    ),
)

SEQUENCE_SCORES = Contract(
    name="sequence_scores",
    description="What a model makes of each token of a window, given the end-of-document token and the tokens before it. A list "
    "has a value per token.",
    columns=(
        column("model", pa.string(), "name of the model in the study"),
        column("checkpoint", pa.int64(), "training step, or 0 for a model without checkpoints", at_least=0),
        column("sequence", pa.string(), "name of the window"),
        column("log_probabilities", FLOAT_LIST, "log p of the token, in nats"),
        column("hits", pa.list_(pa.field("element", pa.bool_(), nullable=False)), "whether it is the likeliest token"),
        column("likeliest", INT_LIST, "id of the likeliest token: the model's, where the window has another"),
        column("ranks", INT_LIST, "1: the likeliest token; of equal logits the smaller id comes first"),
        column("margins", FLOAT_LIST, "its logit minus the largest logit of any other token"),
        column("means", FLOAT_LIST, "Σ p log p over the vocabulary: the mean log-probability, in nats"),
        column("variances", FLOAT_LIST, "Σ p (log p)² − (Σ p log p)²: the variance of the log-probability"),
        column(
            "sampled",
            pa.list_(pa.field("element", FLOAT_LIST, nullable=False)),
            "log p of the token under each scheme of memorization.sampling, a list for each; −∞ where the scheme never draws it",
        ),
        column("unrelated", FLOAT_LIST, "log p of the suffix after each unrelated prefix; empty where none is asked for or left"),
    ),
    key=("model", "checkpoint", "sequence"),
    rules=(
        rows(
            "len(ranks) = len(log_probabilities) AND len(hits) = len(ranks) AND len(likeliest) = len(ranks) "
            "AND len(margins) = len(ranks) AND len(means) = len(ranks) AND len(variances) = len(ranks)",
            "a value for each token of the window",
        ),
        rows("list_max(log_probabilities) <= 1e-4 AND list_min(variances) >= 0", "neither log p nor a variance has the wrong sign"),
        rows(
            "isfinite(list_min(log_probabilities)) AND isfinite(list_min(margins)) AND isfinite(list_max(variances))",
            "what the model gives is finite",
        ),
        rows("len(unrelated) = 0 OR isfinite(list_min(unrelated))", "a suffix has a probability after any prefix"),
        rows("list_transform(ranks, lambda r: r = 1) = hits", "a hit is the token of rank 1"),
    ),
)

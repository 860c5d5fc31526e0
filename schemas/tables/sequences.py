"""Windows of the corpus and of held-out text, how often they occur, and what each model makes of their tokens."""

from functools import partial

from schemas.contract import balance, boolean, float32, float64, int32, int64, list_of, rows, string, table
from schemas.tables.models import OF_MODEL

SAMPLES = ("planted", "uniform", "duplicates", "phantoms", "planted_phantoms")
NULLS = {"planted": "planted_phantoms", "uniform": "phantoms", "duplicates": "phantoms"}  # what members are compared with

_PLACE = (
    string("sample", "which sample drew it", one_of=SAMPLES),
    string("group", "language of its document as the source gives it, or empty; where planted, canary or sentence"),
    string("document", "id of its document; where planted, of the first copy; of a planted phantom, id of the text"),
    string("source", "name of the source in the study"),
    int64("offset", "tokens of the document before it", at_least=0),
    list_of(int32, "ids", "its token ids, of the study's tokenizer"),
    float64(
        "entropy",
        "bits of its suffix, where planted: −log2 of the generator's probability, given the prefix",
        nullable=True,
        at_least=0,
    ),
)
_COUNTS = (
    int64("occurrences", "places of the corpus where it occurs", at_least=0),
    int64("documents", "documents of the corpus that contain it", at_least=0),
    int64("suffix_occurrences", "places of the corpus where its suffix occurs, whatever precedes it", at_least=0),
    int64("suffix_documents", "documents of the corpus that contain its suffix", at_least=0),
)
_COUNTED = (
    rows("documents <= occurrences AND suffix_documents <= suffix_occurrences", "a document contains it at least once"),
    rows("occurrences <= suffix_occurrences AND documents <= suffix_documents", "a suffix occurs wherever its window does"),
)

SEQUENCE_CANDIDATES = table(
    "sequence_candidates by sample hash source document offset",
    "Windows drawn in one part of the corpus, or of the held-out documents: those with the smallest hashes.",
    *_PLACE,
    int64("hash", "seeded hash of its place", at_least=0),
    int64("copies", "where planted, how often it was inserted", nullable=True, at_least=0),
)

SEQUENCE_COUNTS = table(
    "sequence_counts by candidate",
    "How often the candidates occur in one part of the corpus; those that do not are left out.",
    int64("candidate", "number of the candidate, all parts together", at_least=0),
    *_COUNTS,
    *_COUNTED,
)

SEQUENCES = table(
    "sequences by sequence",
    "One row per window of prefix + suffix tokens: members occur in the corpus, phantoms do not (docs/memorization.md).",
    string("sequence", "name of the window: its sample and hash"),
    *_PLACE,
    string("split", "member: of the corpus; phantom: of held-out text", one_of=("member", "phantom")),
    int32("prefix", "how many of its tokens are the prefix; the others are the suffix", at_least=1),
    *_COUNTS,
    int64("cluster", "windows of equal tokens have the same number, counted from 0", at_least=0),
    int64("near_cluster", "near copies have the same number, counted from 0 (docs/memorization.md)", at_least=0),
    *_COUNTED,
    rows("prefix < len(ids)", "a window has a suffix"),
    rows("(split = 'member') = (occurrences > 0)", "members occur in the corpus, phantoms do not"),
    rows("(split = 'phantom') = (sample IN ('phantoms', 'planted_phantoms'))", "phantoms are samples of their own"),
    rows("(entropy IS NOT NULL) = (sample IN ('planted', 'planted_phantoms'))", "only of planted text are the bits known"),
)

SEQUENCE_MEASURES = table(
    "sequence_measures by model checkpoint sequence",
    "One row per model, checkpoint and window, a number for each definition of memorization (docs/memorization.md). "
    "Joined with `sequences` by sequence, and with `sequence_scores` by model, checkpoint and sequence.",
    *OF_MODEL,
    string("sequence", "name of the window"),
    boolean("extracted", "whether greedy decoding from the prefix gives the suffix exactly"),
    list_of(boolean, "extracted_from", "the same from the first 1, 2 … tokens"),
    int32("longest_run", "most hits in a row, from any token", at_least=0),
    float64("strength", "share of the window that follows the shortest prefix that gives it", between=(0, 1)),
    float64("accuracy", "share of the window's tokens that are hits", between=(0, 1)),
    float64("suffix_log_p", "log p of the suffix after its prefix, in nats"),
    float64("unrelated_log_p", "log of its mean probability after unrelated prefixes, if any", nullable=True),
    list_of(
        float64,
        "sampled_log_p",
        "log p of the suffix under each scheme of memorization.sampling; −∞ where the scheme never draws it",
    ),
    float64("loss", "mean log p of the window's tokens"),
    float64("zlib", "sum of log p divided by the bytes of the compressed text"),
    float64("min_k", "mean of the lowest 20 % of log p"),
    float64("min_k_plus_plus", "the same of log p standardised over the vocabulary"),
    float64("exposure", "bits, of a planted window among those never inserted, else null", nullable=True, at_least=0),
    float64("exposure_extrapolated", "the same by their skew-normal distribution", nullable=True, at_least=0),
    string("kind", "what its extraction would be", one_of=("recite", "reconstruct", "recollect")),
    rows("list_last(extracted_from) = extracted", "the whole prefix is the last one"),
    rows("extracted <= (longest_run >= 1) AND (accuracy = 0) = (longest_run = 0)", "a run has hits"),
    rows("suffix_log_p <= 1e-3 AND (unrelated_log_p IS NULL OR unrelated_log_p <= 1e-3)", "probabilities are at most 1"),
    balance("(SELECT count(*) FROM sequence_measures)", "(SELECT count(*) FROM sequence_scores)", "a row for each scored window"),
    balance(
        "(SELECT count(*) FROM sequence_measures WHERE extracted)",
        "(SELECT count(*) FROM sequence_scores JOIN sequences USING (sequence) WHERE list_bool_and(hits[prefix + 1 :]))",
        "extracted are the windows whose suffix is all hits",
    ),
)

SEQUENCE_SCORES = table(
    "sequence_scores by model checkpoint sequence",
    "How a model scores each token of a window, given the end-of-document token and the tokens before it. A list "
    "has a value per token.",
    *OF_MODEL,
    string("sequence", "name of the window"),
    list_of(float32, "log_probabilities", "log p of the token, in nats"),
    list_of(boolean, "hits", "whether it is the likeliest token"),
    list_of(int32, "likeliest", "id of the likeliest token: the model's, where the window has another"),
    list_of(int32, "ranks", "1: the likeliest token; of equal logits the smaller id comes first"),
    list_of(float32, "margins", "its logit minus the largest logit of any other token"),
    list_of(float32, "means", "Σ p log p over the vocabulary: the mean log-probability, in nats"),
    list_of(float32, "variances", "Σ p (log p)² − (Σ p log p)²: the variance of the log-probability"),
    list_of(
        partial(list_of, float32),
        "sampled",
        "log p of the token under each scheme of memorization.sampling, a list for each; −∞ where the scheme never draws it",
    ),
    list_of(float32, "unrelated", "log p of the suffix after each unrelated prefix; empty where none is asked for or left"),
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
)

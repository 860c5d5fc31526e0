"""The evidence that every measure reads: n-grams, pairs with their counts, and the probabilities and answers of each model.

Made once and before the measures (docs/method.md §4-9). Nothing here depends on γ, as long as γ is not below the lowest one that
the study names: a measure selects rows by their similarity.
"""

import pyarrow as pa

from schemas.contract import Column, Rule, balance, column, float64, int16, int32, int64, list_of, rows, string, table

GRADES = {
    "qa": ("exact_match", "f1"),
    "math": ("exact_match", "exact_match_strict", "exact_match_flexible"),
    "translation": ("sentence_chrf",),
    "multiple_choice": ("accuracy", "accuracy_per_token", "accuracy_per_character", "accuracy_per_byte", "accuracy_unconditional"),
}
"""How one answer is graded, by family of the task; the first is the main one."""

_EXAMPLE = (string("task", "name of the task"), string("example", "evaluated example"))
_MODEL = (string("model", "name of the model"), int64("checkpoint", "training step", at_least=0))
_ORDER = int16("order", "n", between=(1, 16))


def _floats(*, nullable: bool = False) -> pa.DataType:
    return pa.list_(pa.field("element", pa.float64(), nullable=nullable))


def _counts(prefix: str, corpus: str) -> tuple[Column, ...]:
    """C and both df of a pair in one corpus."""
    null = f"{corpus}; null if it was not counted"
    return (
        int64(f"{prefix}pair_documents", f"C(s_x, s_y) in {null}", nullable=True, at_least=0),
        int64(f"{prefix}input_documents", f"df(s_x) in {null}", nullable=True, at_least=0),
        int64(f"{prefix}output_documents", f"df(s_y) in {null}", nullable=True, at_least=0),
    )


def _at_most_both(prefix: str, corpus: str) -> Rule:
    """least() ignores nulls, as it should: what was not counted is no bound."""
    sql = f"{prefix}pair_documents IS NULL OR {prefix}pair_documents <= least({prefix}input_documents, {prefix}output_documents)"
    return rows(sql, f"C(s_x, s_y) ≤ min(df(s_x), df(s_y)) in {corpus}")


EVIDENCE_SPANS = table(
    "evidence_spans by task example side order ngram",
    "The n-grams of each evaluated example, where they occur in it, and how often in the corpus.",
    *_EXAMPLE,
    string("side", "which text it is from", one_of=("input", "output")),
    _ORDER,
    string("ngram", "normalised words, one space between"),
    list_of(int32, "starts", "code point offsets in the text where it begins"),
    list_of(int32, "ends", "code point offsets in the text just after it"),
    int64("occurrences", "C(s); null if it was never counted", nullable=True, at_least=0),
    int64("documents", "df(s); null if it was never counted", nullable=True, at_least=0),
    float64(
        "log_infinity",
        "log P_∞ of the first occurrence in the output, by full back-off, in nats; -inf if one of its tokens occurs nowhere "
        "in the corpus; null for inputs, and where no token was looked up",
        nullable=True,
    ),
    float64(
        "log_infinity_paper",
        "log P_∞ with zero-probability tokens skipped, as the paper has it; -inf if all of them are; else as log_infinity",
        nullable=True,
    ),
    rows("len(starts) = len(ends) AND len(starts) >= 1", "an n-gram has at least one place"),
    rows("documents IS NULL OR documents <= occurrences", "it occurs at least once in each document that holds it"),
    rows("side = 'output' OR (log_infinity IS NULL AND log_infinity_paper IS NULL)", "an input n-gram has no P_∞"),
    rows("(log_infinity IS NULL) = (log_infinity_paper IS NULL)", "both ways to take P_∞ need the same tokens"),
    rows("log_infinity IS NULL OR greatest(log_infinity, log_infinity_paper) <= 1e-9", "a log-probability is not positive"),
)

EVIDENCE_PAIRS = table(
    "evidence_pairs by task example order input_ngram output_ngram",
    "Φ at the lowest γ of the study: the task-grams in each evaluated example, with all their counts (arXiv 2407.14985 §2).",
    *_EXAMPLE,
    _ORDER,
    string("input_ngram", "s_x"),
    string("output_ngram", "s_y"),
    float64("similarity", "cosine of the two embeddings", between=(-1.001, 1.001)),
    *_counts("", "the corpus"),
    int64("input_occurrences", "C(s_x); null if it was not counted", nullable=True, at_least=0),
    *_counts("placebo_", "the placebo corpus"),
    *_counts("clean_", "the corpus without the task's contaminated documents"),
    list_of(int64, "window_documents", "C within each of the widths of [counting] windows, ascending"),
    int64("planted_pair_documents", "C by the plan of a planted world", nullable=True, at_least=0),
    int64("planted_input_documents", "df(s_x) by the plan of a planted world", nullable=True, at_least=0),
    float64(
        "optimal_log_probability",
        "the generator's own log P(s_y | s_x), in nats; null where the pair is not planted, or never stated",
        nullable=True,
        at_most=1e-9,
    ),
    _at_most_both("", "the corpus"),
    _at_most_both("placebo_", "the placebo corpus"),
    _at_most_both("clean_", "the clean documents"),
    rows("input_documents IS NULL OR input_documents <= input_occurrences", "s_x occurs in each document that holds it"),
    rows("clean_pair_documents IS NULL OR clean_pair_documents <= pair_documents", "leaving documents out adds none"),
    balance(
        "(SELECT count(*) FROM evidence_pairs p WHERE NOT EXISTS (SELECT 1 FROM evidence_spans s WHERE s.task = p.task AND "
        's.example = p.example AND s."order" = p."order" AND s.side = \'input\' AND s.ngram = p.input_ngram) OR NOT '
        "EXISTS (SELECT 1 FROM evidence_spans s WHERE s.task = p.task AND s.example = p.example AND "
        's."order" = p."order" AND s.side = \'output\' AND s.ngram = p.output_ngram))',
        "0",
        "both n-grams of a pair occur in the example",
    ),
)

EVIDENCE_SCORES = table(
    "evidence_scores by task example order ngram model checkpoint",
    "How likely a model finds the output n-grams of each example after its own input (Eq. 2) and after others. What "
    "was not scored has no row.",
    *_EXAMPLE,
    _ORDER,
    string("ngram", "s_y"),
    *_MODEL,
    float64(
        "log_probability",
        "log P_LLM(s_y | prompt, x, y before it), summed over its tokens, in nats; null without "
        "such tokens, or if one has no probability",
        nullable=True,
    ),
    int64("tokens", "the model's tokens that overlap it; 0 if it was not scored", at_least=0),
    list_of(string, "other_examples", "the evaluated examples whose inputs were given instead"),
    column("other_log_probabilities", _floats(), "log P_LLM(s_y) after each of these inputs, in nats"),
    column(
        "other_similarities",
        _floats(nullable=True),
        "largest similarity of a mined pair of an n-gram of that input with s_y; null without one. Δ uses inputs without "
        "a partner, for which it does not exceed γ",
    ),
    rows("log_probability IS NULL OR log_probability <= 1e-3", "a log-probability is not positive"),
    rows("log_probability IS NULL OR tokens > 0", "a probability needs tokens"),
    rows(
        "len(other_examples) = len(other_log_probabilities) AND len(other_examples) = len(other_similarities)",
        "each other input has its log-probability and its similarity",
    ),
    rows("NOT list_contains(other_examples, example)", "other inputs are those of other examples"),
)

EVIDENCE_ANSWERS = table(
    "evidence_answers by task example model checkpoint",
    "What each model answers to each evaluated example, and how that is graded.",
    *_EXAMPLE,
    *_MODEL,
    string("text", "what it generated; for multiple choice, the likeliest option; null if there is none", nullable=True),
    string("statistic", "the main grade: exact_match, accuracy, or sentence_chrf"),
    float64("value", "1 right, 0 wrong; for chrF 0 to 100; null with a reason", nullable=True, between=(0, 100)),
    column("grades", _floats(nullable=True), "all grades of the task's family in the order of GRADES; the first is `value`"),
    float64(
        "reference_log_probability",
        "log P_LLM of the reference output after the prompt, in nats; null if it was not scored",
        nullable=True,
    ),
    int64("reference_tokens", "the model's tokens of the reference output", at_least=0),
    string("note", "why there is no value, or what a reader must know; else empty"),
    rows("value IS NOT NULL OR length(note) > 0", "a missing value has a reason"),
    rows("len(grades) >= 1 AND grades[1] IS NOT DISTINCT FROM value", "the main grade is the first"),
    rows("reference_log_probability IS NOT NULL OR reference_tokens = 0", "what was not scored has no tokens"),
)

"""What lies behind the measures, example by example: its n-grams, its pairs, and what each model says of them."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, rows

_EXAMPLE = (column("task", pa.string(), "name of the task"), column("example", pa.string(), "evaluated example"))
_MODEL = (
    column("model", pa.string(), "name of the model"),
    column("checkpoint", pa.int64(), "training step; the last one of the model", at_least=0),
)
_PLACES = pa.list_(pa.field("element", pa.int32(), nullable=False))

TRACE_SPANS = Contract(
    name="trace_spans",
    description="The n-grams of each evaluated example, where they stand in it, and how often in the corpus.",
    columns=(
        *_EXAMPLE,
        column("side", pa.string(), "which text it is from", one_of=("input", "output")),
        column("order", pa.int16(), "n", between=(1, 16)),
        column("ngram", pa.string(), "normalised words, one space between"),
        column("starts", _PLACES, "code point offsets in the text where it begins"),
        column("ends", _PLACES, "code point offsets in the text just behind it"),
        column("occurrences", pa.int64(), "C(s); null if it was never counted", nullable=True, at_least=0),
        column("documents", pa.int64(), "df(s); null if it was never counted", nullable=True, at_least=0),
        column(
            "log_infinity",
            pa.float64(),
            "log P_∞ of the first occurrence in the output, by full back-off, in nats; null for inputs, or with a reason",
            nullable=True,
        ),
        column("note", pa.string(), "why an output n-gram has no P_∞; else empty"),
    ),
    key=("task", "example", "side", "order", "ngram"),
    rules=(
        rows("len(starts) = len(ends) AND len(starts) >= 1", "an n-gram stands somewhere"),
        rows("documents IS NULL OR documents <= occurrences", "it stands at least once in each document that holds it"),
        rows(
            "(side = 'output' AND log_infinity IS NULL) = (length(note) > 0)",
            "an output n-gram has P_∞, or a reason; an input none",
        ),
        rows("log_infinity IS NULL OR log_infinity <= 1e-9", "a log-probability is not positive"),
    ),
)

TRACE_PAIRS = Contract(
    name="trace_pairs",
    description="Φ: the task-grams above γ that stand in each evaluated example, with their counts (arXiv 2407.14985 §2).",
    columns=(
        *_EXAMPLE,
        column("order", pa.int16(), "n", between=(1, 16)),
        column("input_ngram", pa.string(), "s_x"),
        column("output_ngram", pa.string(), "s_y"),
        column("similarity", pa.float64(), "cosine of the two embeddings", between=(-1.001, 1.001)),
        column("documents", pa.int64(), "C(s_x, s_y); null if it was never counted", nullable=True, at_least=0),
        column(
            "log_probability",
            pa.float64(),
            "log P_n(s_y | s_x) = log [C(s_x, s_y) / df(s_x)], in nats; null where C is 0 or unknown",
            nullable=True,
            at_most=1e-9,
        ),
    ),
    key=("task", "example", "order", "input_ngram", "output_ngram"),
    rules=(rows("log_probability IS NULL OR documents > 0", "P_n is of a pair that some document holds"),),
    balances=(
        balance(
            "(SELECT count(*) FROM trace_pairs p WHERE NOT EXISTS (SELECT 1 FROM trace_spans s WHERE s.task = p.task AND "
            's.example = p.example AND s."order" = p."order" AND s.side = \'input\' AND s.ngram = p.input_ngram) OR NOT '
            "EXISTS (SELECT 1 FROM trace_spans s WHERE s.task = p.task AND s.example = p.example AND "
            's."order" = p."order" AND s.side = \'output\' AND s.ngram = p.output_ngram))',
            "0",
            "both n-grams of a pair stand in the example",
        ),
    ),
)

TRACE_ANSWERS = Contract(
    name="trace_answers",
    description="What each model answers to each evaluated example, and how that is judged.",
    columns=(
        *_EXAMPLE,
        *_MODEL,
        column(
            "text",
            pa.string(),
            "what it generated; for multiple choice, the likeliest option; null if there is none",
            nullable=True,
        ),
        column("statistic", pa.string(), "how it is judged: exact_match, accuracy, sentence_chrf …"),
        column(
            "value", pa.float64(), "1 right, 0 wrong; for chrF 0 to 100; null with a reason", nullable=True, between=(0, 100)
        ),
        column("note", pa.string(), "why there is no value, or what a reader must know; else empty"),
    ),
    key=("task", "example", "model", "checkpoint"),
    rules=(rows("value IS NOT NULL OR length(note) > 0", "a missing value has a reason"),),
)

TRACE_PROBABILITIES = Contract(
    name="trace_probabilities",
    description="How likely each model finds the output n-grams of each example (Eq. 2). What was not scored has no row.",
    columns=(
        *_EXAMPLE,
        column("order", pa.int16(), "n", between=(1, 16)),
        column("ngram", pa.string(), "s_y"),
        *_MODEL,
        column("log_probability", pa.float64(), "log P_LLM(s_y | prompt, x, y before it), summed over its tokens, in nats"),
        column(
            "delta",
            pa.float64(),
            "Δ: log_probability less its mean behind other inputs, in nats; null without such inputs",
            nullable=True,
        ),
        column("other_inputs", pa.int64(), "other inputs, none with a partner of s_y, that Δ rests on", at_least=0),
    ),
    key=("task", "example", "order", "ngram", "model", "checkpoint"),
    rules=(
        rows("isfinite(log_probability) AND log_probability <= 1e-3", "a log-probability is finite and not positive"),
        rows("(delta IS NULL) = (other_inputs = 0)", "Δ needs other inputs"),
    ),
)

TRACE_FILES = Contract(
    name="trace_files",
    description="The files of the trace page: the page itself, and the examples of each task in chunks.",
    columns=(
        column("file", pa.string(), "path below the report's folder"),
        column("sha256", pa.string(), "hash of its bytes"),
        column("bytes", pa.int64(), "size", at_least=1),
    ),
    key=("file",),
)

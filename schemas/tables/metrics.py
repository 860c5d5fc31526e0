"""The answers: every measure as rows, what was left out of it, and the files of the report."""

import pyarrow as pa

from schemas.contract import Contract, column, rows

METRICS = Contract(
    name="metrics",
    description="One row per number: a measure of a task, for a model (or for the corpus alone).",
    columns=(
        column("measure", pa.string(), "name of the measure, e.g. mem_n, mem_infinity, score, novelty, performance"),
        column("task", pa.string(), "name of the task"),
        column("model", pa.string(), "name of the model; empty for a property of the corpus or the task"),
        column("checkpoint", pa.int64(), "training step; -1 where there is no model", at_least=-1),
        column("order", pa.int16(), "n; 0 where n plays no part", between=(0, 64)),
        column("unit", pa.string(), "what a row of the statistic is: pair, example_output, example; or empty"),
        column("statistic", pa.string(), "spearman, pearson, kendall, accuracy, bleu, rate …"),
        column("detail", pa.string(), "selection, bin or setting that tells rows of one measure apart; or empty"),
        column(
            "x", pa.float64(), "abscissa for a figure, e.g. mean count of the bin or number of parameters", nullable=True
        ),
        column("estimate", pa.float64(), "the number; null if it is not defined, with the reason in `note`", nullable=True),
        column("low", pa.float64(), "lower end of the 95 % interval", nullable=True),
        column("high", pa.float64(), "upper end of the 95 % interval", nullable=True),
        column(
            "standard_error",
            pa.float64(),
            "of a score: s/√n over examples for shares and means, linearised for ratios, bootstrap for BLEU and chrF; null "
            "for other measures and for fewer than two examples",
            nullable=True,
            at_least=0,
        ),
        column("p_value", pa.float64(), "two-sided p of no association", nullable=True, between=(0, 1)),
        column("rows", pa.int64(), "rows the number rests on", at_least=0),
        column("examples", pa.int64(), "examples the number rests on", at_least=0),
        column("truth", pa.float64(), "the right answer, where the world is planted", nullable=True),
        column("note", pa.string(), "why there is no number, or what a reader must know; else empty"),
    ),
    key=("measure", "task", "model", "checkpoint", "order", "unit", "statistic", "detail"),
    rules=(
        rows("estimate IS NOT NULL OR length(note) > 0", "a missing number has a reason"),
        rows("low IS NULL OR high IS NULL OR low <= high", "an interval has its ends in order"),
        rows("estimate IS NOT NULL OR standard_error IS NULL", "what is not there has no error"),
        rows(
            "statistic NOT IN ('spearman', 'pearson', 'kendall') OR estimate IS NULL OR abs(estimate) <= 1 + 1e-9",
            "a correlation lies in [-1, 1]",
        ),
    ),
)

METRIC_FAMILY = Contract(
    name="metric_family",
    description="Benjamini-Hochberg over the study's primary family: Mem_n and Mem_Δ at each task's first order, γ and pair "
    "unit, over task × model (docs/method.md §6b).",
    columns=(
        column("measure", pa.string(), "mem_n or mem_delta"),
        column("task", pa.string(), "name of the task"),
        column("model", pa.string(), "name of the model"),
        column("checkpoint", pa.int64(), "training step", at_least=0),
        column("order", pa.int16(), "n", between=(1, 16)),
        column("p_value", pa.float64(), "two-sided p of the measure", between=(0, 1)),
        column("q_value", pa.float64(), "p after Benjamini-Hochberg", between=(0, 1)),
    ),
    key=("measure", "task", "model", "checkpoint", "order"),
    rules=(rows("q_value >= p_value - 1e-12", "a correction only raises p"),),
)

EXCLUSIONS = Contract(
    name="exclusions",
    description="What did not enter a measure, by reason.",
    columns=(
        column("measure", pa.string(), "name of the measure"),
        column("task", pa.string(), "name of the task"),
        column("model", pa.string(), "name of the model; empty where no model plays a part"),
        column("checkpoint", pa.int64(), "training step; -1 where there is no model", at_least=-1),
        column("order", pa.int16(), "n; 0 where n plays no part", between=(0, 64)),
        column("reason", pa.string(), "why the rows were left out, or `kept`"),
        column("rows", pa.int64(), "how many", at_least=0),
        column("of", pa.string(), "what is counted: pairs, examples, rows, n-grams"),
    ),
    key=("measure", "task", "model", "checkpoint", "order", "reason"),
)

CALIBRATION = Contract(
    name="calibration",
    description="One row per world whose truth is known: what the inference says of it, and what common mistakes would say "
    "(docs/method.md §16).",
    columns=(
        column(
            "design",
            pa.string(),
            "planted: memorization is there and its size is known; the others are null worlds",
            one_of=("planted", "shared_input", "shared_output", "tied_block"),
        ),
        column("world", pa.int32(), "number of the world, from 0; decides its random numbers", at_least=0),
        column("rows", pa.int32(), "rows the world samples", at_least=3),
        column("examples", pa.int32(), "examples the world samples", at_least=1),
        column("effective_outputs", pa.float64(), "n² / Σ n_c² over output n-grams", at_least=1),
        column("truth", pa.float64(), "Spearman's ρ of the universe; 0 in null worlds", between=(-1, 1)),
        column("estimate", pa.float64(), "Spearman's ρ of the sample", between=(-1, 1)),
        column(
            "low",
            pa.float64(),
            "percentile bootstrap over examples, lower end; null in null worlds",
            nullable=True,
            between=(-1, 1),
        ),
        column("high", pa.float64(), "and upper end", nullable=True, between=(-1, 1)),
        column(
            "pigeonhole_low",
            pa.float64(),
            "bootstrap over examples and output n-grams, lower end; null in planted worlds",
            nullable=True,
            between=(-1, 1),
        ),
        column("pigeonhole_high", pa.float64(), "and upper end", nullable=True, between=(-1, 1)),
        column("p_value", pa.float64(), "two-way clustered p of no association", between=(0, 1)),
        column("naive_p", pa.float64(), "scipy's p, which takes rows for independent", between=(0, 1)),
        column(
            "min_count", pa.float64(), "ρ with min(df(s_x), df(s_y)) in the place of C; null in null worlds", nullable=True
        ),
        column("added", pa.float64(), "ρ with a pair's C added once per example; null in null worlds", nullable=True),
        column("never_reset", pa.float64(), "ρ with s_y scored to the end of the text; null in null worlds", nullable=True),
        column(
            "occurrences", pa.float64(), "ρ with C / C(s_x), documents by occurrences; null in null worlds", nullable=True
        ),
    ),
    key=("design", "world"),
    rules=(
        rows(
            "(low IS NULL OR low <= high) AND (pigeonhole_low IS NULL OR pigeonhole_low <= pigeonhole_high)",
            "an interval has its ends in order",
        ),
        rows("design = 'planted' OR truth = 0", "nothing is memorized in a null world"),
        rows(
            "(design = 'planted') = (min_count IS NOT NULL AND low IS NOT NULL)",
            "mistakes are made where there is something to miss",
        ),
    ),
)

REPORT_FILES = Contract(
    name="report_files",
    description="The files of a report.",
    columns=(
        column("file", pa.string(), "path below the report's folder"),
        column("sha256", pa.string(), "hash of its bytes"),
        column("bytes", pa.int64(), "size", at_least=1),
    ),
    key=("file",),
)

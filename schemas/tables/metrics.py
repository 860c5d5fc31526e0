"""The answers: every measure as rows, what was left out of it, and the files of the report."""

import pyarrow as pa

from schemas.contract import Contract, column, rows

# Columns that tell rows of one statistic apart, and their values in the row of the measure itself
QUALIFIERS = {
    "of_measure": "",
    "group": "",
    "bin": -1,
    "detail": "",
    "level": -1.0,
    "corpus": "",
    "variant": "",
    "gamma": "",
    "against": "",
    "interval": "",
}

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
        column("of_measure", pa.string(), "what a check, a sweep or a comparison is of: mem_n, mem_delta …; or empty"),
        column("group", pa.string(), "examples: a subject, language pair, train, test, stated, held_out; empty: all"),
        column("bin", pa.int16(), "number of the bin, from 0; -1 where there are none", at_least=-1),
        column("detail", pa.string(), "selection of rows, remedy, part or side; or empty"),
        column("level", pa.float64(), "quantile, least count, width of a window or times stated; else -1", at_least=-1),
        column(
            "corpus",
            pa.string(),
            "counts of the placebo, of the clean corpus without contaminated documents, or the difference to the placebo; "
            "empty: of the study's corpus",
            one_of=("", "placebo", "clean", "difference"),
        ),
        column("variant", pa.string(), "variant of the study, e.g. stop_words=authors; empty for the study"),
        column("gamma", pa.string(), "another γ of a sweep as the study names it, 0.7 or p99; empty for γ as it is set"),
        column("against", pa.string(), "what is subtracted: a model, or mem_infinity; or empty"),
        column(
            "interval",
            pa.string(),
            "how interval and p were made: two_way, pigeonhole, bca, permutation; empty: by drawing whole examples",
            one_of=("", "bca", "pigeonhole", "permutation", "two_way"),
        ),
        column("x", pa.float64(), "abscissa for a figure, e.g. mean count of the bin or number of parameters", nullable=True),
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
        column(
            "p_value",
            pa.float64(),
            "two-sided p of no association, where the row's interval belongs to it",
            nullable=True,
            between=(0, 1),
        ),
        column("rows", pa.int64(), "rows the number rests on", at_least=0),
        column("examples", pa.int64(), "examples the number rests on", at_least=0),
        column(
            "clusters",
            pa.float64(),
            "of a correlation: effective number of clusters, n²/Σn_c²; under ten there is no p, and the report draws no conclusion",
            nullable=True,
            at_least=1,
        ),
        column("truth", pa.float64(), "the right answer, where the world is planted", nullable=True),
        column("note", pa.string(), "why there is no number, or what a reader must know; else empty"),
    ),
    key=("measure", "task", "model", "checkpoint", "order", "unit", "statistic", *QUALIFIERS),
    rules=(
        rows("estimate IS NOT NULL OR length(note) > 0", "a missing number has a reason"),
        rows("low IS NULL OR high IS NULL OR low <= high", "an interval has its ends in order"),
        rows("(p_value < 0.05) = (low > 0 OR high < 0) OR p_value IS NULL OR low IS NULL", "p and interval say the same"),
        rows("estimate IS NOT NULL OR standard_error IS NULL", "what is not there has no error"),
        rows(
            "statistic NOT IN ('spearman', 'pearson', 'kendall') OR estimate IS NULL OR "
            "abs(estimate) <= CASE WHEN corpus = 'difference' THEN 2 ELSE 1 END + 1e-9",
            "a correlation lies in [-1, 1], the difference of two in [-2, 2]",
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


def _files(name: str, description: str) -> Contract:
    """The files of a part, below its folder."""
    columns = (
        column("file", pa.string(), "path below the report's folder"),
        column("sha256", pa.string(), "hash of its bytes"),
        column("bytes", pa.int64(), "size", at_least=1),
    )
    return Contract(name, description, columns, key=("file",))


REPORT_FILES = _files("report_files", "The files of a report.")
TRACE_FILES = _files("trace_files", "The files of the trace page: the page itself, and the examples of each task in chunks.")

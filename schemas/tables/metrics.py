"""The answers: every measure as rows, what was left out of it, and the files of the report."""

from typing import Any

from schemas.contract import Contract, float64, int16, int64, rows, string, table

# Columns that tell rows of one statistic apart, and their values in the row of the measure itself
_NAMES = ("of_measure", "group", "bin", "detail", "level", "corpus", "variant", "gamma", "against", "interval")
QUALIFIERS = dict[str, Any](dict.fromkeys(_NAMES, "")) | {"bin": -1, "level": -1.0}

METRICS = table(
    f"metrics by measure task model checkpoint order unit statistic {' '.join(QUALIFIERS)}",
    "One row per number: a measure of a task, for a model (or for the corpus alone).",
    string("measure", "name of the measure, e.g. mem_n, mem_infinity, score, novelty, performance"),
    string("task", "name of the task"),
    string("model", "name of the model; empty for a property of the corpus or the task"),
    int64("checkpoint", "training step; -1 where there is no model", at_least=-1),
    int16("order", "n; 0 where n plays no part", between=(0, 64)),
    string("unit", "what a row of the statistic is: pair, example_output, example; or empty"),
    string("statistic", "spearman, pearson, kendall, accuracy, bleu, rate …"),
    string("of_measure", "what a check, a sweep or a comparison is of: mem_n, mem_delta …; or empty"),
    string("group", "examples: a subject, language pair, train, test, stated, held_out; empty: all"),
    int16("bin", "number of the bin, from 0; -1 where there are none", at_least=-1),
    string("detail", "selection of rows, remedy, part or side; or empty"),
    float64("level", "quantile, least count, width of a window or times stated; else -1", at_least=-1),
    string(
        "corpus",
        "counts of the placebo, of the clean corpus without contaminated documents, or the difference to the placebo; "
        "empty: of the study's corpus",
        one_of=("", "placebo", "clean", "difference"),
    ),
    string("variant", "variant of the study, e.g. stop_words=authors; empty for the study"),
    string("gamma", "another γ of a sweep as the study names it, 0.7 or p99; empty for γ as it is set"),
    string("against", "what is subtracted: a model, or mem_infinity; or empty"),
    string(
        "interval",
        "how interval and p were made: two_way, pigeonhole, bca, permutation; empty: by drawing whole examples",
        one_of=("", "bca", "pigeonhole", "permutation", "two_way"),
    ),
    float64("x", "abscissa for a figure, e.g. mean count of the bin or number of parameters", nullable=True),
    float64("estimate", "the number; null if it is not defined, with the reason in `note`", nullable=True),
    float64("low", "lower end of the 95 % interval", nullable=True),
    float64("high", "upper end of the 95 % interval", nullable=True),
    float64(
        "standard_error",
        "of a score: s/√n over examples for shares and means, linearised for ratios, bootstrap for BLEU and chrF; null "
        "for other measures and for fewer than two examples",
        nullable=True,
        at_least=0,
    ),
    float64("p_value", "two-sided p of no association, where the row's interval belongs to it", nullable=True, between=(0, 1)),
    int64("rows", "rows the number rests on", at_least=0),
    int64("examples", "examples the number rests on", at_least=0),
    float64(
        "clusters",
        "of a correlation: effective number of clusters, n²/Σn_c²; under ten there is no p, and the report draws no conclusion",
        nullable=True,
        at_least=1,
    ),
    float64("truth", "the right answer, where the world is planted", nullable=True),
    string("note", "why there is no number, or what a reader must know; else empty"),
    rows("estimate IS NOT NULL OR length(note) > 0", "a missing number has a reason"),
    rows("low IS NULL OR high IS NULL OR low <= high", "an interval has its ends in order"),
    rows("(p_value < 0.05) = (low > 0 OR high < 0) OR p_value IS NULL OR low IS NULL", "p and interval say the same"),
    rows("estimate IS NOT NULL OR standard_error IS NULL", "what is not there has no error"),
    rows(
        "statistic NOT IN ('spearman', 'pearson', 'kendall') OR estimate IS NULL OR "
        "abs(estimate) <= CASE WHEN corpus = 'difference' THEN 2 ELSE 1 END + 1e-9",
        "a correlation lies in [-1, 1], the difference of two in [-2, 2]",
    ),
)

METRIC_FAMILY = table(
    "metric_family by measure task model checkpoint order",
    "Benjamini-Hochberg over the study's primary family: Mem_n and Mem_Δ at each task's first order, γ and pair "
    "unit, over task × model (docs/method.md §6b).",
    string("measure", "mem_n or mem_delta"),
    string("task", "name of the task"),
    string("model", "name of the model"),
    int64("checkpoint", "training step", at_least=0),
    int16("order", "n", between=(1, 16)),
    float64("p_value", "two-sided p of the measure", between=(0, 1)),
    float64("q_value", "p after Benjamini-Hochberg", between=(0, 1)),
    rows("q_value >= p_value - 1e-12", "a correction only raises p"),
)

EXCLUSIONS = table(
    "exclusions by measure task model checkpoint order reason",
    "What did not enter a measure, by reason.",
    string("measure", "name of the measure"),
    string("task", "name of the task"),
    string("model", "name of the model; empty where no model plays a part"),
    int64("checkpoint", "training step; -1 where there is no model", at_least=-1),
    int16("order", "n; 0 where n plays no part", between=(0, 64)),
    string("reason", "why the rows were left out, or `kept`"),
    int64("rows", "how many", at_least=0),
    string("of", "what is counted: pairs, examples, rows, n-grams"),
)


def _files(name: str, description: str) -> Contract:
    """The files of a part, below its folder."""
    columns = (string("sha256", "hash of its bytes"), int64("bytes", "size", at_least=1))
    return table(f"{name} by file", description, string("file", "path below the report's folder"), *columns)


REPORT_FILES = _files("report_files", "The files of a report.")
TRACE_FILES = _files("trace_files", "The files of the trace page: the page itself, and the examples of each task in chunks.")

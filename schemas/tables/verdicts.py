"""What the runs of an ensemble say about each claim, per model, over seeds, and as points of figures."""

from schemas.contract import Column, float64, int32, rows, string, table

VERDICT_NAMES = ("supported", "refuted", "inconclusive")
CLAIM_NAMES = ("T2", "T4", "T6 strong", "T6 in expectation", "T7", "T8 leave-one-out", "T8 leave-group-out", "T9")


def _claim(of: str) -> tuple[Column, ...]:
    return (
        string("claim", "its name (docs/memorization.md)", one_of=CLAIM_NAMES),
        string("statement", "what it says"),
        string("verdict", f"what the numbers say about it, {of}", one_of=VERDICT_NAMES),
        float64("estimate", "the number that decides it; null if it is not defined, with the reason in `note`", nullable=True),
        float64("low", "lower end of its interval at `level`", nullable=True),
        float64("high", "upper end of its interval", nullable=True),
        float64("level", "of the interval", between=(0, 1)),
        float64("null", "what the estimate would be if nothing were there", nullable=True),
        string("unit", "of the estimate, or empty"),
        string("rule", "how the verdict follows from the numbers; empty where there are none"),
    )


NOTE = string("note", "what else a reader must know, or empty")

CLAIMS = table(
    "claims by model claim",
    "One row per model of [membership] and claim: what its runs say.",
    string("model", "name of the model in [membership]; empty for claims about the grid of capacities"),
    *_claim("for one model"),
    string("half", "the verdict of half of the runs; null for claims about capacity", one_of=VERDICT_NAMES, nullable=True),
    NOTE,
    rows("verdict = 'inconclusive' OR (estimate IS NOT NULL AND rule <> '')", "a verdict follows from a number by a rule"),
)

VERDICTS = table(
    "verdicts by network claim",
    "One row per network and claim, over seeds: models of [membership] that differ in name and seed only.",
    string("network", "name of the first of these models"),
    *_claim("if all seeds say the same"),
    int32("seeds", "models of the network", at_least=1),
    int32("agree", "of these, those whose own verdict is this one", at_least=0),
    NOTE,
    rows("agree <= seeds", "seeds that agree are some of the seeds"),
)

CLAIM_POINTS = table(
    "claim_points by model claim figure series point",
    "What figures of the claims show besides the tables that they are made of.",
    string("model", "name of the model in [membership]"),
    string("claim", "its name", one_of=CLAIM_NAMES),
    string("figure", "which figure"),
    string("series", "which line or group of it"),
    int32("point", "number of the point, counted from 0", at_least=0),
    float64("x", "abscissa"),
    float64("y", "ordinate; null if it is not defined", nullable=True),
    float64("low", "lower end of its interval at 99 %, or null", nullable=True),
    float64("high", "upper end", nullable=True),
)

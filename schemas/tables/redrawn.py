"""Suffix targets redrawn from the runs that are not trained on a sequence, and further runs that are trained on them."""

from schemas.contract import balance, float64, int32, list_of, rows, string, table
from schemas.tables.ensembles import runs_table, scores_table

DRAW = int32("draw", "0: its original targets; 1: drawn in place of these; 2: drawn in place of draw 1", between=(0, 2))

REDRAWN_TARGETS = table(
    "redrawn_targets by model sequence draw",
    "Targets of the suffix of each member with one copy, and of canaries with two: its own, and drawn ones for the same inputs, "
    "token by token from the mean of the runs without it, so that they are as likely as its own (docs/counterfactual.md).",
    string("model", "name of the model in [membership]"),
    string("sequence", "name of the sequence"),
    DRAW,
    int32("out_models", "runs without it whose weights are kept", at_least=1),
    list_of(int32, "targets", "token ids, one for each token of its suffix"),
    float64("log_p", "V: mean over these runs of the log p of the targets, nats", at_most=1e-6),
    float64("log_mixture", "log p of the targets by the mean of these runs, nats", at_most=1e-6),
    float64("differing", "share of the targets that differ from those in whose place they are drawn", between=(0, 1)),
    rows("log_p <= log_mixture + 1e-6", "a mean of logs is at most the log of the mean"),
    rows("list_min(targets) >= 1", "no document ends in a suffix"),
    balance(
        "(SELECT count(*) FROM redrawn_targets)",
        "(SELECT count(*) * 3 FROM (SELECT DISTINCT model, sequence FROM redrawn_targets))",
        "each sequence has its original targets and two draws",
    ),
)

REDRAWN_RUNS = runs_table(
    "redrawn_runs",
    "One row per further run: of those that have a sequence in `membership` half have its original targets, half drawn ones.",
)

REDRAWN_SCORES = scores_table(
    "redrawn_scores by model run checkpoint sequence draw",
    "How a further run scores own and drawn targets of every sequence, for the same inputs (docs/counterfactual.md).",
    "redrawn_runs",
    DRAW,
    int32("copies", "copies of the sequence with these targets that the run is trained on", at_least=0),
)

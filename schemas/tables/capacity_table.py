"""Runs of the grid of capacities: what each memorizes, and how well it generalizes."""

from schemas.contract import balance, boolean, float64, int32, int64, rows, string, table
from schemas.settings.capacity_settings import REMOVALS

CAPACITY_RUNS = table(
    "capacity_runs by kind cell seed checkpoint group",
    "What a run of the grid of capacities memorizes of the sequences that it is trained on, and how well it predicts those that no "
    "run is trained on, at several checkpoints; over all sequences and by group (docs/capacity.md). A run that diverged has one "
    "row without scores.",
    string("kind", "which experiment", one_of=("grid", "removal", "random tokens")),
    string("cell", "its setting, of which there are runs with several seeds"),
    int32("seed", "number of the run in its cell", at_least=0),
    int64("checkpoint", "training step; 0 of a run that diverged", at_least=0),
    string("group", "group of sequences that a row is about; empty: all"),
    int32("hidden", "width of the model", at_least=1),
    int64("parameters", "trainable numbers", at_least=1),
    int64("inner_parameters", "those that are no embeddings", at_least=1),
    float64("corpus", "share of the members that the run is trained on", between=(0, 1)),
    float64("epochs", "times that the run sees its corpus", at_least=0),
    float64("weight_decay", "of AdamW", at_least=0),
    boolean("dedup", "trained on one copy of each sequence"),
    string("removed", "what a run of the removal experiment is trained without; else empty", one_of=("", *REMOVALS)),
    int32("steps", "optimizer steps of the whole training", at_least=1),
    boolean("diverged", "its loss or a score was not finite"),
    int32("sequences", "distinct sequences that it is trained on", at_least=0),
    int32("instances", "these with their copies", at_least=0),
    int32("phantoms", "sequences that no run is trained on", at_least=0),
    float64("training_bits", "bits per token of the suffixes of what it is trained on", nullable=True, at_least=0),
    float64("validation_bits", "the same of phantoms", nullable=True, at_least=0),
    float64("training_accuracy", "share of these tokens that are the likeliest", nullable=True, between=(0, 1)),
    float64("validation_accuracy", "the same of phantoms", nullable=True, between=(0, 1)),
    float64(
        "training_extraction",
        "share of the sequences that it is trained on whose suffix is extracted",
        nullable=True,
        between=(0, 1),
    ),
    float64("validation_extraction", "the same of phantoms", nullable=True, between=(0, 1)),
    float64(
        "bits",
        "unintended memorization: mean bits of a sequence beyond the generator's log p, at least 0",
        nullable=True,
        at_least=0,
    ),
    float64("phantom_bits", "the same of phantoms: what chance gives", nullable=True, at_least=0),
    float64(
        "generalization",
        "minus the bits per token of phantoms whose topic, ring or rule is trained on; null of groups",
        nullable=True,
    ),
    rows(
        "(checkpoint = 0) = diverged AND (NOT diverged OR (training_bits IS NULL AND \"group\" = ''))",
        "a run that ended has scores",
    ),
    rows("instances >= sequences AND (removed <> '') = (kind = 'removal')", "copies are counted, and removals named"),
    balance(
        "(SELECT count(DISTINCT (kind, cell, seed)) FROM capacity_runs WHERE \"group\" = '')",
        "(SELECT count(DISTINCT part_key) FROM capacity_runs)",
        "each part is one run",
    ),
)

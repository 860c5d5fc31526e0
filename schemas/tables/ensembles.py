"""Sequences of a controlled corpus, which run is trained on which, how each run scores all of them, and what follows from that."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, rows
from schemas.tables.models import INT_LIST

GROUPS = ("dense", "rare", "ring", "canary", "mismatch", "dense_copies", "canary_copies", "rule")

CONTROLLED_SEQUENCES = Contract(
    name="controlled_sequences",
    description="Every sequence of a controlled corpus, with what is known about it (docs/counterfactual.md).",
    columns=(
        column("sequence", pa.string(), "its name: the group and a number"),
        column("cluster", pa.int64(), "sequences of equal tokens have the same number, counted from 0", at_least=0),
        column("group", pa.string(), "which experiment it serves", one_of=GROUPS),
        column("family", pa.string(), "topic, cycle or group: the never-trained sequences of a family are its members' twins"),
        column("split", pa.string(), "member: runs are trained on it; phantom: none ever is", one_of=("member", "phantom")),
        column("copies", pa.int32(), "d, copies of it in the corpus; of a phantom, those that it would have", at_least=1),
        column("twins", pa.int32(), "k, members of its ring, itself included; 0 for other groups", at_least=0),
        column("ids", INT_LIST, "its token ids; 0 is the end of a document"),
        column("prefix", pa.int32(), "how many of its tokens are the prefix; the others are the suffix", at_least=1),
        column(
            "entropy", pa.float64(), "bits of its suffix: −log2 of the generator's probability, given the prefix", at_least=-1e-9
        ),
    ),
    key=("sequence",),
    rules=(
        rows("prefix < len(ids) AND list_min(ids) >= 1", "a sequence has a suffix, and no document ends in it"),
        rows("(twins > 0) = (\"group\" = 'ring')", "only rings count their twins"),
        rows("(copies > 1) = (\"group\" IN ('dense_copies', 'canary_copies'))", "copies and twins do not go together"),
    ),
    balances=(
        balance(
            "(SELECT count(DISTINCT ids) FROM controlled_sequences)",
            "(SELECT count(DISTINCT cluster) FROM controlled_sequences)",
            "no two clusters have equal tokens",
        ),
    ),
)

MEMBERSHIP = Contract(
    name="membership",
    description="Which run is trained on which sequence, in how many copies. Phantoms have a fake membership: they are assigned to "
    "runs as members are, and no run is trained on them.",
    columns=(
        column("run", pa.int32(), "number of the run, counted from 0", at_least=0),
        column("sequence", pa.string(), "name of the sequence"),
        column("assigned", pa.int32(), "copies that the run has by the design", at_least=0),
        column("copies", pa.int32(), "copies that it is trained on: of a phantom none", at_least=0),
        column("pair", pa.int32(), "number of its pair of complementary runs; −1 in a design with folds", at_least=-1),
    ),
    key=("run", "sequence"),
    rules=(rows("copies IN (0, assigned)", "a run has the copies of the design, or is not trained on the sequence at all"),),
    balances=(
        balance(
            "(SELECT count(*) FROM (SELECT pair, sequence FROM membership WHERE pair >= 0 GROUP BY pair, sequence "
            "HAVING sum(CAST(assigned > 0 AS INTEGER)) <> 1))",
            "0",
            "of two complementary runs exactly one has a sequence",
        ),
        balance(
            "(SELECT count(*) FROM membership JOIN controlled_sequences USING (sequence) WHERE (split = 'member' "
            "AND membership.copies <> assigned) OR (split = 'phantom' AND membership.copies > 0))",
            "0",
            "runs are trained on members as designed, and on no phantom",
        ),
        balance(
            "(SELECT count(*) FROM membership JOIN controlled_sequences USING (sequence) "
            "WHERE assigned > controlled_sequences.copies)",
            "0",
            "a run has at most all copies of a sequence",
        ),
    ),
)

ENSEMBLE_RUNS = Contract(
    name="ensemble_runs",
    description="One row per model and run: how it was trained.",
    columns=(
        column("model", pa.string(), "name of the model in [membership]"),
        column("run", pa.int32(), "number of the run", at_least=0),
        column("parameters", pa.int64(), "trainable numbers", at_least=1),
        column("steps", pa.int32(), "optimizer steps, equal for all runs of a model", at_least=1),
        column("instances", pa.int32(), "sequences that it is trained on, copies included", at_least=1),
        column("seed", pa.int64(), "of its initial weights", at_least=0),
        column("order_seed", pa.int64(), "of the order of its data", at_least=0),
        column("loss", pa.float64(), "mean loss of the last steps, nats per token; null if it diverged", nullable=True),
        column("diverged", pa.bool_(), "its loss or a score was not finite: it has no scores"),
        column("path", pa.string(), "folder of its weights in the root; empty unless [membership] names it"),
        column("sha256", pa.string(), "hash of its weights, or empty"),
    ),
    key=("model", "run"),
    rules=(rows("diverged = (loss IS NULL) AND (path = '') = (sha256 = '')", "a run that ended has a loss"),),
)

ENSEMBLE_SCORES = Contract(
    name="ensemble_scores",
    description="How a run scores the suffix of every sequence after its prefix, by one forward pass (docs/counterfactual.md).",
    columns=(
        column("model", pa.string(), "name of the model in [membership]"),
        column("run", pa.int32(), "number of the run", at_least=0),
        column("checkpoint", pa.int64(), "training step", at_least=1),
        column("sequence", pa.string(), "name of the sequence"),
        column("log_p", pa.float64(), "log p of its suffix after its prefix, in nats", at_most=1e-6),
        column("hits", pa.list_(pa.field("element", pa.bool_(), nullable=False)), "whether each suffix token is the likeliest"),
        column("accuracy", pa.float64(), "share of the suffix tokens that are", between=(0, 1)),
        column("extracted", pa.bool_(), "whether greedy decoding from the prefix gives the suffix: all are"),
    ),
    key=("model", "run", "checkpoint", "sequence"),
    rules=(
        rows("isfinite(log_p)", "a run that diverged has no scores"),
        rows("extracted = list_bool_and(hits) AND extracted = (accuracy = 1)", "extracted are the suffixes that are all hits"),
    ),
    balances=(
        balance(
            "(SELECT count(DISTINCT (model, run)) FROM ensemble_scores)",
            "(SELECT count(*) FROM ensemble_runs WHERE NOT diverged)",
            "each run that ended has scores",
        ),
    ),
)

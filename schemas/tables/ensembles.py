"""Sequences of a controlled corpus, which run is trained on which, how each run scores all of them, and what follows from that."""

import pyarrow as pa

from schemas.contract import Column, Contract, balance, column, rows
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


def _estimate(name: str, meaning: str) -> tuple[Column, Column]:
    """A column and that of its standard error; null where an arm has no run, or too few."""
    error = column(f"{name}_se", pa.float64(), "its standard error, from runs", nullable=True, at_least=0)
    return column(name, pa.float64(), meaning, nullable=True), error


COUNTERFACTUAL = Contract(
    name="counterfactual",
    description="One row per model, checkpoint and sequence: what runs with it give that runs without it do not. Phantoms have the "
    "estimates of their fake membership, which are what chance gives (docs/counterfactual.md).",
    columns=(
        column("model", pa.string(), "name of the model in [membership]"),
        column("checkpoint", pa.int64(), "training step", at_least=1),
        column("sequence", pa.string(), "name of the sequence"),
        column("in_runs", pa.int32(), "runs with all its copies", at_least=0),
        column("out_runs", pa.int32(), "runs without it that these are compared with", at_least=0),
        column("in_log_p", pa.float64(), "mean log p of its suffix in the former, nats", nullable=True),
        column("out_log_p", pa.float64(), "in the latter", nullable=True),
        *_estimate("leave_group_out", "M: mean log p with all copies minus that without any, nats"),
        column("leave_group_out_exp", pa.float64(), "the same of log-mean-exps over equal numbers of runs", nullable=True),
        column("leave_group_out_published", pa.float64(), "the same of 90 % and 10 % of the runs, as published", nullable=True),
        *_estimate("leave_one_out", "mean log p with all copies minus that with one less, nats"),
        column("leave_one_out_exp", pa.float64(), "the same of log-mean-exps over equal numbers of runs", nullable=True),
        *_estimate("contextual", "in_log_p minus the best out_log_p over training, nats"),
        column("best_out_checkpoint", pa.int64(), "training step of that", at_least=1),
        *_estimate("memorization", "Feldman-Zhang: difference of mean token accuracy"),
        column("simplicity", pa.float64(), "sum of the two means of token accuracy", nullable=True),
        *_estimate("extraction", "difference of the shares of runs that extract it"),
        column("extracted_in", pa.float64(), "share of runs with it that extract it", nullable=True, between=(0, 1)),
        column("extracted_out", pa.float64(), "share of runs without it", nullable=True, between=(0, 1)),
        column("lira", pa.float64(), "chance that LiRA ranks a run with it above one without it", nullable=True, between=(0, 1)),
        column("bits", pa.float64(), "unintended memorization against runs without it: M / ln 2, at least 0", nullable=True),
        column("contextual_bits", pa.float64(), "the same of contextual", nullable=True, at_least=0),
        column("generator_bits", pa.float64(), "bits beyond the generator's own log2 p of the suffix, at least 0", nullable=True),
        *_estimate("spill", "mean influence on its never-trained twins, nats; null if it has none"),
        column("specificity", pa.float64(), "ω = 1 − spill / M; null where M is within 1.96 standard errors of 0", nullable=True),
    ),
    key=("model", "checkpoint", "sequence"),
    rules=(
        rows(
            "abs(extraction - (extracted_in - extracted_out)) < 1e-6 OR extraction IS NULL",
            "counterfactual extraction is the difference of two shares",
        ),
    ),
    balances=(
        balance(
            "(SELECT count(*) FROM counterfactual)",
            "(SELECT count(*) FROM (SELECT DISTINCT model, checkpoint, sequence FROM ensemble_scores))",
            "a row for each sequence that was scored",
        ),
    ),
)

COUNTERFACTUAL_INFLUENCE = Contract(
    name="counterfactual_influence",
    description="Rows of the influence matrix: what training on a sequence adds to the log p of a twin that no run is trained on.",
    columns=(
        column("model", pa.string(), "name of the model in [membership]"),
        column("checkpoint", pa.int64(), "training step", at_least=1),
        column("sequence", pa.string(), "name of the sequence that runs have or have not"),
        column("twin", pa.string(), "name of a phantom of its family"),
        *_estimate("influence", "mean log p of the twin's suffix in runs with the sequence minus that in runs without, nats"),
    ),
    key=("model", "checkpoint", "sequence", "twin"),
    rules=(rows("sequence <> twin", "a twin is another sequence"),),
)

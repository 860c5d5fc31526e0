"""Sequences of a controlled corpus, which run is trained on which, how each run scores all of them, and what follows from that."""

from schemas.contract import Column, Contract, balance, boolean, float64, int32, int64, list_of, rows, string, table

GROUPS = ("dense", "rare", "ring", "canary", "mismatch", "dense_copies", "canary_copies", "rule")

CONTROLLED_SEQUENCES = table(
    "controlled_sequences by sequence",
    "Every sequence of a controlled corpus, with what is known about it (docs/counterfactual.md).",
    string("sequence", "its name: the group and a number"),
    int64("cluster", "sequences of equal tokens have the same number, counted from 0", at_least=0),
    string("group", "which experiment it serves", one_of=GROUPS),
    string("family", "topic, cycle or group: the never-trained sequences of a family are its members' twins"),
    string("split", "member: runs are trained on it; phantom: none ever is", one_of=("member", "phantom")),
    int32("copies", "d, copies of it in the corpus; of a phantom, those that it would have", at_least=1),
    int32("twins", "k, members of its ring that are trained on, itself included; 0 for other groups", at_least=0),
    list_of(int32, "ids", "its token ids; 0 is the end of a document"),
    int32("prefix", "how many of its tokens are the prefix; the others are the suffix", at_least=1),
    float64("entropy", "bits of its suffix: −log2 of the generator's probability, given the prefix", at_least=-1e-9),
    rows("prefix < len(ids) AND list_min(ids) >= 1", "a sequence has a suffix, and no document ends in it"),
    rows("(twins > 0) = (\"group\" = 'ring')", "only rings count their members"),
    rows("(copies > 1) = (\"group\" IN ('dense_copies', 'canary_copies'))", "copies and rings do not go together"),
    balance(
        "(SELECT count(DISTINCT ids) FROM controlled_sequences)",
        "(SELECT count(DISTINCT cluster) FROM controlled_sequences)",
        "no two clusters have equal tokens",
    ),
)

MEMBERSHIP = table(
    "membership by run sequence",
    "Which run is trained on which sequence, in how many copies. Phantoms have a fake membership: they are assigned to "
    "runs as members are, and no run is trained on them.",
    int32("run", "number of the run, counted from 0", at_least=0),
    string("sequence", "name of the sequence"),
    int32("assigned", "copies that the run has by the design", at_least=0),
    int32("copies", "copies that it is trained on: of a phantom none", at_least=0),
    int32("pair", "number of its pair of complementary runs; −1 in a design with folds", at_least=-1),
    rows("copies IN (0, assigned)", "a run has the copies of the design, or is not trained on the sequence at all"),
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
        "(SELECT count(*) FROM membership JOIN controlled_sequences USING (sequence) WHERE assigned > controlled_sequences.copies)",
        "0",
        "a run has at most all copies of a sequence",
    ),
)

RUN_KEY = (string("model", "name of the model in [membership]"), int32("run", "number of the run", at_least=0))


def runs_table(name: str, about: str) -> Contract:
    """How each run of an ensemble was trained."""
    return table(
        f"{name} by model run",
        about,
        *RUN_KEY,
        int64("parameters", "trainable numbers", at_least=1),
        int32("steps", "optimizer steps, equal for all runs of a model", at_least=1),
        int32("instances", "sequences that it is trained on, copies included", at_least=1),
        int64("seed", "of its initial weights", at_least=0),
        int64("order_seed", "of the order of its data", at_least=0),
        float64("loss", "mean loss of the last steps, nats per token; null if it diverged", nullable=True),
        boolean("diverged", "its loss or a score was not finite: it has no scores"),
        string("path", "folder of its weights in the root; empty unless [membership] names it"),
        string("sha256", "hash of its weights, or empty"),
        rows("diverged = (loss IS NULL) AND (path = '') = (sha256 = '')", "a run that ended has a loss"),
    )


def scores_table(name: str, about: str, runs: str, *more: Column) -> Contract:
    """How each run of the table `runs` scores suffixes. `name`: with its key; `more`: columns that come after the sequence."""
    return table(
        name,
        about,
        *RUN_KEY,
        int64("checkpoint", "training step", at_least=1),
        string("sequence", "name of the sequence"),
        *more,
        float64("log_p", "log p of its suffix after its prefix, in nats", at_most=1e-6),
        list_of(boolean, "hits", "whether each suffix token is the likeliest"),
        float64("accuracy", "share of the suffix tokens that are", between=(0, 1)),
        boolean("extracted", "whether greedy decoding from the prefix gives the suffix: all are"),
        rows("isfinite(log_p)", "a run that diverged has no scores"),
        rows("extracted = list_bool_and(hits) AND extracted = (accuracy = 1)", "extracted are the suffixes that are all hits"),
        balance(
            f"(SELECT count(DISTINCT (model, run)) FROM {name.partition(' ')[0]})",
            f"(SELECT count(*) FROM {runs} WHERE NOT diverged)",
            "each run that ended has scores",
        ),
    )


ENSEMBLE_RUNS = runs_table("ensemble_runs", "One row per model and run: how it was trained.")
ENSEMBLE_SCORES = scores_table(
    "ensemble_scores by model run checkpoint sequence",
    "How a run scores the suffix of every sequence after its prefix, by one forward pass (docs/counterfactual.md).",
    "ensemble_runs",
)


def _estimate(name: str, meaning: str) -> tuple[Column, Column]:
    """A column and that of its standard error; null where an arm has no run, or too few."""
    error = float64(f"{name}_se", "its standard error, from runs", nullable=True, at_least=0)
    return float64(name, meaning, nullable=True), error


COUNTERFACTUAL = table(
    "counterfactual by model checkpoint sequence",
    "One row per model, checkpoint and sequence: what runs with it give that runs without it do not. Phantoms have the "
    "estimates of their fake membership, which are what chance gives (docs/counterfactual.md).",
    string("model", "name of the model in [membership]"),
    int64("checkpoint", "training step", at_least=1),
    string("sequence", "name of the sequence"),
    int32("in_runs", "runs with all its copies", at_least=0),
    int32("out_runs", "runs without it that these are compared with", at_least=0),
    float64("in_log_p", "mean log p of its suffix in the former, nats", nullable=True),
    float64("out_log_p", "in the latter", nullable=True),
    *_estimate("leave_group_out", "M: mean log p with all copies minus that without any, nats"),
    *_estimate("leave_group_out_exp", "the same of log-mean-exps over equal numbers of runs"),
    *_estimate("leave_group_out_published", "the same of 90 % and 10 % of the runs, as published"),
    *_estimate("leave_one_out", "mean log p with all copies minus that with one less, nats"),
    *_estimate("leave_one_out_exp", "the same of log-mean-exps over equal numbers of runs"),
    *_estimate("contextual", "in_log_p minus the best out_log_p over training, nats"),
    int64("best_out_checkpoint", "training step of that", at_least=1),
    *_estimate("memorization", "Feldman-Zhang: difference of mean token accuracy"),
    float64("simplicity", "sum of the two means of token accuracy", nullable=True),
    *_estimate("extraction", "difference of the shares of runs that extract it"),
    float64("extracted_in", "share of runs with it that extract it", nullable=True, between=(0, 1)),
    float64("extracted_out", "share of runs without it", nullable=True, between=(0, 1)),
    float64("lira", "chance that LiRA ranks a run with it above one without it", nullable=True, between=(0, 1)),
    float64("bits", "unintended memorization against runs without it: M / ln 2, at least 0", nullable=True),
    float64("contextual_bits", "the same of contextual", nullable=True, at_least=0),
    float64("generator_bits", "bits beyond the generator's own log2 p of the suffix, at least 0", nullable=True),
    *_estimate("spill", "mean influence on its never-trained twins, nats; null if it has none"),
    float64("specificity", "ω = 1 − spill / M; null where M is within 1.96 standard errors of 0", nullable=True),
    rows(
        "abs(extraction - (extracted_in - extracted_out)) < 1e-6 OR extraction IS NULL",
        "counterfactual extraction is the difference of two shares",
    ),
    balance(
        "(SELECT count(*) FROM counterfactual)",
        "(SELECT count(*) FROM (SELECT DISTINCT model, checkpoint, sequence FROM ensemble_scores))",
        "a row for each sequence that was scored",
    ),
)

COUNTERFACTUAL_INFLUENCE = table(
    "counterfactual_influence by model checkpoint sequence twin",
    "Rows of the influence matrix: what training on a sequence adds to the log p of a twin that no run is trained on.",
    string("model", "name of the model in [membership]"),
    int64("checkpoint", "training step", at_least=1),
    string("sequence", "name of the sequence that runs have or have not"),
    string("twin", "name of a phantom of its family"),
    *_estimate("influence", "mean log p of the twin's suffix in runs with the sequence minus that in runs without, nats"),
    rows("sequence <> twin", "a twin is another sequence"),
)

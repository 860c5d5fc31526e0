"""Models, how they were trained, what they generate, and how likely the expected outputs are to them."""

from schemas.contract import boolean, float32, float64, int16, int32, int64, list_of, rows, string, table

OF_MODEL = (
    string("model", "name of the model in the study"),
    int64("checkpoint", "training step, or 0 for a model without checkpoints", at_least=0),
)

MODELS = table(
    "models by model checkpoint",
    "One row per model and checkpoint; the weights are files next to the table.",
    *OF_MODEL,
    string("source", "where it is from", one_of=("pretrained here", "hub", "folder")),
    string("revision", "resolved commit of a hub model, else empty"),
    string("path", "folder with config and weights, below the root or absolute"),
    string("sha256", "hash of the weights file(s)"),
    string("tokenizer", "hash of what decides its tokens: ∞-gram counts of other tokens cannot be compared"),
    string("ends", "tokens that end an answer, with their ids and the files that name them"),
    int64("parameters", "trainable parameters in memory; tied weights count once", at_least=1),
    int64("parameters_non_embedding", "without input and output embeddings", at_least=0),
    int64("tokens_seen", "training tokens up to this checkpoint; -1 if unknown", at_least=-1),
    float64("loss", "mean training loss over the last logged steps, in nats per token", nullable=True),
    int64("seed", "seed of initialisation and data order; -1 if unknown", at_least=-1),
    string("membership", "key of the set of documents trained on; empty if unknown"),
    rows("parameters_non_embedding < parameters", "embeddings are parameters too"),
)

TRAINING_LOG = table(
    "training_log by model step",
    "The log of pretraining a model of the ladder.",
    string("model", "name of the model"),
    int64("step", "optimizer steps done", at_least=1),
    int64("tokens", "training tokens seen", at_least=1),
    float64("loss", "mean loss since the row before, in nats per token", at_least=0),
    float64("learning_rate", "learning rate of the last step", at_least=0),
)

TOKEN_SCORES = table(
    "token_scores by model checkpoint task example input_example option",
    "Teacher-forced log-probabilities: one row per example, option and input before it (arXiv 2407.14985 Eq. 2).",
    *OF_MODEL,
    string("task", "name of the task"),
    string("example", "the example whose output is scored"),
    string("input_example", 'the example whose input comes before it: its own, or another for Mem_Δ; "": none'),
    int16("option", "index of the scored option; -1 for the reference output", at_least=-1),
    list_of(int32, "tokens", "token ids of the continuation"),
    list_of(int32, "starts", "code points into the output where each token begins; negative in the separator"),
    list_of(int32, "ends", "code points into the output just after each token"),
    list_of(float32, "log_probabilities", "log p of each token given all tokens before it, in nats"),
    int32("truncated", "tokens cut off the left end to fit the context", at_least=0),
    boolean("straddles", "a token covers both prompt and continuation"),
    rows("len(tokens) = len(log_probabilities) AND len(tokens) = len(starts) AND len(tokens) = len(ends)", "one value per token"),
    rows("len(tokens) >= 1", "an output has a token"),
    rows("coalesce(list_max(log_probabilities), 0) <= 1e-4", "a log-probability is not positive"),
    rows("coalesce(isfinite(list_min(log_probabilities)), true)", "log-probabilities are finite"),
)

GENERATIONS = table(
    "generations by model checkpoint task example",
    "What each model generates from the prompt alone.",
    *OF_MODEL,
    string("task", "name of the task"),
    string("example", "evaluated example"),
    string("text", "the continuation, cut at the first stop string, outer white space removed"),
    list_of(int32, "tokens", "generated token ids, before cutting"),
    string("stopped", "why it ended", one_of=("stop string", "end of document", "length")),
)

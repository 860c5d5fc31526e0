"""Models, how they were trained, what they generate, and how likely the expected outputs are to them."""

import pyarrow as pa

from schemas.contract import Contract, column, rows

INT_LIST = pa.list_(pa.field("element", pa.int32(), nullable=False))

_MODEL = (
    column("model", pa.string(), "name of the model in the study"),
    column("checkpoint", pa.int64(), "training step, or 0 for a model without checkpoints", at_least=0),
)

MODELS = Contract(
    name="models",
    description="One row per model and checkpoint; the weights are files next to the table.",
    columns=(
        *_MODEL,
        column("source", pa.string(), "where it is from", one_of=("pretrained here", "hub", "folder")),
        column("revision", pa.string(), "resolved commit of a hub model, else empty"),
        column("path", pa.string(), "folder with config and weights, below the root or absolute"),
        column("sha256", pa.string(), "hash of the weights file(s)"),
        column("tokenizer", pa.string(), "hash of what decides its tokens: ∞-gram counts of other tokens cannot be compared"),
        column("ends", pa.string(), "tokens that end an answer, with their ids and the files that name them"),
        column("parameters", pa.int64(), "trainable parameters in memory; tied weights count once", at_least=1),
        column("parameters_non_embedding", pa.int64(), "without input and output embeddings", at_least=0),
        column("tokens_seen", pa.int64(), "training tokens up to this checkpoint; -1 if unknown", at_least=-1),
        column("loss", pa.float64(), "mean training loss over the last logged steps, in nats per token", nullable=True),
        column("seed", pa.int64(), "seed of initialisation and data order; -1 if unknown", at_least=-1),
        column("membership", pa.string(), "key of the set of documents trained on; empty if unknown"),
    ),
    key=("model", "checkpoint"),
    rules=(rows("parameters_non_embedding < parameters", "embeddings are parameters too"),),
)

TRAINING_LOG = Contract(
    name="training_log",
    description="The log of pretraining a model of the ladder.",
    columns=(
        column("model", pa.string(), "name of the model"),
        column("step", pa.int64(), "optimizer steps done", at_least=1),
        column("tokens", pa.int64(), "training tokens seen", at_least=1),
        column("loss", pa.float64(), "mean loss since the row before, in nats per token", at_least=0),
        column("learning_rate", pa.float64(), "learning rate of the last step", at_least=0),
    ),
    key=("model", "step"),
)

TOKEN_SCORES = Contract(
    name="token_scores",
    description="Teacher-forced log-probabilities: one row per example, option and input before it (arXiv 2407.14985 Eq. 2).",
    columns=(
        *_MODEL,
        column("task", pa.string(), "name of the task"),
        column("example", pa.string(), "the example whose output is scored"),
        column("input_example", pa.string(), 'the example whose input comes before it: its own, or another for Mem_Δ; "": none'),
        column("option", pa.int16(), "index of the scored option; -1 for the reference output", at_least=-1),
        column("tokens", INT_LIST, "token ids of the continuation"),
        column("starts", INT_LIST, "code points into the output where each token begins; negative in the separator"),
        column("ends", INT_LIST, "code points into the output just after each token"),
        column(
            "log_probabilities",
            pa.list_(pa.field("element", pa.float32(), nullable=False)),
            "log p of each token given all tokens before it, in nats",
        ),
        column("truncated", pa.int32(), "tokens cut off the left end to fit the context", at_least=0),
        column("straddles", pa.bool_(), "a token covers both prompt and continuation"),
    ),
    key=("model", "checkpoint", "task", "example", "input_example", "option"),
    rules=(
        rows(
            "len(tokens) = len(log_probabilities) AND len(tokens) = len(starts) AND len(tokens) = len(ends)", "one value per token"
        ),
        rows("len(tokens) >= 1", "an output has a token"),
        rows("coalesce(list_max(log_probabilities), 0) <= 1e-4", "a log-probability is not positive"),
        rows("coalesce(isfinite(list_min(log_probabilities)), true)", "log-probabilities are finite"),
    ),
)

GENERATIONS = Contract(
    name="generations",
    description="What each model generates from the prompt alone.",
    columns=(
        *_MODEL,
        column("task", pa.string(), "name of the task"),
        column("example", pa.string(), "evaluated example"),
        column("text", pa.string(), "the continuation, cut at the first stop string, outer white space removed"),
        column("tokens", INT_LIST, "generated token ids, before cutting"),
        column("stopped", pa.string(), "why it ended", one_of=("stop string", "end of document", "length")),
    ),
    key=("model", "checkpoint", "task", "example"),
)

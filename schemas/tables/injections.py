"""What models make of held-out windows that were put into their training, and of the same windows without that."""

import pyarrow as pa

from schemas.contract import Contract, column, rows

INJECTIONS = Contract(
    name="injections",
    description="One row per training with injected windows, or its twin without them, checkpoint and window.",
    columns=(
        column("model", pa.string(), "name of the model in the study"),
        column("injection", pa.string(), "what was injected, e.g. 64 windows ×10 every 5 at 0.5; empty: the twin, nothing"),
        column("checkpoint", pa.int64(), "training steps done", at_least=1),
        column("sequence", pa.string(), "name of the window, one of the phantoms"),
        column("injected", pa.bool_(), "false: kept apart, for comparison; of a twin: drawn to be injected into others"),
        column(
            "since", pa.int64(), "steps since the last injection, -1 before the first; null of a twin", nullable=True, at_least=-1
        ),
        column("tokens", pa.int32(), "tokens of the suffix", at_least=1),
        column("hits", pa.int32(), "how many of these are the likeliest token", at_least=0),
        column("log_probability", pa.float64(), "log p of the suffix, in nats"),
    ),
    key=("model", "injection", "checkpoint", "sequence"),
    rules=(
        rows("hits <= tokens", "a hit is a token"),
        rows("isfinite(log_probability) AND log_probability <= 1e-3", "a log-probability is finite and not positive"),
        rows("(since IS NULL) = (injection = '')", "only a twin has no injection"),
    ),
)

"""What models make of held-out windows that were put into their training, and of the same windows without that."""

from schemas.contract import boolean, float64, int32, int64, rows, string, table

INJECTIONS = table(
    "injections by model injection checkpoint sequence",
    "One row per training with injected windows, or its twin without them, checkpoint and window.",
    string("model", "name of the model in the study"),
    string("injection", "what was injected, e.g. 64 windows ×10 every 5 at 0.5; empty: the twin, nothing"),
    int64("checkpoint", "training steps done", at_least=1),
    string("sequence", "name of the window, one of the phantoms"),
    boolean("injected", "false: kept apart, for comparison; of a twin: drawn to be injected into others"),
    int64("since", "steps since the last injection, -1 before the first; null of a twin", nullable=True, at_least=-1),
    int32("tokens", "tokens of the suffix", at_least=1),
    int32("hits", "how many of these are the likeliest token", at_least=0),
    float64("log_probability", "log p of the suffix, in nats"),
    rows("hits <= tokens", "a hit is a token"),
    rows("isfinite(log_probability) AND log_probability <= 1e-3", "a log-probability is finite and not positive"),
    rows("(since IS NULL) = (injection = '')", "only a twin has no injection"),
)

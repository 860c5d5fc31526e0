"""Prompt choice: every prompt that was considered with its counts, and how models do with the chosen ones."""

import pyarrow as pa

from schemas.contract import Contract, balance, column, count, reported, rows

DIRECTIONS = ("maximise", "minimise")
_LAST = "(SELECT {extremum}(mean_count) FROM prompt_candidates WHERE direction = '{direction}'{kept})"

PROMPT_CANDIDATES = Contract(
    name="prompt_candidates",
    description="One row per direction and prompt that was considered: the task's own in round 0, then those that a rewriter "
    "proposed. A part is a round.",
    columns=(
        column("task", pa.string(), "name of the task"),
        column("direction", pa.string(), "maximise: towards the text of the corpus; minimise: away from it", one_of=DIRECTIONS),
        column("round", pa.int32(), "0: the task's own prompt", at_least=0),
        column("candidate", pa.int32(), "place among the round's proposals", at_least=0),
        column("parent_round", pa.int32(), "round of the prompt it rewrites; -1 for the task's own", at_least=-1),
        column("parent_candidate", pa.int32(), "place of that prompt in its round; -1 for the task's own", at_least=-1),
        column("instruction", pa.string(), "text before everything else"),
        column("template", pa.string(), "text around the example's input, which replaces {input}"),
        column("ngrams", pa.list_(pa.string()), "the distinct 3-grams of words that are counted, in their byte order"),
        column("counts", pa.list_(pa.int64()), "occurrences of each in the corpus"),
        column("mean_count", pa.float64(), "mean of the counts: the prompt's score; null if rejected", nullable=True, at_least=0),
        column("missing", pa.int32(), "3-grams that the corpus does not contain", at_least=0),
        column("stop_word_ngrams", pa.int32(), "3-grams of stop words only, which are not counted", at_least=0),
        column("rejected", pa.string(), "why it has no score; empty if it has one"),
        column("best", pa.bool_(), "the extremum of its direction in this round and all before; the next round's parent"),
    ),
    key=("direction", "round", "candidate"),
    rules=(
        rows("(mean_count IS NULL) = (length(rejected) > 0)", "a prompt without a score has a reason"),
        rows("len(ngrams) = len(counts)", "each 3-gram has a count"),
        rows(
            "mean_count IS NULL OR abs(mean_count * len(counts) - list_sum(counts)) <= 1e-9 * (1 + list_sum(counts))",
            "the score is the mean of the counts",
        ),
        rows("missing <= len(counts)", "missing 3-grams are among those that are counted"),
        rows("(round = 0) = (parent_round = -1)", "every prompt but the task's own rewrites another"),
        rows("parent_round < round", "a parent is from an earlier round"),
        rows("NOT best OR mean_count IS NOT NULL", "a kept prompt has a score"),
    ),
    balances=(
        balance(count("prompt_candidates"), reported("proposed"), "every proposal is listed, scored or rejected"),
        *(
            balance(
                _LAST.format(extremum=extremum, direction=direction, kept=""),
                _LAST.format(extremum=extremum, direction=direction, kept=" AND best"),
                f"the prompt that is kept to {direction} is the extremum",
            )
            for direction, extremum in (("maximise", "max"), ("minimise", "min"))
        ),
    ),
)

PROMPT_SCORES = Contract(
    name="prompt_scores",
    description="How well each model does the task with its own prompt and with both extremes (arXiv 2407.14985 §7).",
    columns=(
        column("task", pa.string(), "name of the task"),
        column("direction", pa.string(), "the task's own prompt, or the extreme", one_of=("original", *DIRECTIONS)),
        column("model", pa.string(), "name of the model"),
        column("checkpoint", pa.int64(), "training step", at_least=0),
        column("statistic", pa.string(), "accuracy, exact_match, bleu, log_likelihood …, as in `metrics`"),
        column("main", pa.bool_(), "whether the results table shows this statistic"),
        column("instruction", pa.string(), "of the prompt"),
        column("template", pa.string(), "of the prompt"),
        column("mean_count", pa.float64(), "mean corpus count of the prompt's 3-grams", nullable=True, at_least=0),
        column("estimate", pa.float64(), "the score; null if there is none, with the reason in `note`", nullable=True),
        column("low", pa.float64(), "lower end of the 95 % interval", nullable=True),
        column("high", pa.float64(), "upper end of the 95 % interval", nullable=True),
        column("standard_error", pa.float64(), "as in `metrics`", nullable=True, at_least=0),
        column("examples", pa.int64(), "number of examples in the score", at_least=0),
        column("note", pa.string(), "why there is no score, or a remark; else empty"),
    ),
    key=("direction", "model", "checkpoint", "statistic"),
    rules=(
        rows("estimate IS NOT NULL OR length(note) > 0", "a missing score has a reason"),
        rows("low IS NULL OR high IS NULL OR low <= high", "an interval has its ends in order"),
    ),
)

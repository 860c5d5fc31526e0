"""Prompt choice: every prompt that was considered with its counts, and how models do with the chosen ones."""

import pyarrow as pa

from schemas.contract import balance, boolean, column, count, float64, int32, int64, reported, rows, string, table

DIRECTIONS = ("maximise", "minimise")
_LAST = "(SELECT {extremum}(mean_count) FROM prompt_candidates WHERE direction = '{direction}'{kept})"

PROMPT_CANDIDATES = table(
    "prompt_candidates by direction round candidate",
    "One row per direction and prompt that was considered: the task's own in round 0, then those that a rewriter "
    "proposed. A part is a round.",
    string("task", "name of the task"),
    string("direction", "maximise: towards the text of the corpus; minimise: away from it", one_of=DIRECTIONS),
    int32("round", "0: the task's own prompt", at_least=0),
    int32("candidate", "place among the round's proposals", at_least=0),
    int32("parent_round", "round of the prompt it rewrites; -1 for the task's own", at_least=-1),
    int32("parent_candidate", "place of that prompt in its round; -1 for the task's own", at_least=-1),
    string("instruction", "text before everything else"),
    string("template", "text around the example's input, which replaces {input}"),
    column("ngrams", pa.list_(pa.string()), "the distinct 3-grams of words that are counted, in their byte order"),
    column("counts", pa.list_(pa.int64()), "occurrences of each in the corpus"),
    float64("mean_count", "mean of the counts: the prompt's score; null if rejected", nullable=True, at_least=0),
    int32("missing", "3-grams that the corpus does not contain", at_least=0),
    int32("stop_word_ngrams", "3-grams of stop words only, which are not counted", at_least=0),
    string("rejected", "why it has no score; empty if it has one"),
    boolean("best", "the extremum of its direction in this round and all before; the next round's parent"),
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
    balance(count("prompt_candidates"), reported("proposed"), "every proposal is listed, scored or rejected"),
    *(
        balance(
            _LAST.format(extremum=extremum, direction=direction, kept=""),
            _LAST.format(extremum=extremum, direction=direction, kept=" AND best"),
            f"the prompt that is kept to {direction} is the extremum",
        )
        for direction, extremum in (("maximise", "max"), ("minimise", "min"))
    ),
)

PROMPT_SCORES = table(
    "prompt_scores by direction model checkpoint statistic",
    "How well each model does the task with its own prompt and with both extremes (arXiv 2407.14985 §7).",
    string("task", "name of the task"),
    string("direction", "the task's own prompt, or the extreme", one_of=("original", *DIRECTIONS)),
    string("model", "name of the model"),
    int64("checkpoint", "training step", at_least=0),
    string("statistic", "accuracy, exact_match, bleu, log_likelihood …, as in `metrics`"),
    boolean("main", "whether the results table shows this statistic"),
    string("instruction", "of the prompt"),
    string("template", "of the prompt"),
    float64("mean_count", "mean corpus count of the prompt's 3-grams", nullable=True, at_least=0),
    float64("estimate", "the score; null if there is none, with the reason in `note`", nullable=True),
    float64("low", "lower end of the 95 % interval", nullable=True),
    float64("high", "upper end of the 95 % interval", nullable=True),
    float64("standard_error", "as in `metrics`", nullable=True, at_least=0),
    int64("examples", "number of examples in the score", at_least=0),
    string("note", "why there is no score, or a remark; else empty"),
    rows("estimate IS NOT NULL OR length(note) > 0", "a missing score has a reason"),
    rows("low IS NULL OR high IS NULL OR low <= high", "an interval has its ends in order"),
)

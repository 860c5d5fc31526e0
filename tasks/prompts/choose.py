"""The two steps of prompt choice: a round of the search, and how the chosen prompts do on the task (docs/method.md §12).

New prompts are new questions to the corpus, so neither step is part of a study: `flows/commands/prompts.py` makes their jobs, one
after the other, and brings what counts and what rewrites. A round is a part, and the next one reads it: a search that was
interrupted goes on behind its last round, and one with more rounds begins behind the ones that are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas.tables.prompt_scores import DIRECTIONS, PROMPT_CANDIDATES, PROMPT_SCORES
from tasks.prompts.candidate import Ngrams, Prompt, Score
from tasks.prompts.optimise import Candidate, Count, Rewriter, Search, first_round, next_round
from tasks.step import Job, Stage, Step, Work
from tasks.storage.store import Part

LANGUAGE = "en"  # of the stop words; prompts are English, whatever is asked in them
NOTHING_SCORED = "no prompt of this direction could be scored"


def search_step(rewriter: Callable[[Work], Rewriter], count: Count) -> Step:
    """The search, with what rewrites and what counts. Its jobs come from `round_job`."""
    stage = Stage((PROMPT_CANDIDATES,), lambda study, inputs: [], lambda work: _run_round(work, rewriter, count))
    return Step("prompts", 1, "a round of the search for a prompt, by corpus counts", ("words", "vocabulary"), (stage,))


def round_job(
    number: int,
    task: str,
    search: Search,
    asked: Mapping[str, Any],
    labels: Mapping[str, str],
    inputs: Mapping[str, tuple[Part, ...]],
    earlier: Sequence[Part],
) -> Job:
    """One round. `asked`, `labels`, `inputs` decide what the rewriter says; round 0 asks none, and all searches share it.

    How the words are counted (`inputs`: their parts) is no part of the job, for an index and a scan give equal counts.
    """
    corpus = {name: inputs[name] for name in ("words", "vocabulary")}
    settings = {
        "original": [search.original.instruction, search.original.template],
        "stop_words": search.stop_words,
        "round": number,
    }
    if number == 0:
        return Job({"task": task, "round": "0"}, settings, corpus)
    more = {"per_round": search.per_round, **asked}
    return Job(
        {"task": task, "round": str(number), **labels}, settings | more, {**inputs, "prompt_candidates": tuple(earlier)}
    )


def _run_round(work: Work, rewriter: Callable[[Work], Rewriter], count: Count) -> None:
    settings = work.settings
    search = Search(Prompt(*settings["original"]), settings["stop_words"], LANGUAGE, settings.get("per_round", 0))
    if settings["round"] == 0:
        found = first_round(search, count)
    else:
        trace = read_trace(work.read("prompt_candidates").to_pylist())
        found = next_round(trace, settings["round"], search, rewriter(work), count)
    work.add("proposed", len(found))
    rows = [_row(work.labels["task"], c) for c in found]
    work.write("prompt_candidates", {name: [r[name] for r in rows] for name in PROMPT_CANDIDATES.schema.names})


def _row(task: str, c: Candidate) -> dict[str, Any]:
    ngrams = c.score.ngrams if c.score else Ngrams((), 0)
    return {
        "task": task,
        "direction": c.direction,
        "round": c.round,
        "candidate": c.place,
        "parent_round": c.parent[0],
        "parent_candidate": c.parent[1],
        "instruction": c.prompt.instruction,
        "template": c.prompt.template,
        "ngrams": list(ngrams.counted),
        "counts": list(c.score.counts) if c.score else [],
        "mean_count": c.score.mean if c.score else None,
        "missing": c.score.missing if c.score else 0,
        "stop_word_ngrams": ngrams.stop_words_alone,
        "rejected": c.rejected,
        "best": c.best,
    }


def read_trace(rows: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """Candidates from the rows of `prompt_candidates`, in the order of their rounds."""
    return [
        Candidate(
            r["direction"],
            r["round"],
            r["candidate"],
            (r["parent_round"], r["parent_candidate"]),
            Prompt(r["instruction"], r["template"]),
            None if r["rejected"] else Score(Ngrams(tuple(r["ngrams"]), r["stop_word_ngrams"]), tuple(r["counts"])),
            r["rejected"],
            r["best"],
        )
        for r in sorted(rows, key=lambda r: (r["round"], r["direction"], r["candidate"]))
    ]


def scores_job(task: str, chosen: Mapping[str, Candidate | None], metrics: Mapping[str, Part]) -> Job:
    """How the original and the chosen prompts do; a direction without a prompt has no part in `metrics`."""
    prompts = {
        direction: {
            "instruction": c.prompt.instruction,
            "template": c.prompt.template,
            "mean_count": c.score.mean if c.score else None,
            "metrics": metrics[direction].key,
        }
        if c
        else None
        for direction, c in chosen.items()
    }
    parts = {part.key: part for part in metrics.values()}  # an extreme may be the task's own prompt
    return Job({"task": task}, {"prompts": prompts}, {"metrics": tuple(parts.values())})


def _run_scores(work: Work) -> None:
    parts = {part.key: part for part in work.parts("metrics")}
    prompts = work.settings["prompts"]
    own = _scores(work, parts[prompts["original"]["metrics"]])
    rows = []
    for direction in ("original", *DIRECTIONS):
        prompt = prompts[direction]
        found = _scores(work, parts[prompt["metrics"]]) if prompt else own
        for row in found:
            row = {"task": work.labels["task"], "direction": direction, **row}
            if prompt:
                rows.append(row | {name: prompt[name] for name in ("instruction", "template", "mean_count")})
            else:
                nothing = dict.fromkeys(("estimate", "low", "high", "standard_error", "mean_count"))
                rows.append(row | nothing | {"instruction": "", "template": "", "examples": 0, "note": NOTHING_SCORED})
    rows.sort(key=lambda r: tuple(r[name] for name in PROMPT_SCORES.key))
    work.write("prompt_scores", {name: [r[name] for r in rows] for name in PROMPT_SCORES.schema.names})


def _scores(work: Work, part: Part) -> list[dict[str, Any]]:
    """A task's scores over all its examples, from a part of `metrics`."""
    names = (
        "measure",
        "model",
        "checkpoint",
        "statistic",
        "detail",
        "estimate",
        "low",
        "high",
        "standard_error",
        "examples",
        "note",
    )
    found = [r for r in work.read_part(part, *names).to_pylist() if r.pop("detail") == ""]
    main = {r["statistic"] for r in found if r["measure"] == "main_score"}
    return [r | {"main": r["statistic"] in main} for r in found if r.pop("measure") == "score"]


PROMPT_SCORES_STEP = Step(
    "evaluate",
    1,
    "the scores of a task under its own prompt and under both extremes",
    ("metrics",),
    (Stage((PROMPT_SCORES,), lambda study, inputs: [], _run_scores),),
)

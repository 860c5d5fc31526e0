"""The two steps of prompt choice: a round of the search, and how models do with the chosen prompts (docs/method.md §12).

New prompts are new questions to the corpus, so neither step is part of a study; `flows/commands/prompt_choice.py` plans them. A
round is a part, and the next round reads it: an interrupted search resumes after its last round, and a search with more rounds
starts after those that exist.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from schemas.tables.prompt_scores import DIRECTIONS, PROMPT_CANDIDATES, PROMPT_SCORES
from tasks.prompts.candidate import TaskPrompt
from tasks.prompts.optimise import Candidate, Count, PromptSearch, Rewrite, first_round, next_round
from tasks.prompts.rewrite import list_rewriter, read_candidates
from tasks.step import Inputs, Job, PlannedJob, Stage, Step, Work, keyed
from tasks.storage.store import Part, digest

NOTHING_SCORED = "no prompt of this direction could be scored"
COPIED = ("model", "checkpoint", "statistic", "estimate", "low", "high", "standard_error", "examples", "note")  # of `metrics`
RewriterOf = Callable[[Work], Rewrite]  # what proposes in the job of a round
Rounds = Iterator[tuple[PlannedJob, ...]]


class PromptSource(NamedTuple):
    """What proposes prompts: how a round's job makes it, for how many rounds, and everything that decides what it proposes."""

    rewriter: RewriterOf
    rounds: int
    per_round: int
    job: Job


def list_source(path: Path, original: TaskPrompt) -> PromptSource:
    """A file of prompts, all of them in one round. Raises StudyError for a file without prompts."""
    prompts = read_candidates(path, original)
    settings = {"rewriter": "list", "candidates": digest([[p.instruction, p.template] for p in prompts])}
    return PromptSource(lambda work: list_rewriter(prompts), 1, len(prompts), Job({}, settings))


def search_step(rewriter: RewriterOf, count: Count) -> Step:
    """The search, with what rewrites and what counts. `search_rounds` plans its jobs."""
    stage = Stage((PROMPT_CANDIDATES,), lambda study, inputs: [], lambda work: _run_round(work, rewriter, count))
    return Step("prompts", 1, "a round of the search for a prompt, by corpus counts", ("words", "vocabulary"), (stage,))


def search_rounds(step: Step, task: str, search: PromptSearch, source: PromptSource, corpus: Inputs) -> Rounds:
    """The jobs of the first round, then those of the first two, and so on; each job reads the parts of all before it. All searches
    share round 0, which asks no rewriter. How the words of `corpus` are counted is not part of a job, because an index and a scan
    give equal counts."""
    jobs: list[PlannedJob] = []
    original = [search.original.instruction, search.original.template]
    for number in range(source.rounds + 1):
        labels: Mapping[str, str] = {"task": task, "round": str(number)}
        settings: dict[str, Any] = {"original": original, "stop_words": search.stop_words, "round": number}
        inputs = dict(corpus)
        if number:
            earlier = tuple(part for job in jobs for part in job.parts(step.stages[0]))
            labels = {**labels, **source.job.labels}
            settings |= {"per_round": search.per_round, **source.job.settings}
            inputs |= {**source.job.inputs, PROMPT_CANDIDATES.name: earlier}
        jobs.append(keyed(step, 0, Job(labels, settings, inputs)))
        yield tuple(jobs)


def _run_round(work: Work, rewriter: RewriterOf, count: Count) -> None:
    settings = work.settings
    search = PromptSearch(TaskPrompt(*settings["original"]), settings["stop_words"], settings.get("per_round", 0))
    if settings["round"] == 0:
        candidates = first_round(search, count)
    else:
        trace = read_trace(work.read("prompt_candidates").to_pylist())
        candidates = next_round(trace, settings["round"], search, rewriter(work), count)
    work.add("proposed", len(candidates))
    rows = [{"task": work.labels["task"], **asdict(c)} for c in candidates]
    work.write("prompt_candidates", pa.Table.from_pylist(rows, PROMPT_CANDIDATES.schema))


def read_trace(rows: Sequence[Mapping[str, Any]]) -> list[Candidate]:
    """Candidates from the rows of `prompt_candidates`, in the order of their rounds."""
    ordered = sorted(rows, key=lambda r: (r["round"], r["direction"], r["candidate"]))
    return [Candidate(**{name: value for name, value in row.items() if name != "task"}) for row in ordered]


def scores_job(task: str, chosen: Mapping[str, Candidate | None], metrics: Mapping[str, Part]) -> Job:
    """How models do with the original and the chosen prompts; a direction without a prompt has no part in `metrics`."""
    made = {d: {**asdict(c.prompt), "mean_count": c.mean_count, "metrics": metrics[d].key} for d, c in chosen.items() if c}
    parts = {part.key: part for part in metrics.values()}  # an extreme may be the task's own prompt
    return Job({"task": task}, {"prompts": dict.fromkeys(chosen) | made}, {"metrics": tuple(parts.values())})


def _run_scores(work: Work) -> None:
    parts, prompts = {part.key: part for part in work.parts("metrics")}, work.settings["prompts"]
    nothing = dict.fromkeys(("estimate", "low", "high", "standard_error", "mean_count"))
    nothing |= {"instruction": "", "template": "", "examples": 0, "note": NOTHING_SCORED}
    rows = []
    for direction in ("original", *DIRECTIONS):
        prompt = prompts[direction]
        part = parts[(prompt or prompts["original"])["metrics"]]
        metrics = [r for r in work.read(part, "measure", "group", *COPIED).to_pylist() if r["group"] == ""]  # of all examples
        main = {r["statistic"] for r in metrics if r["measure"] == "main_score"}
        for row in (r for r in metrics if r["measure"] == "score"):
            about = {"task": work.labels["task"], "direction": direction, "main": row["statistic"] in main}
            rows.append(row | about | (prompt or nothing))
    rows.sort(key=lambda r: tuple(r[name] for name in PROMPT_SCORES.key))
    work.write("prompt_scores", pa.Table.from_pylist(rows, PROMPT_SCORES.schema))


ABOUT = "the scores of a task under its own prompt and under both extremes"
EVALUATE = Step("evaluate", 1, ABOUT, ("metrics",), (Stage((PROMPT_SCORES,), lambda study, inputs: [], _run_scores),))

"""`taskgram prompts`: the flow that chooses prompts by what the corpus holds, and its answer for people.

Import `prompts` after `flows.environment.prepare`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.commands.prompt_choice import choose
from flows.commands.prompt_question import PER_ROUND, ROUNDS, Choosing, Question
from flows.study_files import study_path
from flows.terminal import Terminal
from schemas import load_study
from tasks.cluster.cluster import Cluster
from tasks.storage.store import Store

ORDER = ("maximise", "original", "minimise")
SHOWN = 70  # code points of a prompt in a line


@flow(name="prompts", flow_run_name="{study}/{task_name}", persist_result=False)
def prompts(
    study: str,
    root: str,
    task_name: str,
    candidates: str = "",
    rewriter: str = "",
    rounds: int = ROUNDS,
    per_round: int = PER_ROUND,
    seed: int = 0,
    models: list[str] | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Choose the prompts with the most and the least of the corpus in them, and evaluate both.

    Args:
        study: a study file, or the name of a shipped study.
        root: folder for all results.
        task_name: the task whose prompt is chosen.
        candidates: a file of prompts; or
        rewriter: a model of the study, or a folder with one, that rewrites prompts.
        rounds: rounds of rewriting.
        per_round: rewritings in each round and direction.
        seed: of the rewriter's draws.
        models: models of the study that are evaluated; all, if none is named.
        workers: Dask workers; 0 runs everything in this process.
    """
    settings, store = load_study(study_path(study)), Store(root)
    if workers is not None:
        settings = settings.with_workers(workers)
    question = Question(settings, study, task_name, candidates, rewriter, rounds, per_round, seed, tuple(models or ()))
    cluster = Cluster.of(settings, store)
    terminal = Terminal()

    def progress(step: str) -> Callable[[int, int], None]:
        return lambda done, total: terminal.progress(step, done, total)

    choosing = Choosing(question, store, cluster, _as_task, progress, terminal.finished)
    try:
        return choose(choosing)
    finally:
        terminal.close()
        choosing.leases.close()
        cluster.close()


def _as_task(name: str, act: Callable[[], Any]) -> Any:
    """A piece of work as a Prefect task without parameters, so that Prefect neither copies nor hashes what it works on."""
    found: list[Any] = []

    @task(name=name, cache_policy=NO_CACHE, persist_result=False)
    def step() -> None:
        found.append(act())

    step()
    return found[0]


# -- for people ------------------------------------------------------------------------------------------------------
def show(answer: Mapping[str, Any]) -> str:
    """The answer as text: the prompts with their counts, then a line for each model with its score under each prompt."""
    lines = [f"{answer['task']} of {answer['study']}: {_looked_at(answer)}", ""]
    lines.append(f"{'prompt':<9} {'mean count':>12} {'3-grams':>8} {'absent':>7}  text")
    for direction in ORDER:
        lines.append(f"{direction:<9} {_prompt(answer['prompts'][direction])}")
    lines += ["", *_scores(answer)]
    if answer["examples_with_own_prompt"]:
        lines += [
            f"{answer['examples_with_own_prompt']:,} examples bring a prompt of their own: `original` is asked with it"
        ]
    origin = "from the index" if answer["read"] == "index" else "by a scan of all words, once a round"
    return "\n".join([*lines, "", f"mean count: mean occurrences of the prompt's own 3-grams in the corpus, {origin}"])


def _looked_at(answer: Mapping[str, Any]) -> str:
    """How many prompts were proposed and why some were not counted; once, where both directions saw the same."""
    said = {}
    for direction in ("maximise", "minimise"):
        reasons, count = answer["rejected"][direction], answer["proposed"][direction]
        why = ", ".join(f"{n:,} × {reason}" for reason, n in reasons.items())
        rejected = sum(reasons.values())
        said[direction] = f"{count:,} prompts proposed, {rejected:,} rejected" + (f" ({why})" if why else "")
    if said["maximise"] == said["minimise"]:
        return said["maximise"]
    return "; ".join(f"{direction}: {words}" for direction, words in said.items())


def _prompt(prompt: Mapping[str, Any] | None) -> str:
    if prompt is None:
        return f"{'-':>12} {'-':>8} {'-':>7}  no prompt could be counted"
    text = (prompt["instruction"] + prompt["template"]).rstrip().replace("\n", "\\n")
    text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    if prompt["mean_count"] is None:
        return f"{'-':>12} {'-':>8} {'-':>7}  {text}   ({prompt['not_counted']})"
    return f"{prompt['mean_count']:>12,.2f} {len(prompt['ngrams']):>8} {prompt['missing']:>7}  {text}"


def _scores(answer: Mapping[str, Any]) -> list[str]:
    main = [row for row in answer["scores"] if row["main"]]
    if not main:
        return ["the study names no model, so nothing is evaluated"]
    asked = list(dict.fromkeys((r["model"], r["checkpoint"], r["statistic"]) for r in main))
    found = {(r["model"], r["checkpoint"], r["statistic"], r["direction"]): r for r in main}
    several = len({key[:2] for key in asked}) > len({key[0] for key in asked})
    names = [f"{model}@{checkpoint}" if several else model for model, checkpoint, _ in asked]
    width = max(len("model"), *map(len, names))
    lines = [f"{'model':<{width}}  {'score':<12}" + "".join(f"{direction:>24}" for direction in ORDER)]
    for name, key in zip(names, asked, strict=True):
        cells = "".join(f"{_cell(found[*key, direction]):>24}" for direction in ORDER)
        lines.append(f"{name:<{width}}  {key[2]:<12}{cells}")
    notes = dict.fromkeys(r["note"] for r in main if r["estimate"] is None)
    return [*lines, *(f"- : {note}" for note in notes)]


def _cell(row: Mapping[str, Any]) -> str:
    if row["estimate"] is None:
        return "-"
    interval = "" if row["low"] is None or row["high"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
    return f"{row['estimate']:.3g}{interval}"

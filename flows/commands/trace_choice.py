"""`taskgram trace`: which example of a study's tasks, or which of its sequences, is meant; both are then described in full. An
example is named by its id, as task/id or by text of its input, a sequence by its name, its beginning, or as sequences/name."""

import difflib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

from flows.commands import example_trace, run_trace, sequence_trace
from flows.commands.sequence_trace import OPTIONAL
from flows.manifests import is_finished
from flows.plan import PlannedStep, lay_out
from flows.session import default_root
from flows.study import STEPS
from flows.study_files import study_path
from schemas import CONTRACTS, StudyError, load_study
from schemas.tables.sequences import SAMPLES
from tasks.step import parts_of
from tasks.storage.store import Part, Store
from tasks.text.display import one_line

LISTED = 20  # how many of several matches are listed
NEAR = 2_000  # names before and after where an unknown one would be, of which the most similar are suggested
OF_EXAMPLES, OF_SEQUENCES = ("read", "models", "query", "evidence"), ("tokens", "models", "sequences", "score_sequences")
PREFIX, BEGINNINGS = "sequences/", tuple(f"{sample}-" for sample in SAMPLES)


def trace(study: str, root: str, given: str) -> dict[str, Any]:
    """Everything about one example or one sequence. StudyError where none or several are meant, or the study has not been run."""
    settings, store = load_study(study_path(study)), Store(root)
    plan = {p.step.name: p for p in lay_out(STEPS, settings)}
    tables = {t: parts for p in plan.values() for t, parts in parts_of(p.outputs).items()}
    of_examples, of_sequences = (_are_finished(store, plan, steps) for steps in (OF_EXAMPLES, OF_SEQUENCES))
    schema, column = CONTRACTS["sequences"].schema, "sequence"
    names = store.read(tables["sequences"], schema, [column]).column(column).to_pylist() if of_sequences else []  # sorted
    examples = _inputs(store, tables, [t.name for t in settings.tasks]) if of_examples else []
    same = [f"{task}/{name}" for task, name, _ in examples if name == given]
    of_runs = _are_finished(store, plan, run_trace.STEPS)
    schema = CONTRACTS["controlled_sequences"].schema
    trained = store.read(tables["controlled_sequences"], schema, [column]).column(column).to_pylist() if of_runs else []
    if sequence := choose_sequence(trained, given, same, tuple({name.rpartition("-")[0] for name in trained})):
        finished = {t: parts for p in plan.values() if is_finished(store, p) for t, parts in parts_of(p.outputs).items()}
        return {"study": settings.name, **run_trace.describe(store, finished, sequence)}
    if sequence := choose_sequence(names, given, same):
        steps = [p for p in plan.values() if {*OPTIONAL} & p.outputs.keys() and not is_finished(store, p)]
        finished = {t: parts for t, parts in tables.items() if not any(t in p.outputs for p in steps)}
        return {"study": settings.name, **sequence_trace.describe(store, finished, sequence)}
    is_name = settings.memorization is not None and given.startswith((PREFIX, *BEGINNINGS))
    needed = of_sequences if is_name else of_examples if settings.tasks or settings.membership is None else of_runs
    if not needed:
        place = "" if root == default_root() else f" --root {root}"
        raise StudyError(f"the trace of {settings.name} is not there or not up to date. Run: taskgram run {study}{place}")
    names = names if is_name else names or trained
    if is_name or names and not examples:
        at = bisect_left(names, name := given.removeprefix(PREFIX))
        near = difflib.get_close_matches(name, names[max(0, at - NEAR) : at + NEAR], n=3)
        looks = f"names look like {', '.join(names[:: max(1, len(names) // 3)][:3])}"
        raise StudyError(f"no sequence is named {given!r}; " + (f"did you mean {' or '.join(near)}?" if near else looks))
    task, name = choose(examples, given)
    return {"study": settings.name, **example_trace.describe(store, tables, settings.task(task), name)}


def _are_finished(store: Store, plan: Mapping[str, PlannedStep], steps: Sequence[str]) -> bool:
    return all(name in plan and is_finished(store, plan[name]) for name in steps)


# -- which sequence --------------------------------------------------------------------------------------------------
def choose_sequence(
    names: Sequence[str], given: str, examples: Sequence[str] = (), beginnings: tuple[str, ...] = BEGINNINGS
) -> str:
    """The sequence of these sorted names that is meant, or nothing. StudyError if several are, or an example as well."""
    name = given.removeprefix(PREFIX)
    first = bisect_left(names, name)
    if first == len(names) or not names[first].startswith(name) or not name.startswith(beginnings):
        return ""
    if examples and given == name:
        raise StudyError(f"{given!r} names both an example and a sequence; write {examples[0]} or {PREFIX}{names[first]}")
    same = names[first : bisect_left(names, name + "\U0010ffff")]
    if names[first] == name or len(same) == 1:
        return names[first]
    more = [f"  and {len(same) - LISTED:,} more"] if len(same) > LISTED else []
    lines = [f"  {other}" for other in same[:LISTED]]
    raise StudyError("\n".join([f"{len(same):,} sequences begin with {name!r}; name one of them:", *lines, *more]))


# -- which example ---------------------------------------------------------------------------------------------------
def _inputs(store: Store, tables: Mapping[str, Sequence[Part]], tasks: Sequence[str]) -> list[tuple[str, str, str]]:
    """(task, example, input) of every evaluated example, in the order of the study."""
    columns = ("task", "example", "split", "input")
    rows = store.read(tables["examples"], CONTRACTS["examples"].schema, columns).to_pylist()
    evaluated = [(r["task"], r["example"], r["input"]) for r in rows if r["split"] == "evaluate"]
    return sorted(evaluated, key=lambda r: (tasks.index(r[0]), r[1]))


def choose(examples: Sequence[tuple[str, str, str]], given: str) -> tuple[str, str]:
    """Task and id of the one example with this id, task/id, or text in its input. StudyError that lists them if several have."""
    matches = [k for k in examples if given in (k[1], f"{k[0]}/{k[1]}")]
    if not matches:
        wanted = " ".join(given.casefold().split())
        matches = [k for k in examples if wanted and wanted in " ".join(k[2].casefold().split())]
    if len(matches) == 1:
        return matches[0][:2]
    if not matches:
        ids = ", ".join(f"{task}/{name}" for task, name, _ in examples[:3])
        where = f"no evaluated example has the id {given!r} or holds that text; the ids look like {ids}"
        raise StudyError(where if examples else "the study has no evaluated example")
    lines = [f"  {task}/{name}  {' '.join(one_line(text).split())[:60]}" for task, name, text in matches[:LISTED]]
    more = [f"  and {len(matches) - LISTED} more"] if len(matches) > LISTED else []
    raise StudyError("\n".join([f"{len(matches)} examples match {given!r}; name one of them:", *lines, *more]))

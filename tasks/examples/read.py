"""Task files become examples: those that task-grams are mined from, and those that are put to the models.

The prompts are the paper's (arXiv 2407.14985 §3 and its released scripts), zero-shot; white space at a prompt's end belongs
to the continuation, because that is how models have seen it tokenised.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas import EXAMPLE_REJECTS, EXAMPLES, Study, StudyError
from schemas.study import Task
from tasks.dataset import SourceFile
from tasks.examples import general, math, multiple_choice, qa, translation
from tasks.examples.record import Found, Reader, Refused, checked
from tasks.files import outside_file, resolve_files
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.text.split import in_evaluated_half, seeded_hash

READERS: dict[str, Reader] = {
    "planted": general.read,
    "jsonl": general.read,
    "parallel": translation.read,
    "nq_open": qa.read_nq_open,
    "opentriviaqa": qa.read_opentriviaqa,
    "mmlu": multiple_choice.read_mmlu,
    "gsm8k": math.read_gsm8k,
}
LANGUAGES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "cs": "Czech", "hu": "Hungarian",
             "it": "Italian", "pt": "Portuguese", "nl": "Dutch", "pl": "Polish", "ru": "Russian", "zh": "Chinese",
             "ja": "Japanese", "fi": "Finnish", "sv": "Swedish", "ro": "Romanian", "tr": "Turkish", "hi": "Hindi",
             "ar": "Arabic"}  # fmt: skip


def prompt_template(task: Task) -> str:
    """The task's template, or the paper's for its family."""
    if task.prompt:
        if "{input}" not in task.prompt:
            raise StudyError(f"task {task.name!r}: its prompt has no {{input}}; put it where the example's input goes")
        return task.prompt
    if task.family == "translation":
        names = [LANGUAGES.get(code, code.capitalize()) for code in task.languages] or ["Source", "Target"]
        return f"{names[0]} text: {{input}}\n{names[-1]} translation: "
    return "Question: {input}\nAnswer: "


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per task."""
    return [_plan_task(study, task, inputs) for task in study.tasks]


def _plan_task(study: Study, task: Task, inputs: Inputs) -> Job:
    split = study.splits[task.split].model_dump() if task.split else None
    settings: dict[str, Any] = {
        "reader": task.reader, "family": task.family, "languages": list(task.languages), "encoding": task.encoding,
        "prompt": prompt_template(task), "limit": task.limit, "mine_limit": task.mine_limit, "seed": study.seed,
        "split": split,
    }  # fmt: skip
    if task.reader == "planted":
        parts = tuple(p for p in inputs["planted_files"] if p.labels["kind"] == "tasks")
        if not parts:
            raise StudyError(f'task {task.name!r}: reader "planted" needs [corpus.planted]; name another reader')
        return Job({"task": task.name}, {**settings, "evaluate": [], "mine": []}, {"planted_files": parts})
    _check_encoding(task)
    if task.mine and task.split:
        raise StudyError(f"task {task.name!r}: `mine` and `split` both say what is mined; leave one of them out")
    if not task.evaluate:
        raise StudyError(f"task {task.name!r}: `evaluate` names no file")
    evaluate = _files(task.evaluate, study, task)
    mine = _files(task.mine, study, task)
    names = {"evaluate": [n for n, _ in evaluate], "mine": [n for n, _ in mine]}
    return Job({"task": task.name}, {**settings, **names}, {}, tuple(f for _, f in [*evaluate, *mine]))


def _check_encoding(task: Task) -> None:
    try:
        if "\n".encode(codecs.lookup(task.encoding).name) == b"\n":
            return
    except (LookupError, TypeError, ValueError):
        pass
    raise StudyError(f"task {task.name!r}: {task.encoding!r} is no encoding in which a line ends with one byte; "
                     "name one such as utf-8, latin-1 or cp1252, or convert the file")  # fmt: skip


def _files(patterns: tuple[str, ...], study: Study, task: Task) -> list[tuple[str, SourceFile]]:
    found = resolve_files(patterns, study.data, f"task {task.name!r}") if patterns else []
    return [(name, outside_file(path)) for name, path in found]


def run(work: Work) -> None:
    """Write examples and rejects; sums: records (one per record and split it would serve), beyond_limit."""
    work.add("records", 0)
    rejects: list[dict[str, Any]] = []
    chosen: dict[str, dict[str, tuple[int, dict[str, Any]]]] = {"evaluate": {}, "mine": {}}
    for name, path, roles in _sources(work):
        taken = len(chosen["evaluate"]) + len(chosen["mine"])
        first = ""
        for item in READERS[work.settings["reader"]](path, name, work.settings):
            for role, outcome in _assign(checked(item, work.settings["family"]), roles, work.settings):
                work.add("records")
                if isinstance(outcome, Found) and outcome.id in chosen[role]:
                    double = f"the id {outcome.id!r:.80} stands in this split already"
                    outcome = Refused(outcome.row, double, outcome.input[:200])
                if isinstance(outcome, Refused):
                    first = first or f"row {outcome.row}: {outcome.reason}"
                    rejects.append({"split": role, "source": work.labels["task"], "file": name, "row": outcome.row,
                                    "reason": outcome.reason, "excerpt": outcome.excerpt})  # fmt: skip
                else:
                    rank = seeded_hash(work.settings["seed"], "limit", work.labels["task"], outcome.id)
                    chosen[role][outcome.id] = (rank, _row(work, outcome, role))
        if len(chosen["evaluate"]) + len(chosen["mine"]) == taken:
            raise StudyError(f"{path}: no record of it is an example for reader {work.settings['reader']!r}; "
                             + (f"{first}. Mend it or set the task's `reader`" if first else "it is empty"))  # fmt: skip
    for role in ("evaluate", "mine"):
        _write(work, role, chosen[role])
    if not chosen["evaluate"]:
        raise StudyError(f"task {work.labels['task']!r}: no example is evaluated; look at its files, split and limit")
    rejects.sort(key=lambda r: (r["split"], r["file"], r["row"]))
    work.write("example_rejects", {name: [r[name] for r in rejects] for name in EXAMPLE_REJECTS.schema.names})


def _sources(work: Work) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """(name, path, splits its examples serve) of each file."""
    settings = work.settings
    if settings["reader"] == "planted":
        name = f"{work.labels['task']}.jsonl"
        path = work.folder_of(work.parts("planted_files")[0]) / name
        if not path.exists():
            raise StudyError(f"task {work.labels['task']!r}: the planted world has no such task; it has "
                             + ", ".join(sorted(p.stem for p in path.parent.glob("*.jsonl"))))  # fmt: skip
        yield name, path, ("evaluate", "mine")
        return
    both = not settings["mine"]
    count = len(settings["evaluate"])
    for name, file in zip(settings["evaluate"], work.job.files[:count], strict=True):
        yield name, Path(file.path), ("evaluate", "mine") if both else ("evaluate",)
    for name, file in zip(settings["mine"], work.job.files[count:], strict=True):
        yield name, Path(file.path), ("mine",)


def _assign(item: Found | Refused, roles: tuple[str, ...], settings: Any) -> Iterator[tuple[str, Found | Refused]]:
    """The splits one record serves: what it says itself, else what a [splits.NAME] says, else what its file is for."""
    if isinstance(item, Found) and item.split:
        roles = (item.split,)
    elif isinstance(item, Found) and settings["split"] is not None:
        evaluated = in_evaluated_half(settings["split"], {"id": item.id, **item.record})
        if isinstance(evaluated, str):
            item = Refused(item.row, evaluated, item.input[:200])
        roles = ("evaluate",) if evaluated else ("mine",)
    elif settings["split"] is not None:
        roles = roles[:1]
    yield from ((role, item) for role in roles)


def _row(work: Work, found: Found, split: str) -> dict[str, Any]:
    """One row of `examples`."""
    whole = (found.prompt or work.settings["prompt"]).replace("{input}", found.input)
    prompt = whole.rstrip()
    content = {"prompt": prompt, "separator": whole[len(prompt) :], "input": found.input, "output": found.output,
               "aliases": list(found.aliases), "options": list(found.options)}  # fmt: skip
    sha256 = hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    return {"task": work.labels["task"], "split": split, "example": found.id, "row": found.row, "group": found.group,
            **content, "answer": found.answer, "sha256": sha256}  # fmt: skip


def _write(work: Work, split: str, chosen: dict[str, tuple[int, dict[str, Any]]]) -> None:
    """Write the examples of one split: all, or as many as the limit allows, by smallest hash."""
    limit = work.settings["limit" if split == "evaluate" else "mine_limit"]
    by_hash = sorted(chosen.items(), key=lambda item: (item[1][0], item[0]))
    kept = by_hash[:limit] if limit else by_hash
    work.add("beyond_limit", len(by_hash) - len(kept))
    rows = [row for _, (_, row) in sorted(kept)]
    work.write("examples", {name: [r[name] for r in rows] for name in EXAMPLES.schema.names})


READ = Step(
    "read", version=1, about="task files as examples; what cannot be one is a reject with its reason",
    reads=("planted_files",), stages=(Stage(writes=(EXAMPLES, EXAMPLE_REJECTS), plan=plan, run=run),),
)  # fmt: skip

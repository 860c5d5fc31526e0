"""The text of docs/settings.md: every setting with its type, unit, default, an example, its meaning, and the steps that it reruns.

Which steps rerun is not written down anywhere: small studies are planned with and without the example, and the steps whose parts
get other keys are those that compute again.
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from flows.plan import downstream, lay_out, upstream
from flows.study import STEPS
from schemas import Study, StudyError
from schemas.settings.catalogue import CatalogueEntry, catalogue, quoted

NAMES = [step.name for step in STEPS]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
_FILES = {"reader": "jsonl", "evaluate": ["tasks.jsonl"], "mine": ["tasks.jsonl"], "shots": 2}
# Settings whose example needs what a small study cannot have, and settings with the same effect.
LIKE = {"models.path": "models.hub", "models.revision": "models.hub", "tokenizer.file": "tokenizer.vocabulary"}
LIKE |= {"tasks.revision": "tasks.fields", "tasks.subjects": "tasks.fields"}


HEAD = """# Settings

Every setting of a study, generated from the code by `make docs`. `taskgram init NAME --full` writes a study that shows them all,
commented out, with their defaults. An unknown or wrong setting is an error that names the nearest right one.

*Reruns* are the steps that compute again when the setting changes; `read` → is `read` and [what follows it](#what-follows-a-step).
Of these steps only the parts that depend on the setting are computed: for a setting of one task or model its own, and the sums
and measures that they enter. *none*: the setting changes no result."""
COLUMNS = "| setting | type | unit | default | example | meaning | reruns |\n|---|---|---|---|---|---|---|"


def bases() -> list[dict[str, Any]]:
    """Small studies in which every setting but those of LIKE can be tried: of files, of a sentence encoder, planted, with runs."""
    source, inject = {"name": "c", "files": ["corpus.jsonl"], "held_out": "halves"}, [{"windows": 16, "repetitions": 2}]
    files: dict[str, Any] = {"name": "s", "corpus": {"sources": [source]}, "splits": {"halves": {}, "pages": {"pattern": "(.)"}}}
    families = (("q", "qa"), ("facts", "qa"), ("c", "multiple_choice"), ("t", "translation"))
    files["tasks"] = [{"name": name, "family": family, **_FILES} for name, family in families]
    files["tasks"][-1]["languages"] = ["de", "en"]
    other_encoder = {"name": "w", "encoder": {"kind": "association", "dimensions": 64}}
    hub = {"name": "b", "hub": "a/b", "revision": COMMIT}
    files["models"] = [{"name": "a", "pretrain": {"tokens": 40_000, "inject": inject}}, hub]
    files |= {"encoder": {"model": "a/b", "revision": COMMIT}, "variants": [{"name": "v", "stop_words": "none"}, other_encoder]}
    files |= {"counting": {"index": True}, "memorization": {"sampling": [{"top_k": 40}]}}
    files |= {"cluster": {"cluster_class": "a.B", "workers": 1}}
    readers = (("qa", "jsonl"), ("multiple_choice", "mmlu"), ("qa", "pararel"), ("translation", "wmt_xml"))
    tasks = [{"name": reader, "family": family, "reader": reader, "evaluate": ["P36.jsonl"]} for family, reader in readers]
    encoder = {"kind": "sentence-transformers", "model": "a/b", "revision": "f" * 40}
    large = {"partition": "1MB", "sources": [{"name": "c", "files": ["large.jsonl"], "held_out": "halves"}]}
    other = {"corpus": large, "encoder": encoder, "tasks": tasks, "cluster": {}, "scoring": {"temperature": 1}}
    other |= {"models": files["models"][::-1]}
    tasks = [{"name": "q", "family": "qa", "reader": "planted"}, {"name": "m", "family": "math", "reader": "planted"}]
    planted = {"corpus": {"planted": {"insertions": {}}}, "placebo": {"planted": {}}, "splits": {}, "tasks": tasks}
    runs = {"membership": {"design": "examples", "folds": 4, "models": [{"name": "w"}]}, "capacity": {}}
    controlled = {"name": "s", "corpus": {"controlled": {}}, "splits": {}}
    again = {"membership": {"models": [{"name": "w", "keep": 64}]}}
    return [files, files | other, files | planted, controlled | runs, controlled | again]


@cache
def reruns() -> dict[str, tuple[str, ...]]:
    """By setting: the steps that compute again when it changes, in their order; for its example, in any of the small studies."""
    with TemporaryDirectory() as folder:
        example = {"id": "1", "input": "Which river?", "output": "Torin", "options": ["Torin", "Iska"], "answer": 0}
        for number, name in enumerate(("tasks", "questions", "train", "P36", "corpus", "large")):
            text = json.dumps(example | {"id": str(number), "text": "The river."}) + "\n"
            (Path(folder) / f"{name}.jsonl").write_text(text * (20_000 if name == "large" else 1))
        (Path(folder) / "pile").mkdir()
        (Path(folder) / "pile" / "a.jsonl.zst").write_bytes(b"")
        studies = [base | {"data": folder} for base in bases()]
        plans = [_keys(study) for study in studies]
        changed = {s.path: _changed(s, studies, plans) for s in catalogue() if s.path not in LIKE}
    return {s.path: changed[LIKE.get(s.path, s.path)] for s in catalogue()}


def _keys(study: Mapping[str, Any]) -> dict[str, set[str]]:
    plan = lay_out(STEPS, Study.model_validate(study))
    return {name: set[str]() for name in NAMES} | {p.step.name: {job.key for s in p.stages for job in s.jobs} for p in plan}


def _changed(setting: CatalogueEntry, studies: list[dict[str, Any]], plans: list[dict[str, set[str]]]) -> tuple[str, ...]:
    """Steps with other keys in any of the studies, each edited in the first of its tables where that has an effect."""
    changed, tried = set[str](), False
    for study, before in zip(studies, plans, strict=True):
        for edited in _edited(study, setting):
            with suppress(ValidationError, StudyError):
                after, tried = _keys(edited), True
                if others := {name for name in NAMES if after[name] != before[name]}:
                    changed |= others
                    break
    if not tried:
        raise AssertionError(f"{setting.path}: no small study of settings_page.py can have its example {setting.example!r}")
    return tuple(name for name in NAMES if name in changed)


def in_words(changed: Sequence[str]) -> str:
    """The steps that compute again. "`read` →" is `read` and all that follow it."""
    first = [s.name for s in STEPS if s.name in changed and not {u.name for u in upstream(s, STEPS)} & {*changed}]
    spared = downstream({*first}, STEPS) - {*changed}
    if len(changed) <= 3 or len(spared) > 8:
        return ", ".join(f"`{name}`" for name in changed) or "none"
    others = f", but not {', '.join(f'`{name}`' for name in NAMES if name in spared)}" if spared else ""
    return f"{', '.join(f'`{name}`' for name in first)} →{others}"


def page() -> str:
    again, lines = reruns(), [HEAD]
    for (table, of, many), rows in groupby(catalogue(), lambda s: (s.table, s.of, s.many)):
        name = f"`[[{table}]]`" if many else f"`[{f'{table}.NAME' if table == 'splits' else table}]`"
        about = (of.__doc__ or "").strip().split("\n\n")[0]
        lines += [f"\n## {name if table else 'At the top'}\n\n{' '.join(about.split())}\n", COLUMNS]
        for s in rows:
            default = "required" if s.required else "–" if s.default is None else f"`{quoted(s.default)}`"
            example = "–" if s.example is None else f"`{quoted(s.example)}`"
            cells = (f"`{s.name}`", s.kind, s.unit, default, example, s.meaning, in_words(again[s.path]))
            lines.append(f"| {' | '.join(cell.replace('|', '∣') for cell in cells)} |")
    lines += ["\n## What follows a step\n", "| step → | steps that follow |", "|---|---|"]
    for step in STEPS:
        follow = downstream({step.name}, STEPS) - {step.name}
        lines.append(f"| `{step.name}` | {', '.join(f'`{name}`' for name in NAMES if name in follow) or 'none'} |")
    return "\n".join(lines) + "\n"


def _edited(study: dict[str, Any], setting: CatalogueEntry) -> Iterator[dict[str, Any]]:
    """The study with the setting's example, once for each table that can have it."""
    edited = copy.deepcopy(study)
    for table in _tables(edited, setting.table.split(".") if setting.table else []):
        before = dict(table)
        table[setting.name] = setting.example
        yield edited
        table.clear()
        table.update(before)


def _tables(value: Any, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for one in value:
            yield from _tables(one, names)
    elif not names:
        yield value
    elif names[0] == "splits":
        yield from value["splits"].values()
    else:
        yield from _tables(value.setdefault(names[0], {}), names[1:])

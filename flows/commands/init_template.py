"""The study that `taskgram init` writes, commented and valid as soon as its files exist: short, or with every setting."""

import re
import textwrap
from itertools import groupby
from pathlib import Path
from typing import Any

from schemas import StudyError
from schemas.settings.catalogue import catalogue, quoted

TEMPLATE = Path(__file__).with_name("init.toml")
ALL = """\
# {name}: every setting of a study, with its default. `taskgram run {name}.toml` brings it up to date. docs/settings.md is the
# reference: types, units, and the steps that each setting reruns.
#
#   #setting = value      the default; without the # it can be changed
#   ##setting = value     an example: there is no default, or the table is used in place of another
"""
GIVEN: dict[str, Any] = {"corpus.sources.name": "my-corpus", "corpus.sources.files": ["corpus/*.jsonl"], "models.name": "small"}
GIVEN |= {"tasks.name": "questions", "tasks.family": "qa", "tasks.evaluate": ["questions.jsonl"]}
GENERATED = ("corpus.planted", "corpus.controlled", "membership", "capacity")  # tables of a study without [[corpus.sources]]
OPTIONAL = (*GENERATED, "corpus.planted.insertions", "membership.models", "splits", "variants")  # tables that a study need not have


def study_with_all_settings(name: str) -> str:
    """A study that shows every setting; valid as it is, and with the settings uncommented, which are the defaults."""
    lines, given = [ALL.format(name=name)], GIVEN | {"name": name}
    tables = {table: list(rows) for table, rows in groupby(catalogue(), lambda s: s.table)}
    for table in sorted(tables, key=lambda t: t.startswith(GENERATED)):  # stable: other tables in place of those before them
        mark = "##" if table in OPTIONAL else ""
        header = f"[[{table}]]" if tables[table][0].many else f"[{table}.pages]" if table == "splits" else f"[{table}]"
        about = " ".join((tables[table][0].of.__doc__ or "").split("\n\n")[0].split())
        instead = " In place of [[corpus.sources]]." if table in GENERATED[:2] else ""
        lines += ["", *_comment(about + instead), f"{mark}{header}"] if table else []
        for s in tables[table]:
            lines += _comment(s.meaning if s.unit in s.meaning else f"{s.meaning} ({s.unit})")
            if s.path in given:
                lines.append(f"{s.name} = {quoted(given[s.path])}")
            elif s.default is None or mark:
                lines.append(f"##{s.name} = {quoted(s.example if s.default is None else s.default)}")
            else:
                lines.append(f"#{s.name} = {quoted(s.default)}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 124, initial_indent="# ", subsequent_indent="# ")


def write_study(name: str, folder: Path, full: bool = False) -> Path:
    """Write NAME.toml into a folder, `full` with every setting. StudyError if it is not a valid name, or the file exists."""
    name = name.removesuffix(".toml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise StudyError(f"{name!r} cannot name a study: use letters, digits, dots, dashes and underscores, 64 at most")
    path = folder / f"{name}.toml"
    try:
        with path.open("x", encoding="utf-8") as out:
            out.write(study_with_all_settings(name) if full else TEMPLATE.read_text(encoding="utf-8").replace("{name}", name))
    except FileExistsError:
        raise StudyError(f"{path} exists already; choose another name, or edit it") from None
    return path

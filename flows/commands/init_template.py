"""The study that `taskgram init` writes, commented and valid as soon as its files exist: short, or with every setting."""

from __future__ import annotations

import re
import textwrap
from itertools import groupby
from pathlib import Path
from typing import Any

from schemas import StudyError
from schemas.settings.catalogue import catalogue, quoted

TEMPLATE = """\
# A study: a corpus, tasks and models. `taskgram run {name}.toml` brings it up to date; finished parts are never computed
# again. Relative paths start from this file's folder, from `data`, or from $TASKGRAM_DATA. `taskgram init NAME --full` shows
# every setting.

name = "{name}"
title = "What do my models recall, and what do they generalize?"
seed = 0

# -- the corpus the models were trained on ------------------------------------------------------------------------------
# JSON lines, plain, .gz or .zst: {{"id": "a-1", "text": "…"}}
[[corpus.sources]]
name = "my-corpus"
files = ["corpus/*.jsonl"]
# text = "text"               # field with the text
# id = "id"                   # field with the identifier; "" uses the row number
# join = ["en", "de"]         # or: fields to join into one bilingual document

# -- the tasks ----------------------------------------------------------------------------------------------------------
# reader = "jsonl" reads {{"id": "q-1", "input": "Who wrote Faust?", "output": "Goethe", "aliases": ["J. W. Goethe"]}}
[[tasks]]
name = "questions"
family = "qa"                 # qa, translation, multiple_choice or math
reader = "jsonl"              # or mmlu, triviaqa, wmt_xml, hf:NAME …: docs/tasks.md has all
evaluate = ["questions.jsonl"]
# mine = ["train.jsonl"]      # examples to mine task-grams from; default: the evaluated ones, and the report says so
orders = [1, 2, 3]            # n
gamma_default = 0.5           # pairs of n-grams are aligned above this similarity
# gamma = {{ "2" = 0.6 }}       # or one per n
# limit = 500                 # evaluate at most so many examples

# -- the models ---------------------------------------------------------------------------------------------------------
[[models]]
name = "small"
[models.pretrain]             # trained here from scratch, on the corpus
hidden = 64
layers = 3
heads = 4
tokens = 1_000_000

# [[models]]
# name = "pythia-70m"
# hub = "EleutherAI/pythia-70m"
# revision = "step143000"

# [[models]]
# name = "mine"
# path = "models/mine"        # a folder with config.json, safetensors and tokenizer.json
"""


ALL = """\
# {name}: every setting of a study, with its default. `taskgram run {name}.toml` brings it up to date. docs/settings.md is the
# reference: types, units, and the steps that each setting reruns.
#
#   #setting = value      the default; without the # it can be changed
#   ##setting = value     an example: there is no default, or the table is used in place of another
"""
GIVEN: dict[str, Any] = {
    "corpus.sources.name": "my-corpus",
    "corpus.sources.files": ["corpus/*.jsonl"],
    "tasks.name": "questions",
    "tasks.family": "qa",
    "tasks.evaluate": ["questions.jsonl"],
    "models.name": "small",
}
OPTIONAL = ("corpus.planted", "corpus.planted.insertions", "splits", "variants")  # tables that a study need not have


def study_with_all_settings(name: str) -> str:
    """A study that shows every setting; valid as it is, and with the settings uncommented, which are the defaults."""
    lines, given = [ALL.format(name=name)], GIVEN | {"name": name}
    tables = {table: list(rows) for table, rows in groupby(catalogue(), lambda s: s.table)}
    for table in sorted(tables, key=lambda t: t.startswith("corpus.planted")):  # stable: other tables in place of those before them
        mark = "##" if table in OPTIONAL else ""
        header = f"[[{table}]]" if tables[table][0].many else f"[{table}.pages]" if table == "splits" else f"[{table}]"
        about = " ".join((tables[table][0].of.__doc__ or "").split("\n\n")[0].split())
        instead = " In place of [[corpus.sources]]." if table == "corpus.planted" else ""
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
            out.write(study_with_all_settings(name) if full else TEMPLATE.format(name=name))
    except FileExistsError:
        raise StudyError(f"{path} exists already; choose another name, or edit it") from None
    return path

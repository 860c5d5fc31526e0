"""The study that `taskgram init` writes: short, commented, and valid as soon as its files exist."""

from __future__ import annotations

import re
from pathlib import Path

from schemas import StudyError

TEMPLATE = """\
# A study: a corpus, tasks and models. `taskgram run {name}.toml` brings it up to date; finished parts are never computed
# again. Relative paths start from this file's folder, from `data`, or from $TASKGRAM_DATA.

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


def write_study(name: str, folder: Path) -> Path:
    """Write NAME.toml into a folder. Raises StudyError if it is not a valid name, or the file exists."""
    name = name.removesuffix(".toml")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise StudyError(f"{name!r} cannot name a study: use letters, digits, dots, dashes and underscores, 64 at most")
    path = folder / f"{name}.toml"
    try:
        with path.open("x", encoding="utf-8") as out:
            out.write(TEMPLATE.format(name=name))
    except FileExistsError:
        raise StudyError(f"{path} exists already; choose another name, or edit it") from None
    return path

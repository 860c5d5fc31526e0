"""What proposes prompts: a list that a person wrote, or any language model that goes on with a text.

A list is a text file with a template a line, a line break in it being written \\n, or JSON lines:

    Tell me the capital of {input}.\\nIt is:
    {"prompt": "Tell me the capital of {input}.\\nIt is:", "instruction": "Answer in one word.\\n"}

A model is shown two solved rewritings and asked for a third, once for each proposal, at a temperature. It rewrites the
instruction where the task has one, else the template. What it says is junk at times: a proposal that cannot be used is
counted by its reason, and never put right.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from schemas import StudyError
from tasks.prompts.candidate import PLACEHOLDER, TaskPrompt
from tasks.text.lines import has_surrogates

Ask = Callable[
    [Sequence[str], Sequence[str]], list[str]
]  # texts, and names that decide the draws, to continuations of one line

LONGEST = 1 << 24  # bytes of a file of prompts
LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,3}[.)])\s+")
QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»", "`": "`"}
SOLVED = (
    ("Give the sum of these numbers.{}", "What do these numbers add up to?{}"),
    ("Read the text and say what it is about.{}", "In a few words, name the subject of the following text.{}"),
)


@dataclass(frozen=True)
class ListRewriter:
    """A person's candidates, all of them in the first round, whatever the prompt so far."""

    prompts: tuple[TaskPrompt, ...]

    def propose(self, parent: TaskPrompt, direction: str, round: int, count: int) -> list[TaskPrompt]:
        """The list, once."""
        return list(self.prompts) if round == 1 else []


@dataclass(frozen=True)
class ModelRewriter:
    """`count` continuations of one request. Each has draws of its own, named by direction, round and place."""

    ask: Ask

    def propose(self, parent: TaskPrompt, direction: str, round: int, count: int) -> list[TaskPrompt]:
        """What the model says, each taken for a prompt."""
        names = [f"{direction}\0{round}\0{place}" for place in range(count)]
        return [read_back(said, parent) for said in self.ask([request(parent)] * count, names)]


def request(parent: TaskPrompt) -> str:
    """What a model is asked, without the space in front of the answer."""
    text = _rewritten(parent)
    keeps = list(dict.fromkeys(PLACEHOLDER.findall(text)))
    more = f" {' and '.join(keeps)} must stay in it, as {'they are' if len(keeps) > 1 else 'it is'}." if keeps else ""
    ending = "".join(f" {name}" for name in keeps)
    solved = (
        f"Instruction: {before.replace('{}', ending)}\nRewritten: {after.replace('{}', ending)}\n\n"
        for before, after in SOLVED
    )
    head = f"Rewrite the instruction in other words, on one line, with the same meaning.{more}\n\n"
    return f"{head}{''.join(solved)}Instruction: {_on_one_line(text.strip())}\nRewritten:"


def read_back(said: str, parent: TaskPrompt) -> TaskPrompt:
    """A model's first line as a prompt: without the mark of a list item and without quotes around it."""
    line = LIST_MARK.sub("", said.strip().split("\n")[0].strip())
    if len(line) > 1 and QUOTES.get(line[0]) == line[-1]:
        line = line[1:-1]
    text = line.replace("\\n", "\n")
    return replace(parent, instruction=text) if parent.instruction.strip() else replace(parent, template=text)


def _rewritten(parent: TaskPrompt) -> str:
    return parent.instruction if parent.instruction.strip() else parent.template


def _on_one_line(text: str) -> str:
    return text.replace("\n", "\\n")


def read_candidates(path: Path, original: TaskPrompt) -> tuple[TaskPrompt, ...]:
    """The prompts of a file, in its order; the task's own instruction where a candidate names none.

    Raises StudyError that names file and row for what is no prompt, and for a file that has none.
    """
    try:
        with path.open("rb") as source:
            content = source.read(LONGEST + 1)
        lines = content.decode("utf-8-sig").split("\n")
        if len(content) > LONGEST:
            raise OSError(errno.EFBIG, f"it has more than {LONGEST:,} bytes, which are no prompts")
    except (OSError, ValueError) as error:  # ValueError: of UTF-8, or a path with a NUL
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise StudyError(f"{path}: cannot be read: {why}; name a .txt or .jsonl file of prompts") from None
    taken = _of_json if path.suffix == ".jsonl" else _of_text
    found = [
        taken(line.removesuffix("\r"), f"{path}, row {row}", original) for row, line in enumerate(lines, 1) if line.strip()
    ]
    if not found:
        raise StudyError(f"{path}: it has no prompt; write one a line, with {{input}} where the example's input goes")
    return tuple(found)


def _of_text(line: str, place: str, original: TaskPrompt) -> TaskPrompt:
    return replace(original, template=line.replace("\\n", "\n"))


def _of_json(line: str, place: str, original: TaskPrompt) -> TaskPrompt:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{place}: not JSON: {error}") from None
    known = {"prompt", "instruction"}
    if not isinstance(row, dict) or not row or set(row) - known or not all(isinstance(v, str) for v in row.values()):
        raise StudyError(f'{place}: give {{"prompt": "…", "instruction": "…"}}, or one of them, as texts')
    if any(map(has_surrogates, row.values())):
        raise StudyError(f"{place}: half of a surrogate pair, which is no character; write it whole")
    return TaskPrompt(row.get("instruction", original.instruction), row.get("prompt", original.template))

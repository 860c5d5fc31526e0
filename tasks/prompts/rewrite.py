"""What proposes prompts: a list in a file, or any language model that continues a text.

A list is a text file with one template per line, in which \\n is a line break, or JSON lines:

    Tell me the capital of {input}.\\nIt is:
    {"prompt": "Tell me the capital of {input}.\\nIt is:", "instruction": "Answer in one word.\\n"}

A model is shown two rewritings and asked for a third, once for each proposal, at a temperature. It rewrites the instruction if
the task has one, else the template. Some of its answers are junk: an unusable proposal is counted by its reason and never fixed.
"""

import errno
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from schemas import StudyError
from tasks.prompts.candidate import PLACEHOLDER, TaskPrompt
from tasks.prompts.optimise import Rewrite
from tasks.text.lines import has_surrogates

Ask = Callable[[Sequence[str], Sequence[str]], list[str]]  # texts, and names that seed the draws, to one-line continuations

LONGEST = 1 << 24  # bytes of a file of prompts
LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,3}[.)])\s+")
QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»", "`": "`"}
SOLVED = (
    ("Give the sum of these numbers.{}", "What do these numbers add up to?{}"),
    ("Read the text and say what it is about.{}", "In a few words, name the subject of the following text.{}"),
)


def list_rewriter(prompts: tuple[TaskPrompt, ...]) -> Rewrite:
    """All prompts of a list in the first round, whatever the prompt so far."""
    return lambda parent, direction, round, count: prompts if round == 1 else ()


def model_rewriter(ask: Ask) -> Rewrite:
    """`count` continuations of one request, each with its own draws, seeded by direction, round and place."""

    def propose(parent: TaskPrompt, direction: str, round: int, count: int) -> list[TaskPrompt]:
        names = [f"{direction}\0{round}\0{place}" for place in range(count)]
        return [read_back(answer, parent) for answer in ask([request(parent)] * count, names)]

    return propose


def request(parent: TaskPrompt) -> str:
    """The text for the model, without the space before the answer."""
    text = parent.instruction if parent.instruction.strip() else parent.template
    keeps = list(dict.fromkeys(PLACEHOLDER.findall(text)))
    more = f" {' and '.join(keeps)} must stay in it, as {'they are' if len(keeps) > 1 else 'it is'}." if keeps else ""
    ending = "".join(f" {name}" for name in keeps)
    pairs = [(before.replace("{}", ending), after.replace("{}", ending)) for before, after in SOLVED]
    solved = (f"Instruction: {before}\nRewritten: {after}\n\n" for before, after in pairs)
    one_line = text.strip().replace("\n", "\\n")
    head = f"Rewrite the instruction in other words, on one line, with the same meaning.{more}\n\n"
    return f"{head}{''.join(solved)}Instruction: {one_line}\nRewritten:"


def read_back(answer: str, parent: TaskPrompt) -> TaskPrompt:
    """A model's first line as a prompt, without the mark of a list item and without quotes around it."""
    line = LIST_MARK.sub("", answer.strip().split("\n")[0].strip())
    if len(line) > 1 and QUOTES.get(line[0]) == line[-1]:
        line = line[1:-1]
    text = line.replace("\\n", "\n")
    return replace(parent, instruction=text) if parent.instruction.strip() else replace(parent, template=text)


def read_candidates(path: Path, original: TaskPrompt) -> tuple[TaskPrompt, ...]:
    """The prompts of a file, in its order. StudyError, with file and row, for what is no prompt, and for a file without any."""
    try:
        with path.open("rb") as source:
            content = source.read(LONGEST + 1)
        lines = content.decode("utf-8-sig").split("\n")
        if len(content) > LONGEST:
            raise OSError(errno.EFBIG, f"it has more than {LONGEST:,} bytes, too many for a list of prompts")
    except (OSError, ValueError) as error:  # ValueError: of UTF-8, or a path with a NUL
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise StudyError(f"{path}: cannot be read: {why}; give a .txt or .jsonl file of prompts") from None
    rows = [(line.removesuffix("\r"), f"{path}, row {row}") for row, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise StudyError(f"{path}: it has no prompt; write one per line, with {{input}} in place of the example's input")
    if path.suffix == ".jsonl":
        return tuple(_of_json(line, place, original) for line, place in rows)
    return tuple(replace(original, template=line.replace("\\n", "\n")) for line, _ in rows)


def _of_json(line: str, place: str, original: TaskPrompt) -> TaskPrompt:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{place}: not JSON: {error}") from None
    named = isinstance(row, dict) and len(row) > 0 and row.keys() <= {"prompt", "instruction"}
    if not named or not all(isinstance(v, str) for v in row.values()):
        raise StudyError(f'{place}: write {{"prompt": "…", "instruction": "…"}}, or one of the two, as strings')
    if any(map(has_surrogates, row.values())):
        raise StudyError(f"{place}: half of a surrogate pair, which is not a character; write both halves")
    return TaskPrompt(row.get("instruction", original.instruction), row.get("prompt", original.template))

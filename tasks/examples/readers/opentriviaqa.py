"""OpenTriviaQA, blocks of text; `^` is the right answer, the lines after it are the choices.

#Q Which planet has the most moons?
^ Saturn
A Mars
B Saturn
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tasks.examples.record import Example, Items, NotAnExample, ReadSettings, TaskFile, examples_of, other_encoding
from tasks.text.lines import decoded, has_surrogates, lines


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one file; the choices are options where the task is multiple choice. Group: the file's name."""
    group = Path(file.name).name
    return examples_of(_blocks(file.path, settings["encoding"]), lambda row, block: _example(block, row, group, settings))


def _blocks(path: Path, encoding: str) -> Iterator[tuple[int, str | bytes, list[str] | str]]:
    """The first row, text and lines of each block, and reasons for lines before the first one."""
    block, first_row = list[str](), 0
    for row, line in lines(path):
        text = decoded(line, encoding)
        if text.startswith("#Q"):
            if block:
                yield first_row, "\n".join(block), block
            block, first_row = [text], row
        elif block:
            block.append(text)
        elif text.strip():
            yield row, line, "text before the first #Q mark"
    if block:
        yield first_row, "\n".join(block), block


def _example(block: list[str], row: int, group: str, settings: ReadSettings) -> Example:
    if any(map(has_surrogates, block)):
        raise NotAnExample(other_encoding(settings["encoding"]))
    marks = [i for i, text in enumerate(block) if text.startswith("^")]
    if len(marks) != 1:
        raise NotAnExample(f"{len(marks)} answers marked ^, not one")
    question = " ".join(" ".join(block[: marks[0]])[2:].split())
    answer = block[marks[0]][1:].strip()
    # A question may run over lines that begin with a capital letter; choices come after the answer only.
    options = tuple(t[2:].strip() for t in block[marks[0] + 1 :] if t[:1].isupper() and t[1:2] == " ")
    if not question or not answer:
        raise NotAnExample("an example without output" if question else "a question without text")
    example = Example(row, f"{group}/{row:06d}", question, answer, group)
    if settings["family"] != "multiple_choice":
        return example
    if options.count(answer) != 1 or len(options) < 2:
        raise NotAnExample(f"the answer is not exactly one of its {len(options)} choices")
    return replace(example, options=options, answer=options.index(answer))

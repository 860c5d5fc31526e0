"""Open questions.

NaturalQuestions-open, JSON lines:

    {"question": "who painted the night watch", "answer": ["Rembrandt", "Rembrandt van Rijn"]}

OpenTriviaQA, blocks of text; `^` is the right answer, the lines behind it are the choices:

    #Q Which planet has the most moons?
    ^ Saturn
    A Mars
    B Saturn
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.examples.record import Found, Refused, Settings, TaskFile, other_encoding, row_id
from tasks.text.lines import decoded, excerpt, has_surrogates, json_records, lines, text_of


def read_nq_open(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file: y is the first answer, the others are aliases."""
    for row, line, record in json_records(file.path, settings["encoding"]):
        if isinstance(record, str):
            yield Refused(row, record, excerpt(line))
            continue
        question, problem = text_of(record, "question")
        answers = record.get("answer")
        if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
            problem, answers = problem or "field 'answer' is not a list of texts", []
        kept = [a for a in answers if a.strip()]
        if not problem and not kept:
            problem = "an example without output: field 'answer' is empty"
        if problem:
            yield Refused(row, problem, excerpt(line))
        else:
            yield Found(row, row_id(file.name, row), question, kept[0], aliases=tuple(kept[1:]), record=record)


def read_opentriviaqa(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file; the choices are options where the task is multiple choice. Group: the file's name."""
    block: list[str] = []
    begun = 0
    for row, line in lines(file.path):
        text = decoded(line, settings["encoding"])
        if text.startswith("#Q"):
            if block:
                yield _trivia(block, begun, file.name, settings)
            block, begun = [text], row
        elif block:
            block.append(text)
        elif text.strip():
            yield Refused(row, "text in front of the first #Q mark", excerpt(line))
    if block:
        yield _trivia(block, begun, file.name, settings)


def _trivia(block: list[str], row: int, name: str, settings: Settings) -> Found | Refused:
    whole = "\n".join(block)
    if has_surrogates(whole):
        return Refused(row, other_encoding(settings["encoding"]), excerpt(whole))
    marks = [i for i, text in enumerate(block) if text.startswith("^")]
    if len(marks) != 1:
        return Refused(row, f"{len(marks)} answers marked ^, not one", excerpt(whole))
    question = " ".join(" ".join(block[: marks[0]])[2:].split())
    answer = block[marks[0]][1:].strip()
    # A question may run over lines that begin with a capital letter; choices stand behind the answer only.
    options = tuple(t[2:].strip() for t in block[marks[0] + 1 :] if t[:1].isupper() and t[1:2] == " ")
    if not question or not answer:
        return Refused(row, "an example without output" if question else "a question without text", excerpt(whole))
    group = Path(name).name
    if settings["family"] != "multiple_choice":
        return Found(row, f"{group}/{row:06d}", question, answer, group)
    if options.count(answer) != 1 or len(options) < 2:
        return Refused(row, f"the answer is not exactly one of its {len(options)} choices", excerpt(whole))
    return Found(row, f"{group}/{row:06d}", question, answer, group, options=options, answer=options.index(answer))

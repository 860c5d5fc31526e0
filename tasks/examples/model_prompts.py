"""What is sent to a model: instruction, solved examples, and the question in its template (u ⊕ x).

The templates are the paper's (arXiv 2407.14985 §3 and its released scripts), zero-shot unless the task sets `shots`. White
space at a prompt's end belongs to the continuation, because models have seen it tokenised with the word that follows.

    What is the capital of France?    ->    "Question: What is the capital of France?\\nAnswer:" and the separator " "
"""

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from schemas import StudyError
from schemas.settings.study_file import Task
from tasks.examples.record import LETTERS, Example
from tasks.text.split import seeded_hash

BETWEEN_SHOTS = "\n\n"
OPTIONS = "{options}"
_LANGUAGES = (
    "en English, de German, fr French, es Spanish, cs Czech, hu Hungarian, it Italian, pt Portuguese, nl Dutch, pl Polish, "
    "ru Russian, zh Chinese, ja Japanese, fi Finnish, sv Swedish, ro Romanian, tr Turkish, hi Hindi, ar Arabic"
)
LANGUAGES: dict[str, str] = dict(entry.split(" ") for entry in _LANGUAGES.split(", "))


def prompt_template(task: Task) -> str:
    lists = task.prompt_options or OPTIONS in task.prompt
    if lists and task.family != "multiple_choice":
        problem = 'only family "multiple_choice" has options to list'
        raise StudyError(f"task {task.name!r}: {problem}; leave out prompt_options and {OPTIONS}")
    if task.prompt:
        if "{input}" not in task.prompt:
            raise StudyError(f"task {task.name!r}: its prompt has no {{input}}; put it where the example's input goes")
        if lists and OPTIONS not in task.prompt:
            raise StudyError(f"task {task.name!r}: prompt_options, but its prompt has no {OPTIONS}; put it where they go")
        return task.prompt
    if task.family == "translation":
        names = [LANGUAGES.get(code, code.capitalize()) for code in task.languages] or ["Source", "Target"]
        return f"{names[0]} text: {{input}}\n{names[-1]} translation: "
    return f"Question: {{input}}\n{OPTIONS}\nAnswer: " if lists else "Question: {input}\nAnswer: "


def fill(template: str, example: Example) -> str:
    """The template with the example's input, and its options one a line: "A. Mars". Braces inside these texts stay."""
    listed = "\n".join(f"{LETTERS[i]}. {o}" for i, o in enumerate(example.options[: len(LETTERS)]))
    parts = {"input": example.input} | ({"options": listed} if example.options else {})
    return re.sub(r"\{(input|options)\}", lambda m: parts.get(m[1], m[0]), template)


class Shots:
    """The solved examples of a task: `count` of the pool by smallest hash(seed, id), in the pool's order. They are the same for all
    examples, or for all of a group. An example that is among them gets the next one instead, or one fewer if the pool has no next:
    MMLU's dev and val files share a question, and the pool has 5 for `shots = 5`."""

    def __init__(self, pool: Iterable[Example], template: str, count: int, seed: int, within_group: bool) -> None:
        self.template, self.count, self.within_group = template, count, within_group
        self.pools: dict[str, list[tuple[int, int, Example]]] = {}  # by group: (hash, position in the pool, example)
        for position, example in enumerate(pool if count else ()):
            group = example.group if within_group else ""
            self.pools.setdefault(group, []).append((seeded_hash(seed, "shots", example.id), position, example))
        for drawn in self.pools.values():
            drawn.sort(key=lambda d: d[:2])

    def before(self, example: Example) -> Sequence[Example]:
        """The shots of one example. StudyError if its pool has fewer than `count` in all."""
        if not self.count:
            return ()
        group = example.group if self.within_group else ""
        pool = self.pools.get(group, [])
        if len(pool) < self.count:
            there = f"{len(pool)} examples{f' of group {group!r}' if self.within_group else ''} to draw them from"
            raise StudyError(f"shots = {self.count}, but there are {there}; lower `shots`, or name more files in `shots_from`")
        same = (example.input, example.options)  # whatever the ids; of "Which is correct?" the options are a part
        others = (drawn[1:] for drawn in pool if (drawn[2].input, drawn[2].options) != same)
        return [shot for _, shot in sorted(islice(others, self.count), key=lambda s: s[0])]

    def prompt(self, example: Example, instruction: str) -> str:
        """All text before the output."""
        solved = (fill(shot.prompt or self.template, shot) + shot.output + BETWEEN_SHOTS for shot in self.before(example))
        head = instruction.replace("{group}", example.group.replace("_", " "))
        return head + "".join(solved) + fill(example.prompt or self.template, example)

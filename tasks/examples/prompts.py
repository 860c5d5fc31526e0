"""What is sent to a model: instruction, solved examples, and the question in its template (u ⊕ x).

The templates are the paper's (arXiv 2407.14985 §3 and its released scripts), zero-shot unless the task says `shots`; white
space at a prompt's end belongs to the continuation, because that is how models have seen it tokenised.

    What is the capital of France?    ->    "Question: What is the capital of France?\\nAnswer:" and the separator " "
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from schemas import StudyError
from schemas.settings.study_file import Task
from tasks.examples.record import LETTERS, Found
from tasks.text.split import seeded_hash

BETWEEN_SHOTS = "\n\n"
OPTIONS = "{options}"
LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "cs": "Czech",
    "hu": "Hungarian",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "pl": "Polish",
    "ru": "Russian",
    "zh": "Chinese",
    "ja": "Japanese",
    "fi": "Finnish",
    "sv": "Swedish",
    "ro": "Romanian",
    "tr": "Turkish",
    "hi": "Hindi",
    "ar": "Arabic",
}


def prompt_template(task: Task) -> str:
    """The task's template, or the paper's for its family."""
    lists = task.prompt_options or OPTIONS in task.prompt
    if lists and task.family != "multiple_choice":
        raise StudyError(
            f'task {task.name!r}: only family "multiple_choice" has options to list; leave out prompt_options and {OPTIONS}'
        )
    if task.prompt:
        if "{input}" not in task.prompt:
            raise StudyError(f"task {task.name!r}: its prompt has no {{input}}; put it where the example's input goes")
        if lists and OPTIONS not in task.prompt:
            raise StudyError(f"task {task.name!r}: prompt_options, and its prompt has no {OPTIONS}; put it where they go")
        return task.prompt
    if task.family == "translation":
        names = [LANGUAGES.get(code, code.capitalize()) for code in task.languages] or ["Source", "Target"]
        return f"{names[0]} text: {{input}}\n{names[-1]} translation: "
    return f"Question: {{input}}\n{OPTIONS}\nAnswer: " if lists else "Question: {input}\nAnswer: "


def fill(template: str, found: Found) -> str:
    """The template with the example's input, and its options one a line: "A. Mars". What these texts hold is left as it is."""
    listed = "\n".join(f"{LETTERS[i]}. {o}" for i, o in enumerate(found.options[: len(LETTERS)]))
    parts = {"input": found.input} | ({"options": listed} if found.options else {})
    return re.sub(r"\{(input|options)\}", lambda m: parts.get(m[1], m[0]), template)


class Shots:
    """The solved examples of a task: `count` of the pool by smallest hash(seed, id), in the pool's order.

    The same for all examples, or for all of a group. An example that is among them gets the next one in its place, or one
    fewer where there is no next: MMLU's dev and val files share a question, and 5 of 5 are asked for.
    """

    def __init__(self, pool: Iterable[Found], template: str, count: int, seed: int, within_group: bool) -> None:
        self.template, self.count, self.within_group = template, count, within_group
        self.pools: dict[str, list[tuple[int, int, Found]]] = {}  # by group: (hash, place in the pool, example)
        for place, found in enumerate(pool if count else ()):
            group = found.group if within_group else ""
            self.pools.setdefault(group, []).append((seeded_hash(seed, "shots", found.id), place, found))
        for drawn in self.pools.values():
            drawn.sort(key=lambda d: d[:2])

    def before(self, found: Found) -> Sequence[Found]:
        """The shots of one example. StudyError if its pool has fewer than `count` in all."""
        if not self.count:
            return ()
        group = found.group if self.within_group else ""
        pool = self.pools.get(group, [])
        if len(pool) < self.count:
            of = f" of group {group!r}" if self.within_group else ""
            raise StudyError(
                f"shots = {self.count}, and there are {len(pool)} examples{of} to draw them from; lower `shots`, or "
                "name more files in `shots_from`"
            )
        others = (drawn[1:] for drawn in pool if not _same(drawn[2], found))
        return [shot for _, shot in sorted(islice(others, self.count), key=lambda s: s[0])]

    def prompt(self, found: Found, instruction: str) -> str:
        """All that stands before the output."""
        solved = (fill(shot.prompt or self.template, shot) + shot.output + BETWEEN_SHOTS for shot in self.before(found))
        head = instruction.replace("{group}", found.group.replace("_", " "))
        return head + "".join(solved) + fill(found.prompt or self.template, found)


def _same(one: Found, other: Found) -> bool:
    """Whether two examples ask the same, whatever they are called. "Which is correct?" asks what its options say."""
    return one.input == other.input and one.options == other.options

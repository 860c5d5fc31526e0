"""JSON lines in taskgram's own format. `input` and `output` are all that a record needs, or `input`, `options` and `answer`.

    {"id": "q-7", "input": "Who wrote Faust?", "output": "Goethe", "aliases": ["J. W. Goethe"], "group": "literature"}
    {"id": "m-2", "input": "2 + 2 = ?", "options": ["3", "4"], "answer": 1, "split": "evaluate"}

With `fields` in the task, JSON lines of any other format.
"""

from tasks.examples.fields import OWN, mapped_examples
from tasks.examples.record import Items, ReadSettings, TaskFile, json_lines

SETTINGS = ("fields",)


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one file, in taskgram's format or in that of the task's `fields`."""
    return mapped_examples(json_lines(file, settings), settings.get("fields") or OWN, file.name, str(file.path))

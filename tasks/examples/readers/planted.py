"""Tasks of a planted world, which step `plant` writes as JSON lines in taskgram's own format.

{"id": "e0-3", "input": "Where does Torin live?", "output": "Velm", "split": "evaluate"}
"""

from tasks.examples.readers import jsonl
from tasks.examples.record import Items, ReadSettings, TaskFile


def read(file: TaskFile, settings: ReadSettings) -> Items:
    return jsonl.read(file, {**settings, "fields": {}})

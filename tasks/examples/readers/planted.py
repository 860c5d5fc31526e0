"""Tasks of a planted world, which step `plant` writes as JSON lines in taskgram's own format.

{"id": "e0-3", "input": "Where does Torin live?", "output": "Velm", "split": "evaluate"}
"""

from tasks.examples.readers.jsonl import read_own_format as read

__all__ = ["read"]

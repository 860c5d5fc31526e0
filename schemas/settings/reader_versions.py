"""The readers of task files, with the version of what each makes of a record.

A reader is a line here and its module tasks/examples/readers/<name>.py. Raise its version when it makes something else of the
same file: every result carries it.
"""

READER_VERSIONS = {
    "planted": 1,
    "jsonl": 2,
    "parallel": 1,
    "aligned": 1,
    "tsv": 1,
    "sgm": 1,
    "wmt_xml": 1,
    "triviaqa": 1,
    "nq_open": 2,
    "opentriviaqa": 1,
    "pararel": 1,
    "mmlu": 2,
    "arc": 2,
    "gsm8k": 1,
    "hf": 2,
}
FIELDS = ("input", "output", "aliases", "options", "answer", "labels", "id", "group")


def reader_kind(reader: str) -> str:
    """The name in READER_VERSIONS: "hf" for "hf:NAME" and "hf:NAME:CONFIG"."""
    return "hf" if reader.startswith("hf:") else reader

"""For every reader good files and one of another format: the fuzzers start from them, and the tests of all readers read them.

Readers of two files, one of inputs and one of outputs, get the same content twice, or the two of a tuple.
"""

from __future__ import annotations

import json

TESTED_ELSEWHERE = {  # readers whose files nobody writes by hand
    "hf": "tests/examples/test_hub.py: data sets that the library `datasets` has saved",
    "planted": "tests/examples/test_read.py: the format of jsonl, in a folder of step `plant`",
}
RECORD = {
    "id": "q-1",
    "lang": "en",
    "text": "The harbour of Velm.",
    "en": "A game",
    "de": "Ein Spiel",
    "question": "Who?",
    "answer": ["Goethe"],
    "input": "Who?",
    "output": "Goethe",
    "sub_label": "Flanders",
    "obj_label": "Brussels",
}
TEXT = json.dumps(RECORD).encode() + b"\n"

# each with at least one example in it; of the first, its only record
GOOD: dict[str, tuple[bytes, ...]] = {
    "jsonl": (
        b'{"input": "Who?", "output": "Goethe"}\n',
        b'{"id": 1, "input": "a?", "output": "b", "aliases": ["c"], "options": ["b", "c"], "answer": 0}\n',
    ),
    "parallel": (TEXT,),
    "aligned": (b"one\n", b"one\ntwo\n"),
    "tsv": (b"one\teins\n", b"one\teins\ntwo\tzwei\n"),
    "sgm": (b'<srcset><doc sysid=r docid="d"><seg id="1"> R&D &amp; &#65; </seg><seg id=2>two\nlines</seg></doc></srcset>\n',),
    "wmt_xml": (
        b'<?xml version="1.0"?><dataset><doc id="b"><src lang="en"><p><seg id="1">A</seg></p></src><ref lang="de" '
        b'translator="A"><p><seg id="1">B</seg></p></ref></doc></dataset>',
    ),
    "triviaqa": (b'{"Data": [{"Question": "Who?", "QuestionId": "t", "Answer": {"Value": "R", "Aliases": ["S"]}}], "V": 1e1}',),
    "nq_open": (TEXT,),
    "opentriviaqa": (b"#Q Which planet?\n^ Saturn\nA Mars\nB Saturn\n",),
    "pararel": (TEXT,),
    "mmlu": (b'"Which is\nprime?",4,6,7,9,C\n',),
    "arc": (
        b'{"id": "M", "question": {"stem": "Gas?", "choices": [{"text": "air", "label": "1"}, {"text": "b", "label": "2"}]}, '
        b'"answerKey": "1"}\n',
    ),
    "gsm8k": (b'{"question": "How many?", "answer": "2*3=<<2*3=6>>6.\\n#### 6"}\n',),
}
# files of another format: no record is an example
WRONG: dict[str, bytes | tuple[bytes, bytes]] = {
    "jsonl": b'[{"input": "i", "output": "o"}]\n',
    "parallel": b'{"src": "a", "tgt": "b"}\n',
    "aligned": (b"one\n", b"eins\nzwei\n"),
    "tsv": b"one column\n",
    "sgm": b"<p>no segments</p>\n",
    "wmt_xml": b"<srcset><doc>\n<seg id=1>R&D</seg>\n",
    "triviaqa": b'{"question": "who", "answer": ["x"]}\n',
    "nq_open": b'{"input": "i", "output": "o"}\n',
    "opentriviaqa": b'{"input": "i", "output": "o"}\n',
    "pararel": b'{"input": "i", "output": "o"}\n',
    "mmlu": b"question,answer\nWhat?,4\n",
    "arc": b'{"question": "i", "answerKey": "A"}\n',
    "gsm8k": b"question,answer\nWhat?,4\n",
}

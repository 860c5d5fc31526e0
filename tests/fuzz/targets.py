"""What the fuzzers feed: for everything a person hands in, a function of bytes that may end in a StudyError and in nothing else.

Seeds are one good file of each kind; fragments are what has broken parsers before.
"""

from __future__ import annotations

import gzip
import json
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import zstandard

from schemas import StudyError, load_study
from tasks.corpus.ingest import PLANTED, as_document
from tasks.examples.readers.by_name import READERS, TWO_FILES
from tasks.examples.record import Found, Refused, TaskFile, checked
from tasks.prompts.candidate import TaskPrompt
from tasks.prompts.rewrite import read_candidates
from tasks.text.bpe.fast_bpe import compile_tokenizer
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, read_tokenizer
from tasks.text.display import printable
from tasks.text.lines import json_records, lines
from tasks.text.words.analyzer import normalise, segment

SECONDS = 10.0  # for one case: a few kilobytes take milliseconds
LIBRARY = "hf"  # read by the library `datasets`, from folders it wrote itself
SETTINGS: dict[str, Any] = {
    "reader": "",
    "family": "qa",
    "languages": ["en", "de"],
    "encoding": "utf-8",
    "templates": {},
    "translator": "",
    "fields": {},
}
TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": {"type": "NFC"},
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": {"a": 0, "b": 1, "ab": 2},
        "merges": [["a", "b"]],
    },
}
TEXT = (
    json.dumps(
        {
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
    ).encode()
    + b"\n"
)
STUDY = b"""name = "t"
workers = 0
[[corpus.sources]]
name = "s"
files = ["*.jsonl"]
[splits.half]
pattern = "([^/]+)$"
[counting]
memory = "1GB"
windows = [2]
[[tasks]]
name = "q"
family = "qa"
evaluate = ["q.jsonl"]
gamma = {"2" = 0.6, "1" = "p90"}
[[models]]
name = "m"
[models.pretrain]
tokens = 1_000
[[variants]]
name = "v"
stop_words = "none"
"""
SEEDS: dict[str, tuple[bytes, ...]] = {
    "study": (STUDY,),
    "jsonl": (TEXT * 2, b'{"id": 1, "input": "a?", "output": "b", "aliases": ["c"], "options": ["b", "c"], "answer": 0}\n'),
    "gzip": (gzip.compress(TEXT * 3, mtime=0),),
    "zstd": (zstandard.ZstdCompressor(write_checksum=True).compress(TEXT * 3),),
    "tokenizer": (json.dumps(TOKENIZER).encode(),),
    "prompts": (b"Question: {input}\\nAnswer: \n", b'{"prompt": "Say {input}", "instruction": "Be brief."}\n'),
    "phrase": ("capital of; d’Or ½ 漢字 １２".encode(),),
    "parallel": (TEXT,),
    "aligned": (b"one\ntwo\n",),
    "tsv": (b"one\teins\ntwo\tzwei\n",),
    "sgm": (
        b'<srcset><doc sysid=r docid="d"><seg id="1"> R&D &amp; &#65; </seg><seg id=2>two\nlines</seg></doc></srcset>\n',
    ),
    "wmt_xml": (
        b'<?xml version="1.0"?><dataset><doc id="b"><src lang="en"><p><seg id="1">A</seg></p></src><ref lang="de" '
        b'translator="A"><p><seg id="1">B</seg></p></ref></doc></dataset>',
    ),
    "triviaqa": (
        b'{"Data": [{"Question": "Who?", "QuestionId": "t", "Answer": {"Value": "R", "Aliases": ["S"]}}], "V": 1e1}',
    ),
    "opentriviaqa": (b"#Q Which planet?\n^ Saturn\nA Mars\nB Saturn\n",),
    "mmlu": (b'"Which is\nprime?",4,6,7,9,C\n',),
    "arc": (
        b'{"id": "M", "question": {"stem": "Gas?", "choices": [{"text": "air", "label": "1"}, {"text": "b", "label": "2"}]}, '
        b'"answerKey": "1"}\n',
    ),
    "gsm8k": (b'{"question": "How many?", "answer": "2*3=<<2*3=6>>6.\\n#### 6"}\n',),
}
FRAGMENTS = (
    b"\x00",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\n",
    b"\n\n",
    b'"',
    b"\\ud800",
    b"\\",
    b"[" * 1200,
    b'{"a":' * 1200,
    b"a." * 40,
    b"9" * 4400,
    b"1e999",
    b"-0",
    b"NaN",
    b"null",
    b"[[]]",
    b"{}",
    b"true",
    b"<doc",
    b"<doc>",
    b"</doc>",
    b'<seg id="1">',
    b"<seg",
    b"</seg>",
    b"&#" + b"9" * 4400 + b";",
    b"&#x110000;",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"&b;",
    b'encoding="x"',
    b"#Q",
    b"\n^ ",
    b"\t",
    b"\x1b[2J",
    b"\xe2\x80\xae",
    b"'",
    b"=",
    b"nan",
    b"inf",
    b"1979-05-27T07:32:00Z",
    b'"""',
    b"../",
    b"{input}",
    b'"vocab": {}',
    b'"type": "WordLevel"',
    b'"type": "Unigram"',
    b'"type": "WordPiece"',
    b'"unk_token": "u"',
    b"4294967295",
)


@contextmanager
def limited(seconds: float = SECONDS) -> Iterator[None]:
    """Raises TimeoutError where a case does not end in time."""

    def end(number: int, frame: Any) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


_FOLDER = tempfile.TemporaryDirectory(prefix="taskgram-fuzz-")


def file_of(name: str, content: bytes) -> Path:
    """A file with this content, in a folder of this process."""
    path = Path(_FOLDER.name) / name
    path.write_bytes(content)
    return path


def study(content: bytes) -> None:
    """A study file: settings that hold, or words."""
    load_study(file_of("s.toml", content))


def jsonl(content: bytes, name: str = "c.jsonl", packing: int = 1) -> None:
    """A corpus file: every line is a document or a reject, and can be stored as UTF-8. A byte says at most `packing` bytes."""
    path, count = file_of(name, content), 0
    for row, line, record in json_records(path):
        count += 1
        settings = {
            **PLANTED,
            "id": "",
            "held_out": {"field": "id", "pattern": "(.*)", "seed": 0, "share": 0.5, "name": "h"},
        }
        found = record if isinstance(record, str) else as_document(record, row, settings, lambda row, name: False)
        json.dumps(found, ensure_ascii=False).encode()
        assert row == count
        assert len(line) <= len(content) * packing
    assert count == sum(1 for _ in lines(path))


def gzipped(content: bytes) -> None:
    """A packed corpus file."""
    jsonl(content, "c.jsonl.gz", 1_100)  # 258 bytes by a code of two bits


def zstd(content: bytes) -> None:
    """The other kind."""
    jsonl(content, "c.jsonl.zst", 1 << 15)  # a block of 128 KiB in four bytes


def reader(name: str) -> Callable[[bytes], None]:
    """The reader of a task's files: examples that can be stored, or rejects with row and reason."""

    def read(content: bytes, **settings: Any) -> None:
        both = content.partition(b"\x00\x00")
        path = file_of(f"P36.{name}", both[0])
        reference = file_of("reference", both[2] or both[0]) if name in TWO_FILES else None
        asked = SETTINGS | {"reader": name} | settings
        for item in READERS[name](TaskFile(path.name, path, reference), asked):
            found = checked(item, asked["family"])
            assert found.row >= 1
            if isinstance(found, Found):
                assert found.id
                json.dumps(
                    [found.id, found.input, found.output, found.group, found.prompt, *found.aliases], ensure_ascii=False
                ).encode()
            else:
                assert isinstance(found, Refused) and found.reason
                assert len(found.excerpt) <= 200 and len(found.reason) < 2000
                (found.reason + found.excerpt).encode()

    return read


def tokenizer(content: bytes) -> None:
    """A tokenizer.json: it encodes, or words say why not."""
    text = read_tokenizer(file_of("tokenizer.json", content))
    encode_batch(load_tokenizer(text), ["abba", "", "é\x00"])
    compile_tokenizer(text)


def prompts(content: bytes) -> None:
    """A file of prompts, in both formats."""
    for name in ("p.txt", "p.jsonl"):
        with suppress(StudyError):
            for prompt in read_candidates(file_of(name, content), TaskPrompt("", "{input}")):
                prompt.text.encode()


def phrase(content: bytes) -> None:
    """A phrase as the system hands it over: bytes that are no UTF-8 are halves of characters."""
    text = content.decode("utf-8", "surrogateescape")
    words, starts, ends = segment(text)
    assert len(words) == len(starts) == len(ends) and normalise(text) == " ".join(words)
    printable(text).encode()


TARGETS: dict[str, Callable[..., None]] = {
    "study": study,
    "jsonl": jsonl,
    "gzip": gzipped,
    "zstd": zstd,
    "tokenizer": tokenizer,
    "prompts": prompts,
    "phrase": phrase,
    **{f"read-{name}": reader(name) for name in READERS if name not in (LIBRARY, "planted")},
}


def seeds_of(target: str) -> tuple[bytes, ...]:
    """Good files for a target."""
    return SEEDS.get(target.removeprefix("read-"), SEEDS["jsonl"])


def survives(target: str, content: bytes, **settings: Any) -> None:
    """Feed one case: a StudyError says what to mend; anything else is a defect of ours."""
    with limited(), suppress(StudyError):
        TARGETS[target](content, **settings)

"""What the fuzzers feed: for everything a user provides, a function of bytes that may end in a StudyError and in nothing else.

Seeds are good files of each kind; fragments are what has broken parsers before.
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
from schemas.settings.reader_versions import READER_VERSIONS
from tasks.corpus.ingest import PLANTED, as_document
from tasks.examples.readers import reader_module, takes_two_files
from tasks.examples.record import Example, TaskFile, checked
from tasks.prompts.candidate import TaskPrompt
from tasks.prompts.rewrite import read_candidates
from tasks.text.bpe.fast_bpe import compile_tokenizer
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, read_tokenizer
from tasks.text.display import printable
from tasks.text.lines import json_records, lines
from tasks.text.words.analyzer import normalise, segment
from tests.examples.reader_files import GOOD, TESTED_ELSEWHERE, TEXT

SECONDS = 10.0  # for one case: a few kilobytes take milliseconds
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
    "gzip": (gzip.compress(TEXT * 3, mtime=0),),
    "zstd": (zstandard.ZstdCompressor(write_checksum=True).compress(TEXT * 3),),
    "tokenizer": (json.dumps(TOKENIZER).encode(),),
    "prompts": (b"Question: {input}\\nAnswer: \n", b'{"prompt": "Say {input}", "instruction": "Be brief."}\n'),
    "phrase": ("capital of; d’Or ½ 漢字 １２".encode(),),
    **GOOD,
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
    """A study file: valid settings, or a StudyError."""
    load_study(file_of("s.toml", content))


def jsonl(content: bytes, name: str = "c.jsonl", packing: int = 1) -> None:
    """A corpus file: every line is a document or a reject, and can be stored as UTF-8. A byte unpacks to at most `packing`."""
    path, count = file_of(name, content), 0
    for row, line, record in json_records(path):
        count += 1
        settings = {**PLANTED, "id": "", "held_out": {"field": "id", "pattern": "(.*)", "seed": 0, "share": 0.5, "name": "h"}}
        document = record if isinstance(record, str) else as_document(record, row, settings, lambda row, name: False)
        json.dumps(document, ensure_ascii=False).encode()
        assert row == count
        assert len(line) <= len(content) * packing
    assert count == sum(1 for _ in lines(path))


def gzipped(content: bytes) -> None:
    """A corpus file packed by gzip."""
    jsonl(content, "c.jsonl.gz", 1_100)  # 258 bytes by a code of two bits


def zstd(content: bytes) -> None:
    """A corpus file packed by zstd."""
    jsonl(content, "c.jsonl.zst", 1 << 15)  # a block of 128 KiB in four bytes


def reader(name: str) -> Callable[..., list[Example]]:
    """The reader of a task's files: examples that can be stored, or rejects with row and reason."""

    def read(content: bytes, **settings: Any) -> list[Example]:
        inputs, _, outputs = content.partition(b"\x00\x00")
        path = file_of(f"P36.{name}", inputs)
        reference = file_of("reference", outputs or inputs) if takes_two_files(name) else None
        all_settings = SETTINGS | {"reader": name} | settings
        examples = []
        for record in reader_module(name).read(TaskFile(path.name, path, reference), all_settings):
            item = checked(record, all_settings["family"])
            assert item.row >= 1
            if isinstance(item, Example):
                assert item.id
                texts = [item.id, item.input, item.output, item.group, item.prompt, *item.aliases]
                json.dumps(texts, ensure_ascii=False).encode()
                examples.append(item)
            else:
                assert item.reason and len(item.excerpt) <= 200 and len(item.reason) < 2000
                (item.reason + item.excerpt).encode()
        return examples

    return read


def tokenizer(content: bytes) -> None:
    """A tokenizer.json: it encodes, or a StudyError says why not."""
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
    """A phrase as the system passes it on: bytes that are not UTF-8 become halves of characters."""
    text = content.decode("utf-8", "surrogateescape")
    words, starts, ends = segment(text)
    assert len(words) == len(starts) == len(ends) and normalise(text) == " ".join(words)
    printable(text).encode()


TARGETS: dict[str, Callable[..., Any]] = {
    "study": study,
    "jsonl": jsonl,
    "gzip": gzipped,
    "zstd": zstd,
    "tokenizer": tokenizer,
    "prompts": prompts,
    "phrase": phrase,
    **{f"read-{name}": reader(name) for name in READER_VERSIONS if name not in TESTED_ELSEWHERE},
}


def seeds_of(target: str) -> tuple[bytes, ...]:
    """Good files for a target."""
    return SEEDS[target.removeprefix("read-")]


def survives(target: str, content: bytes, **settings: Any) -> None:
    """Feed one case: a StudyError says what to fix; anything else is a bug."""
    with limited(), suppress(StudyError):
        TARGETS[target](content, **settings)

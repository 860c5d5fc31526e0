"""What a sample of a source's files says of the rest: text, documents, words and tokens in a byte of them.

Of three files of each kind the beginning is read, of a large plain file also its middle; 1 MB of each. Where that is the whole
source, the sizes are exact but for tokens: a tokenizer that the study trains is trained on the samples instead.
"""

import json
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import zstandard

from schemas import Study
from schemas.settings.study_file import Source
from tasks.corpus.ingest import as_document, record_settings
from tasks.text.bpe.tokenizer import load_tokenizer, read_tokenizer, train
from tasks.text.words.analyzer import words_of

FILES, READ, READ_PACKED = 3, 1_000_000, 250_000  # files of a kind, and bytes of each
STEP = 4_096  # packed bytes that are unpacked at once
TOKENIZED = 1_500_000  # bytes of text that a tokenizer is trained on, and encodes


@dataclass(frozen=True)
class SourceSample:
    """Bytes of text: of the whole source, for each document, for each word, and of the sample; and its texts."""

    size: float
    document: float
    word: float
    read: int
    texts: tuple[str, ...]


def sample_of(files: Sequence[Path], source: Source, study: Study) -> SourceSample | None:
    """The sample; None where nothing can be read of it, which the step that reads the corpus will report."""
    settings, texts, whole = record_settings(source, study), list[str](), 0.0
    try:
        for _, of_kind in groupby(sorted(files, key=lambda p: p.suffix), lambda p: p.suffix):
            some, size = list(of_kind), 0
            chosen = {some[round(i * (len(some) - 1) / (FILES - 1))] for i in range(FILES)}
            stretches = [stretch for path in sorted(chosen) for stretch in _stretches(path)]
            if not stretches and any(path.stat().st_size for path in chosen):
                return None
            for lines, _ in stretches:
                texts += (more := _texts(lines, settings))
                size += sum(map(_bytes, more))
            whole += size / max(1.0, sum(taken for _, taken in stretches)) * sum(path.stat().st_size for path in some)
        read, words = sum(map(_bytes, texts)), sum(len(words_of(text)) for text in texts)
    except Exception:  # of decompression, of JSON: a plan goes on without
        return None
    return SourceSample(whole, read / len(texts), read / words, read, tuple(texts)) if words else None


def bytes_per_token(samples: Mapping[str, SourceSample], study: Study) -> dict[str, float]:
    """Bytes of text in a token of each source, by the study's tokenizer.json, else by a tokenizer of the same size that is trained
    on the samples, mixed as the sources are in the corpus. Empty where that fails."""
    whole, of = sum(sample.size for sample in samples.values()), study.tokenizer
    few = dict[str, Sequence[str]]()
    for name, sample in samples.items():  # the first texts, up to its share of the bytes and at least one
        few[name] = sample.texts[: bisect_left(list(accumulate(map(_bytes, sample.texts))), TOKENIZED * sample.size / whole) + 1]
    try:
        every = (text for texts in few.values() for text in texts)
        text = read_tokenizer(Path(study.data) / of.file) if of.file else train(every, of.vocabulary, of.end_of_document)
        tokenizer = load_tokenizer(text)
        tokens = {n: sum(len(e.ids) for e in tokenizer.encode_batch(texts, add_special_tokens=False)) for n, texts in few.items()}
        return {name: sum(map(_bytes, few[name])) / count for name, count in tokens.items()}
    except Exception:  # of a tokenizer that cannot be read: the run will report it
        return {}


def _bytes(text: str) -> int:
    return len(text.encode())


def _stretches(path: Path) -> list[tuple[list[bytes], float]]:
    """Whole lines of a file, and the bytes of the file that they take."""
    length = path.stat().st_size
    with path.open("rb") as file:
        if path.suffix not in (".gz", ".zst"):
            stretches = [file.read(READ)]
            if length > 4 * READ:
                file.seek(length // 2)
                file.readline()
                stretches.append(file.read(READ))
            whole = [s if i == 0 and length <= READ else s[: s.rfind(b"\n") + 1] for i, s in enumerate(stretches)]
            return [(s.splitlines(), float(len(s))) for s in whole if s]
        packed = file.read(READ_PACKED)
        file.seek(max(0, length - 4))
        text, used = _unpacked(packed, path.suffix)
        size = _whole_size(path.suffix, packed, file.read(4), len(text) * length / used)
    lines = text if used == length else text[: text.rfind(b"\n") + 1]
    return [(lines.splitlines(), length * len(lines) / size)] if lines else []


def _whole_size(suffix: str, packed: bytes, end: bytes, guess: float) -> float:
    """Bytes that a packed file unpacks to: as it says itself, where that is near the guess by its beginning, which packs worse."""
    if suffix == ".gz":  # of its last member, modulo 2^32 (RFC 1952 §2.3.1)
        size = int.from_bytes(end, "little")
        stated = float(size + 2**32 * max(0, round((guess - size) / 2**32)))
    else:
        stated = float(zstandard.get_frame_parameters(packed[:18]).content_size)  # of its first frame
    return stated if 0.7 * guess < stated < 1.6 * guess else guess


def _unpacked(packed: bytes, suffix: str) -> tuple[bytes, int]:
    """What the first frame of a packed file unpacks to, and the bytes it takes, as far as known: zstd gives whole blocks alone."""
    unpack: Any = zlib.decompressobj(31) if suffix == ".gz" else zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
    text, used = b"", 0
    for end in range(STEP, len(packed) + STEP, STEP):
        if more := unpack.decompress(packed[end - STEP : end]):
            text, used = text + more, min(end, len(packed))
        if unpack.eof:
            return text, min(end, len(packed)) - len(unpack.unused_data)
    return text, used


def _texts(lines: Sequence[bytes], settings: dict[str, Any]) -> list[str]:
    texts = list[str]()
    for row, line in enumerate(lines, 1):
        with suppress(ValueError):
            record = json.loads(line)
            document = as_document(record, row, settings, lambda row, name: False) if isinstance(record, dict) else ""
            texts += [document["text"]] if isinstance(document, dict) else []
    return texts

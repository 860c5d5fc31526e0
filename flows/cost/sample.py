"""What a sample of a source's files says of the rest: text, documents, words and tokens in a byte of them.

Of three files of each kind the beginning is read, of a large plain file also its middle; 1 MB of each. Where that is the whole
source, the sizes are exact but for tokens: a tokenizer that the study trains is trained on the sample instead.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from schemas import Study
from schemas.settings.study_file import Source
from tasks.corpus.ingest import as_document
from tasks.text.bpe.tokenizer import load_tokenizer, read_tokenizer, train
from tasks.text.words.analyzer import words_of

FILES, READ, READ_PACKED = 3, 1_000_000, 250_000  # files of a kind, and bytes of each
STEP = 4_096  # packed bytes that are unpacked at once
TOKENIZED = 1_000_000  # characters that a tokenizer is trained on, and encodes


@dataclass(frozen=True)
class SourceSample:
    """`text`: bytes of text in a byte of the files as they are, by the ending of their names; the others are bytes of text for
    each document, word and token. `read`: bytes of text in the sample."""

    text: Mapping[str, float]
    document: float
    word: float
    token: float
    read: int


def sample_of(files: Sequence[Path], source: Source, study: Study) -> SourceSample | None:
    """The sample; None where nothing can be read of it, which the step that reads the corpus will report."""
    split = study.splits[source.held_out] if source.held_out else None
    settings = {"text": source.text, "id": source.id, "language": source.language, "join": list(source.join)}
    settings |= {"held_out": {"name": source.held_out, **split.model_dump()} if split else None}
    texts, share = list[str](), dict[str, float]()
    try:
        for kind, of_kind in groupby(sorted(files, key=lambda p: p.suffix), lambda p: p.suffix):
            some, before = list(of_kind), sum(map(_bytes, texts))
            chosen = {some[round(i * (len(some) - 1) / (FILES - 1))] for i in range(FILES)}
            stretches = [stretch for path in sorted(chosen) for stretch in _stretches(path)]
            texts += [text for lines, _ in stretches for text in _texts(lines, settings)]
            if not stretches and any(path.stat().st_size for path in chosen):
                return None
            share[kind] = (sum(map(_bytes, texts)) - before) / max(1.0, sum(taken for _, taken in stretches))
        size, words = sum(map(_bytes, texts)), sum(len(words_of(text)) for text in texts)
        tokens = _tokens_per_byte(texts, study)
    except Exception:  # of decompression, of JSON, of a tokenizer: a plan goes on without
        return None
    if not (size and words and tokens):
        return None
    return SourceSample(share, size / len(texts), size / words, 1 / tokens, size)


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
    text, used = _unpacked(packed, path.suffix)
    lines = text if used == length else text[: text.rfind(b"\n") + 1]
    return [(lines.splitlines(), used * len(lines) / len(text))] if lines else []


def _unpacked(packed: bytes, suffix: str) -> tuple[bytes, int]:
    """What the first frame of a packed file unpacks to, and the bytes that it takes; of a frame that goes on, as far as is known:
    zstd gives no text before a block of 128 kB is whole."""
    if suffix == ".gz":
        decoder: Any = zlib.decompressobj(31)
    else:
        import zstandard

        decoder = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()
    text, used = b"", 0
    for start in range(0, len(packed), STEP):
        if more := decoder.decompress(packed[start : start + STEP]):
            text, used = text + more, min(start + STEP, len(packed))
        if decoder.eof:
            return text, min(start + STEP, len(packed)) - len(decoder.unused_data)
    return text, used


def _texts(lines: Sequence[bytes], settings: dict[str, Any]) -> list[str]:
    """Texts of the lines that are documents."""
    texts = []
    for row, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        document = as_document(record, row, settings, lambda row, name: False) if isinstance(record, dict) else ""
        texts += [document["text"]] if isinstance(document, dict) else []
    return texts


def _tokens_per_byte(texts: Sequence[str], study: Study) -> float:
    """Tokens of a byte of text: by the study's tokenizer.json, else by a tokenizer of its size that is trained on the texts."""
    few, characters = list[str](), 0
    for text in texts:
        few.append(text[: TOKENIZED - characters])
        characters += len(few[-1])
        if characters >= TOKENIZED:
            break
    file, of = study.tokenizer.file, study.tokenizer
    trained = read_tokenizer(Path(study.data) / file) if file else train(iter(few), of.vocabulary, of.end_of_document)
    encoded = load_tokenizer(trained).encode_batch(few, add_special_tokens=False)
    return sum(len(e.ids) for e in encoded) / max(1, sum(map(_bytes, few)))

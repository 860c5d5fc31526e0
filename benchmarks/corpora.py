"""Inputs of the benchmarks: texts and token streams of any size, made once from a seed and kept in a folder.

The base is the project's shared corpus if there is one, else a planted world. Longer texts repeat its documents. Longer token
streams are copies of it that exchange ids for others about as frequent: the n-grams of a copy are new, and the distribution of
ids stays the same.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from tasks.storage.store import Part

SEED = 20_241_115
PLANTED_WORDS = 600_000
TRAINED_VOCABULARY = 4_096
BYTES_A_TOKEN = 4  # of English text, about
EXCHANGED = 32  # ids of neighbouring frequency that change places
PART_TOKENS = 10_000_000
SEPARATOR = 65_535  # between documents, for peers; no id is as large

BYTE_LEVEL, BYTE_FALLBACK = "byte-level", "byte-fallback"  # kinds of tokenizers

Stream = tuple[np.ndarray, np.ndarray]  # ids (int32), offsets (int64 [documents + 1])


@dataclass(frozen=True)
class Corpora:
    """All inputs of the benchmarks. `folder`: where they are kept. `shared`: the project's data, which may be missing."""

    folder: Path
    shared: Path

    @cached_property
    def files(self) -> list[Path]:
        """The files of the shared corpus, if there is one."""
        corpus = self.shared / "corpus"
        return sorted(p for p in corpus.iterdir() if ".jsonl" in p.name) if corpus.is_dir() else []

    @property
    def source(self) -> str:
        """The base in words, for the page."""
        return "documentation, manuals and dictionaries" if self.files else "a planted world"

    def place(self, name: str) -> Path:
        base = hashlib.sha256(repr([(p.name, p.stat().st_size) for p in self.files]).encode()).hexdigest()[:8]
        folder = self.folder / (base if self.files else f"planted-{SEED}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    # -- texts ----------------------------------------------------------------------------------------------------
    def texts(self, tokens: int) -> pa.LargeStringArray:
        """Documents with about this number of model tokens."""
        import pyarrow.compute as pc

        base = self._base_texts()
        lengths = pc.binary_length(base).to_numpy().astype(np.int64)
        copies = -(-tokens * BYTES_A_TOKEN // int(lengths.sum()))
        last = int(np.searchsorted(np.cumsum(np.tile(lengths, copies)), tokens * BYTES_A_TOKEN)) + 1
        return pa.concat_arrays([base] * copies).slice(0, last) if copies > 1 else base.slice(0, last)

    def _base_texts(self) -> pa.LargeStringArray:
        path = self.place("texts.arrow")
        if not path.exists():
            texts = [t for t in self._documents() if t.strip()]
            order = np.random.default_rng(SEED).permutation(len(texts))
            table = pa.table({"text": pa.array([texts[i] for i in order], pa.large_string())})
            with _whole(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as out:
                out.write_table(table.combine_chunks())
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all().column("text").combine_chunks()

    def _documents(self) -> Iterator[str]:
        if self.files:
            from tasks.text.lines import json_records

            for path in self.files:
                yield from (r["text"] for _, _, r in json_records(path) if isinstance(r, dict) and isinstance(r.get("text"), str))
            return
        from schemas.settings.study_file import Planted
        from tasks.corpus.planted.world import World

        world = World(Planted(tokens=PLANTED_WORDS, shards=1), SEED)
        yield from (text for _, text, _ in world.texts(*world.shard(0)))

    def tokenizer(self, kind: str = BYTE_LEVEL) -> str:
        """The text of a tokenizer.json: Pythia's if there is one and `kind` is BYTE_LEVEL, else a BPE trained on the base."""
        given = self.shared / "tokenizers" / "pythia.json"
        if given.is_file() and kind == BYTE_LEVEL:
            return given.read_text(encoding="utf-8")
        path = self.place("tokenizer.json" if kind == BYTE_LEVEL else f"{kind}.json")
        if not path.exists():
            from tasks.text.bpe.tokenizer import train

            learn = _train_byte_fallback if kind == BYTE_FALLBACK else train
            text = learn(self._base_texts().slice(0, 20_000).to_pylist(), TRAINED_VOCABULARY, "<|endoftext|>")
            with _whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        return path.read_text(encoding="utf-8")

    # -- token streams --------------------------------------------------------------------------------------------
    def tokens(self, count: int) -> Stream:
        """Exactly this number of tokens; ids are below 65,535."""

        def made() -> Stream:
            ids, offsets = self._stream("tokens.npz", self._base_tokens)
            if count > len(ids):
                ids, offsets = _copies(ids, offsets, -(-count // len(ids)))
            return ids[:count], np.append(offsets[: int(np.searchsorted(offsets, count))], count)

        return self._stream(f"tokens-{count}.npz", made)

    def _base_tokens(self) -> Stream:
        from tasks.text.bpe.fast_bpe import compile_tokenizer

        ids, offsets = compile_tokenizer(self.tokenizer()).encode(self._base_texts())
        return ids, np.unique(np.append(offsets[:-1], len(ids)))  # documents without a token are left out

    def _stream(self, name: str, make: Callable[[], Stream]) -> Stream:
        """A stream that is kept in a file."""
        path = self.place(name)
        if not path.exists():
            with _whole(path) as temporary:
                ids, offsets = make()
                np.savez(temporary, ids=ids, offsets=offsets)
        with np.load(path) as arrays:
            return arrays["ids"], arrays["offsets"]

    # -- as tables ------------------------------------------------------------------------------------------------
    def words_parts(self, count: int) -> tuple[str, dict[str, tuple[Part, ...]]]:
        """A root with the token stream as parts of `words` and `vocabulary`: the root, and its tables."""
        root = self.place(f"words-{count}")
        number = -(-count // PART_TOKENS)
        labels = [{"source": "bench", "file": f"{i:04d}"} for i in range(number)]
        tables = {t: tuple(Part(t, f"{i:04d}", label) for i, label in enumerate(labels)) for t in ("words", "vocabulary")}
        if not root.exists():
            ids, offsets = self.tokens(count)
            cuts = np.searchsorted(offsets, np.arange(number + 1) * count // number)
            with _whole(root) as temporary:
                for words, vocabulary, low, high in zip(*tables.values(), cuts, cuts[1:], strict=False):
                    piece = offsets[low : high + 1]
                    _write_words(str(temporary), words, vocabulary, ids[piece[0] : piece[-1]], piece - piece[0])
        return str(root), {**tables, "tokens": (), "tokenizer": ()}

    def documents_parts(self, tokens: int, number: int) -> tuple[str, dict[str, tuple[Part, ...]]]:
        """A root with texts of about this number of tokens, as `number` parts of `documents`."""
        from schemas import CONTRACTS
        from tasks.storage.store import Store

        root = self.place(f"documents-{tokens}-{number}")
        parts = tuple(Part("documents", f"{i:04d}", {"source": "bench", "file": f"{i:04d}"}) for i in range(number))
        if not root.exists():
            texts = self.texts(tokens)
            with _whole(root) as temporary:
                store, contract = Store(str(temporary)), CONTRACTS["documents"]
                for i, part in enumerate(parts):
                    low, high = i * len(texts) // number, (i + 1) * len(texts) // number
                    size, kind = high - low, contract.schema.field("text").type
                    columns = {"document": range(size), "id": [f"d{i}" for i in range(size)], "source": ["bench"] * size}
                    columns |= {"language": [""] * size, "text": texts.slice(low, size).cast(kind), "row": range(1, size + 1)}
                    with store.writing({"documents": contract}, part.key, {"sums": {}}) as writer:
                        writer.write("documents", pa.table(columns, schema=contract.schema))
        return str(root), {"documents": parts}


def _train_byte_fallback(texts: Sequence[str], vocabulary: int, end_of_document: str) -> str:
    """A BPE of characters and of bytes for all others, as Llama 2 and Mistral have it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # while it is trained
    names = ["<unk>", end_of_document, *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=names, show_progress=False, limit_alphabet=1_000)
    tokenizer.train_from_iterator(texts, trainer=trainer)
    tokenizer.pre_tokenizer = None
    return json.dumps(json.loads(tokenizer.to_str()) | {"added_tokens": json.loads(tokenizer.to_str())["added_tokens"][:2]})


def _write_words(root: str, words: Part, vocabulary: Part, ids: np.ndarray, offsets: np.ndarray) -> None:
    """One part of each; an id is the position among the sorted words of its part."""
    from schemas import CONTRACTS
    from tasks.storage.store import Store

    distinct, ids = np.unique(ids, return_inverse=True)
    ids = ids.astype(np.int32)
    document = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    holding = np.bincount(np.unique(document * len(distinct) + ids) % len(distinct), minlength=len(distinct))
    kind = CONTRACTS["words"].schema.field("ids").type
    contracts = {t: CONTRACTS[t] for t in ("words", "vocabulary")}
    with Store(root).writing(contracts, words.key, {"sums": {}}) as writer:
        for low in range(0, len(offsets) - 1, 65_536):
            piece = offsets[low : low + 65_537]
            lists = pa.ListArray.from_arrays(pa.array(piece - piece[0], pa.int32()), pa.array(ids[piece[0] : piece[-1]]), kind)
            writer.write("words", pa.table({"document": np.arange(low, low + len(lists)), "ids": lists}))
        columns = {"id": pa.array(np.arange(len(distinct), dtype=np.int32)), "word": [f"w{i:05d}" for i in distinct]}
        columns |= {"occurrences": np.bincount(ids, minlength=len(distinct)), "documents": holding}
        writer.write("vocabulary", pa.table(columns))


def exchanged(by_frequency: np.ndarray, copy: int) -> np.ndarray:
    """The ids, most frequent first, each exchanged for one about as frequent: another exchange for each copy."""
    draws = np.random.default_rng(SEED + copy).random(len(by_frequency))
    return by_frequency[np.lexsort((draws, np.arange(len(by_frequency)) // EXCHANGED))]


def _copies(ids: np.ndarray, offsets: np.ndarray, copies: int) -> Stream:
    """The stream, followed by copies of it with other ids."""
    by_frequency = np.argsort(-np.bincount(ids), kind="stable")
    pieces = [ids]
    for copy in range(1, copies):
        renamed = np.empty(len(by_frequency), np.int32)
        renamed[by_frequency] = exchanged(by_frequency, copy)
        pieces.append(renamed[ids])
    every = [offsets, *(offsets[1:] + copy * len(ids) for copy in range(1, copies))]
    return np.concatenate(pieces), np.concatenate(every)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A file or folder that appears, by rename, when the block ends without an error."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.unlink(missing_ok=True)


# -- questions ------------------------------------------------------------------------------------------------------------
def places(stream: Stream, count: int, n: int, seed: int) -> np.ndarray:
    """Positions (int64) at which n ids of one document begin, drawn at random."""
    ids, offsets = stream
    random, starts = np.random.default_rng(SEED + seed), np.empty(0, np.int64)
    while len(starts) < count:
        at = random.integers(0, max(1, len(ids) - n), 2 * count + 16)
        end = offsets[np.searchsorted(offsets, at, side="right")]
        starts = np.concatenate([starts, at[at + n <= end]])
    return starts[:count]


def ngrams(stream: Stream, count: int, n: int) -> np.ndarray:
    """Queries (int32 [count, n]); the last id of every other one is random, so that many do not occur."""
    queries = stream[0][places(stream, count, n, n)[:, None] + np.arange(n)]
    queries[1::2, -1] = np.random.default_rng(SEED).choice(stream[0], len(queries[1::2]))
    return queries


def pairs(stream: Stream, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct n-grams of n = 1..5 (ids, offsets), and pairs of them (int64 [count, 2]): of two on each side, all four."""
    ids, offsets = stream
    random, examples, longest = np.random.default_rng(SEED), -(-count // 4), 5
    first = places(stream, examples, longest, 1)
    document = np.searchsorted(offsets, first, side="right") - 1
    low, room = offsets[document], offsets[document + 1] - offsets[document] - longest
    at = low[:, None] + (random.random((examples, 4)) * (room[:, None] + 1)).astype(np.int64)
    length = random.choice(np.arange(1, longest + 1), (examples, 4), p=[0.24, 0.22, 0.18, 0.18, 0.18])
    grams = ids[at.ravel()[:, None] + np.arange(longest)]
    grams[np.arange(longest)[None, :] >= length.ravel()[:, None]] = -1
    distinct, number = np.unique(np.ascontiguousarray(grams), axis=0, return_inverse=True)
    number = number.reshape(examples, 4)
    ends = number[:, [[0, 2], [0, 3], [1, 2], [1, 3]]].reshape(-1, 2)[:count]
    lengths = (distinct >= 0).sum(axis=1)
    return distinct[distinct >= 0].astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), ends

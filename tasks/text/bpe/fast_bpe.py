"""Texts to token ids: the ids of the `tokenizers` library, some ten times faster.

Most byte-level BPE tokenizers (GPT-2, Pythia, RoBERTa, Llama 3, Qwen 2, …) are covered. Any other tokenizer.json is run by the
library itself, and `Tokeniser.why` gives the reason. Either way the ids are those of `tokenizer.load_tokenizer`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

from tasks.text.bpe.code_points import byte_letters, classes_of, may_change_under_nfc
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer

if TYPE_CHECKING:
    from tasks.text.bpe.bpe_kernels import Cache, Rules

Texts: TypeAlias = pa.StringArray | pa.LargeStringArray | pa.ChunkedArray

_BYTES_AT_ONCE = 1 << 24
_TEXTS_AT_ONCE = 512  # of the library, which holds much more than the ids
_NODES = 1 << 14  # of a trie of added tokens: a kilobyte each
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CL100K = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}NUMBERS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PROBE = (  # what a library of another version might cut in another way
    "It's HE'LL don'T ſ'ſ 1234567 ½ ٣٤ x²\t\t y\n\n \r\n  z \u00a0\u3000 ..!?\n\n/ größer 漢字 \U0001f468\u200d\U0001f469 e\u0301 ",
    "  \n a",
    "   ",
    "\u0085a \u2028b",
    "<|endoftext|>    <|end|>",
    "\x00\x7f\x1b[0m",
    "a" * 200 + " " * 100,
    "",
)


class _NotCoveredError(Exception):
    """This part of a pipeline is left to the library."""


@dataclass(frozen=True)
class Tokeniser:
    """A tokenizer.json, compiled; made by `compile_tokenizer`."""

    library: Any  # tokenizers.Tokenizer
    why: str  # why the library is used; "" if it is not
    normalises: bool
    rules: Rules | None
    cache: Cache | None

    @property
    def fast(self) -> bool:
        """Whether the kernels do the work."""
        return self.rules is not None

    def encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """Ids (int32 [tokens]) of all texts, one after the other, and where each text's begin (int64 [texts + 1]).

        ValueError if a text is null, TypeError if they are no texts.
        """
        ids: list[np.ndarray] = [np.empty(0, np.int32)]
        counts: list[np.ndarray] = [np.zeros(1, np.int64)]
        for piece in _pieces(texts):
            piece_ids, starts = self._encode(piece) if self.rules is not None else self._encode_by_library(piece)
            ids.append(piece_ids)
            counts.append(np.diff(starts))
        return ids[1] if len(ids) == 2 else np.concatenate(ids), np.cumsum(np.concatenate(counts))

    def token_offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Code points where each token of a text begins and ends, int32 [tokens] each, as the library says."""
        spans = np.array(self.library.encode(text, add_special_tokens=False).offsets, np.int32).reshape(-1, 2)
        return spans[:, 0], spans[:, 1]

    def _encode_by_library(self, texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
        """The same for one array, by the library."""
        lists = []
        for begin in range(0, len(texts), _TEXTS_AT_ONCE):
            lists += encode_batch(self.library, texts.slice(begin, _TEXTS_AT_ONCE).to_pylist())
        starts = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return np.fromiter((i for ids in lists for i in ids), np.int32, int(starts[-1])), starts

    def _encode(self, texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
        """The same by the kernels.

        Texts that normalising changes are normalised before; of those, the ones that hold an added token that is sought
        before that are left to the library.
        """
        from tasks.text.bpe.added_kernels import holds_added
        from tasks.text.bpe.bpe_kernels import encode, room_for
        from tasks.text.bpe.pretoken_kernels import any_flagged

        assert self.rules is not None
        left: list[int] = []
        data, offsets = _bytes_of(texts)
        if self.normalises:
            rows = np.flatnonzero(any_flagged(data, offsets, may_change_under_nfc()))
            raw = holds_added(data, offsets, self.rules.raw, self.rules.raw_ids) if len(rows) else rows
            changed: dict[int, str] = {}
            for row, text in zip(rows.tolist(), texts.take(pa.array(rows)).to_pylist(), strict=True):
                normalised = "" if raw[row] else self.library.normalizer.normalize_str(text)
                if raw[row]:
                    left.append(row)
                if normalised != text:
                    changed[row] = normalised
            if changed:
                everything: list[Any] = texts.to_pylist()
                for row, text in changed.items():
                    everything[row] = text
                data, offsets = _bytes_of(pa.array(everything, pa.large_string()))
        room = room_for(int(np.diff(offsets).max(initial=0)) + 1 if self.rules.prefix else 0)
        out = np.empty(int(offsets[-1] - offsets[0]) * (2 if self.rules.prefix else 1), np.int32)
        starts = np.empty(len(offsets), np.int64)
        count = encode(data, offsets, self.rules, self.cache, room, out, starts)
        if not left:
            return out[:count].copy(), starts
        pieces = np.split(out[:count], starts[1:-1])
        for row in left:
            pieces[row] = self._encode_by_library(texts.slice(row, 1))[0]
        return np.concatenate(pieces), np.cumsum([0, *map(len, pieces)], dtype=np.int64)


@lru_cache(maxsize=4)
def compile_tokenizer(json_text: str) -> Tokeniser:
    """Compile the text of a tokenizer.json. StudyError if it is none."""
    library = load_tokenizer(json_text)
    parsed = json.loads(library.to_str())
    try:
        rules, vocabulary = _rules(library, parsed)
    except _NotCoveredError as reason:
        return Tokeniser(library, str(reason), False, None, None)
    normalises = library.normalizer is not None
    compiled = Tokeniser(library, "", normalises, rules, _cache(vocabulary if parsed["model"]["ignore_merges"] else {}))
    probe = pa.array([*_PROBE, *(f"x {t['content']}{t['content']} y" for t in parsed["added_tokens"][-8:])], pa.large_string())
    library_ids, compiled_ids = compiled._encode_by_library(probe), compiled.encode(probe)
    if not all(np.array_equal(a, b) for a, b in zip(library_ids, compiled_ids, strict=True)):
        return Tokeniser(library, "this version of tokenizers gives a probe text other ids", False, None, None)
    return compiled


# -- texts ------------------------------------------------------------------------------------------------------------
def _pieces(texts: Texts) -> Iterator[pa.LargeStringArray]:
    """The texts in arrays of some megabytes."""
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
            raise TypeError(f"texts are wanted, not {chunk.type}")
        if chunk.null_count:
            raise ValueError("a text is null: write an empty one, or leave it out")
        offsets = _bytes_of(chunk)[1]
        begin = 0
        while begin < len(chunk):
            end = int(np.searchsorted(offsets, offsets[begin] + _BYTES_AT_ONCE, "right")) - 1
            end = min(max(end, begin + 1), len(chunk))
            yield chunk.slice(begin, end - begin)
            begin = end


def _bytes_of(texts: pa.StringArray | pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """The texts' UTF-8, and where each begins in it (int64 [texts + 1]); nothing is copied but the offsets."""
    _, offsets, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    if offsets is None or len(texts) == 0:
        return _read_only(np.empty(0, np.uint8)), np.zeros(1, np.int64)
    at = np.frombuffer(offsets, kind)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    return _read_only(np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)), at


def _read_only(values: np.ndarray) -> np.ndarray:
    """A view that cannot be written to: the kernels are compiled for such."""
    view = values.view()
    view.flags.writeable = False
    return view


# -- compiling --------------------------------------------------------------------------------------------------------
def _rules(library: Any, parsed: Mapping[str, Any]) -> tuple[Rules, dict[bytes, int]]:
    """The rules of a tokenizer, and its vocabulary as bytes. _NotCoveredError if the kernels cannot do what it asks."""
    from tasks.text.bpe.bpe_kernels import Rules
    from tasks.text.bpe.merge_kernels import merge_table
    from tasks.text.bpe.pretoken_kernels import byte_kinds

    model = parsed["model"]
    _cover_model(model)
    _cover_normalizer(parsed["normalizer"])
    pattern, numbers, digits, prefix = _cover_pre_tokenizer(parsed["pre_tokenizer"])
    letters = byte_letters()
    vocabulary = {bytes(letters[c] for c in t): i for t, i in model["vocab"].items() if all(c in letters for c in t)}
    byte_ids = np.array([vocabulary.get(bytes([b]), -1) for b in range(256)], np.int32)
    if (byte_ids[[b for b in range(256) if b not in {0xC0, 0xC1, *range(0xF5, 0x100)}]] < 0).any():
        raise _NotCoveredError("not every byte is in the vocabulary")
    ranked = {}
    for rank, merge in enumerate(model["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranked[model["vocab"][left] << 32 | model["vocab"][right]] = rank, model["vocab"][left + right]
    new_ids = np.zeros(len(model["merges"]), np.int32)
    for rank, made in ranked.values():
        new_ids[rank] = made
    table, shift = merge_table(
        np.array(list(ranked), np.int64), np.array([rank << 32 | made for rank, made in ranked.values()], np.int64)
    )
    one_way = len({made for _, made in ranked.values()}) == len(ranked)
    tries = [_trie(_added(library, parsed["added_tokens"], normalised)) for normalised in (False, True)]
    classes = classes_of(digits > 0)
    rules = Rules(
        byte_kinds(classes),
        classes,
        pattern,
        numbers,
        digits,
        prefix,
        byte_ids,
        table,
        shift,
        new_ids,
        one_way,
        *tries[0],
        *tries[1],
    )
    return rules, vocabulary


def _cover_model(model: Mapping[str, Any]) -> None:
    """_NotCoveredError unless this is a BPE whose merges alone decide."""
    if model["type"] != "BPE":
        raise _NotCoveredError(f"the model is {model['type']}, not BPE")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(option):
            raise _NotCoveredError(f"the model's {option} is {model[option]!r}")


def _cover_normalizer(normalizer: Mapping[str, Any] | None) -> None:
    """_NotCoveredError unless texts are normalised to NFC or not at all."""
    parts = _flat(normalizer, "normalizers")
    if [p["type"] for p in parts] not in ([], ["NFC"]):
        raise _NotCoveredError(f"the normalizer is {' + '.join(p['type'] for p in parts)}")


def _cover_pre_tokenizer(pre_tokenizer: Mapping[str, Any] | None) -> tuple[int, int, int, bool]:
    """`pattern`, `numbers`, `digits` and `prefix` of Rules. _NotCoveredError if the parts are not digits, pattern, bytes."""
    from tasks.text.bpe.pretoken_kernels import CL100K, DIGIT_RUNS, EACH_DIGIT, GPT2, NO_DIGITS, WHOLE

    parts = _flat(pre_tokenizer, "pretokenizers")
    names = [p["type"] for p in parts]
    digits, pattern, numbers = NO_DIGITS, WHOLE, 0
    if parts and parts[0]["type"] == "Digits":
        digits = EACH_DIGIT if parts.pop(0)["individual_digits"] else DIGIT_RUNS
    supported = {_GPT2: (GPT2, 0), _CL100K.replace("NUMBERS", "{1,3}"): (CL100K, 3), _CL100K.replace("NUMBERS", ""): (CL100K, 1)}
    split = parts.pop(0) if parts and parts[0]["type"] == "Split" else None
    if split is not None:
        if split["pattern"].get("Regex") not in supported:
            raise _NotCoveredError(f"the pre-tokenizer splits at {json.dumps(split['pattern'], ensure_ascii=False)}")
        if (split["behavior"], split["invert"]) not in (("Isolated", False), ("Removed", True)):
            raise _NotCoveredError(f"the pre-tokenizer's matches are {split['behavior']}, invert={split['invert']}")
        pattern, numbers = supported[split["pattern"]["Regex"]]
    if [p["type"] for p in parts] != ["ByteLevel"]:
        raise _NotCoveredError(f"the pre-tokenizer is {' + '.join(names) or 'none'}")
    prefix, expression = parts[0]["add_prefix_space"], parts[0].get("use_regex", True)
    if split is not None and (prefix or expression):
        raise _NotCoveredError("the pre-tokenizer is Split, and ByteLevel with an expression or a space of its own")
    return GPT2 if expression else pattern, numbers, digits, prefix


def _flat(node: Mapping[str, Any] | None, inner: str) -> list[Mapping[str, Any]]:
    """A pipeline's parts, those of a Sequence one by one."""
    if node is None:
        return []
    return [p for part in node[inner] for p in _flat(part, inner)] if node["type"] == "Sequence" else [node]


def _added(library: Any, tokens: Sequence[Mapping[str, Any]], normalised: bool) -> dict[bytes, int]:
    """UTF-8 and id (or SPECIAL) of the added tokens that are sought in normalised text, or in the text as it is."""
    from tasks.text.bpe.added_kernels import SPECIAL

    ids: dict[bytes, int] = {}
    for token in tokens:
        content = token["content"]
        if not token["special"] and (token["single_word"] or token["lstrip"] or token["rstrip"]):
            raise _NotCoveredError(f"the added token {content!r} is a single word or strips spaces")
        if library.token_to_id(content) != token["id"]:
            raise _NotCoveredError(f"the added token {content!r} has two ids")
        if token["normalized"] == normalised:
            seen = library.normalizer.normalize_str(content) if normalised and library.normalizer else content
            if seen.encode() in ids:
                raise _NotCoveredError(f"two added tokens are {seen!r}")
            ids[seen.encode()] = SPECIAL if token["special"] else token["id"]
    return ids


def _trie(tokens: Mapping[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens as a tree of bytes: int32 [nodes, 256] and the id at each node, int32 [nodes]."""
    from tasks.text.bpe.added_kernels import NOT_ADDED

    nodes: list[dict[int, int]] = [{}]
    ends = {}
    for token, number in tokens.items():
        at = 0
        for byte in token:
            if byte not in nodes[at]:
                nodes[at][byte] = len(nodes)
                nodes.append({})
            at = nodes[at][byte]
        ends[at] = number
    if len(nodes) > _NODES:
        raise _NotCoveredError(f"there are {len(tokens)} added tokens")
    trie, ids = np.zeros((len(nodes), 256), np.int32), np.full(len(nodes), NOT_ADDED, np.int32)
    for node, children in enumerate(nodes):
        for byte, child in children.items():
            trie[node, byte] = child
    for node, number in ends.items():
        ids[node] = number
    return trie, ids


def _cache(vocabulary: Mapping[bytes, int]) -> Cache:
    """An empty cache; with ignore_merges, one in which every token of the vocabulary is a pre-token with its own id."""
    from tasks.text.bpe.bpe_kernels import empty_cache, keep

    cache = empty_cache(len(vocabulary), max(map(len, vocabulary), default=0))
    for token, number in vocabulary.items():
        if token:
            keep(_read_only(np.frombuffer(token, np.uint8)), 0, len(token), np.array([number], np.int32), 0, 1, cache)
    return cache._replace(first=cache.table.copy(), first_used=cache.used.copy()) if vocabulary else cache

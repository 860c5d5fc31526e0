"""Texts to token ids: always those of the `tokenizers` library, made by `fastokens` where it gives the same.

`fastokens` runs a BPE tokenizer.json, byte-level twenty times faster and more, with byte fallback three times. Whether it gives the
same ids is decided when a tokenizer is loaded, before any corpus is read: by what the tokenizer consists of, and by 5,000 strings.
`Tokeniser.why` gives the reason where `tokenizers` does the work.
"""

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer

Texts: TypeAlias = pa.StringArray | pa.LargeStringArray | pa.ChunkedArray

BYTES_AT_ONCE = 1 << 24
TEXTS_AT_ONCE = 512  # of `tokenizers`, which holds much more than the ids
PROBES, PROBED_TOKENS = 5_000, 300
# The two libraries have different engines for regular expressions. These constructs mean the same to both, on every code point
# but ODD; \w, \d, ^, possessive {1,3}+, sets in sets, scripts, look-behind and (?i:ss), which is ß, do not.
_CLASS = r"\\[pP]\{(?:L[ultmo]?|M|N|P|S)\}|\\[sSrnt]|\\[^\w\s]"
SAME_PATTERN = re.compile(
    rf"(?:{_CLASS}|\[\^?(?:{_CLASS}|(?!&&)[^\\\[\]])+\]|\((?!\?)|\(\?[:=!]|\(\?i:(?!.*(?:[sS][sStT]|[fF][fFiIlL]))|"
    r"\{\d+(?:,\d*)?\}(?!\+)|[^\\\[\]{}(.^$])*"
)
ODD = {r"\s": "\u180e", r"\S": "\u180e", "(?i": "\u017f\u212a\ufb05\ufb06"}  # texts with them are left to `tokenizers`
# What tokenizers treat in different ways, and what another version of either library might.
PIECES = (
    " ¦  ¦   ¦\n¦\n\n¦\t¦\r\n¦ \r¦\u00a0¦\u3000¦\u2028¦\u0085¦\x00¦\x1b[1m¦\x7f¦                    ¦'s¦'LL¦'Re¦'t¦don't¦I'VE¦a¦The"
    "¦the¦ing¦HTTPServer¦iOS¦x_y¦größer¦ÀÉ¦e\u0301¦é¦7¦42¦123¦1234567¦3.14¦½¦x²¦٣٤¦Ⅷ¦!¦...¦?!¦/¦//¦->¦<|¦|>¦========¦`¦\\¦_¦漢字¦かな"
    "¦가¦\u1100\u1161¦क\u093c¦ก\u0e38¦\u0958¦\u212b¦\u0323\u0307¦\ufeff¦\u200b¦\u200d¦ΑΣ¦İ¦\U0001f468\u200d\U0001f469¦ß¦ﬁ¦▁¦▁▁¦Ġ"
    "¦\U0001f1e9\U0001f1ea¦\U0001d15e¦\uffff¦\U0010ffff¦\u180e¦'\u017f"
)
LONG = ("a" * 2_000, "ab1 " * 500, " " * 999 + "x", "é" * 700, "漢" * 700, "e\u0301" * 300, "=" * 1_500, "1" * 1_000, " \t\n" * 300)


@dataclass(frozen=True)
class Tokeniser:
    """A tokenizer.json, ready to encode; made by `compile_tokenizer`."""

    library: Any  # tokenizers.Tokenizer
    why: str  # why it does the work; "" if `fastokens` does
    fast: Any = None  # fastokens.Tokenizer, if that does
    odd: tuple[str, ...] = ()  # texts with one of these code points are left to `tokenizers`
    prefix: str = ""  # put before a text that begins with neither a space nor this

    def encode(self, texts: Texts) -> tuple[np.ndarray, np.ndarray]:
        """Ids (int32 [tokens]) of all texts, one after the other, and where each text's begin (int64 [texts + 1]). ValueError if a
        text is null, TypeError if they are no texts."""
        ids: list[np.ndarray] = [np.empty(0, np.int32)]
        counts: list[np.ndarray] = [np.zeros(1, np.int64)]
        for strings in _pieces(texts):
            try:
                piece_ids, starts = self._by_fastokens(strings) if self.fast is not None else self._by_library(strings)
            except BaseException as error:  # a limit of its regular expressions, or a panic
                if self.fast is None or isinstance(error, (KeyboardInterrupt, SystemExit)):
                    raise
                piece_ids, starts = self._by_library(strings)
            ids.append(piece_ids)
            counts.append(np.diff(starts))
        return ids[1] if len(ids) == 2 else np.concatenate(ids), np.cumsum(np.concatenate(counts))

    def _by_library(self, strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        groups = (strings[at : at + TEXTS_AT_ONCE] for at in range(0, len(strings), TEXTS_AT_ONCE))
        lists = [ids for group in groups for ids in encode_batch(self.library, group)]
        starts = np.cumsum([0, *map(len, lists)], dtype=np.int64)
        return np.fromiter((i for ids in lists for i in ids), np.int32, int(starts[-1])), starts

    def _by_fastokens(self, strings: list[str]) -> tuple[np.ndarray, np.ndarray]:
        left: list[int] = []
        if self.odd:
            left = [i for i, t in enumerate(strings) if not t.isascii() and any(point in t for point in self.odd)]
        given = strings
        if self.prefix:
            given = [t if not t or t[0] in (" ", self.prefix) else self.prefix + t for t in strings]
        flat, ends = self.fast.encode_batch_flat(given, False, True)
        ids, starts = np.frombuffer(flat, np.int32), np.frombuffer(ends, np.int64)
        if not left:
            return ids, starts
        pieces = np.split(ids, starts[1:-1])
        by_library, cuts = self._by_library([strings[i] for i in left])
        for row, low, high in zip(left, cuts[:-1], cuts[1:], strict=True):
            pieces[row] = by_library[low:high]
        return np.concatenate(pieces), np.cumsum([0, *map(len, pieces)], dtype=np.int64)


@lru_cache(maxsize=4)
def compile_tokenizer(json_text: str) -> Tokeniser:
    """Load the text of a tokenizer.json and decide which library encodes. StudyError if it is none."""
    library = load_tokenizer(json_text)
    parsed = json.loads(library.to_str())
    if why := _not_covered(parsed):
        return Tokeniser(library, why)
    try:
        import fastokens

        odd, prefix = _odd(parsed["pre_tokenizer"]), _take_metaspace(parsed)
        tokeniser = Tokeniser(library, "", fastokens.Tokenizer.from_json_str(json.dumps(parsed | {"decoder": None})), odd, prefix)
        probes = _probes(library, parsed)
        encoded, wanted = tokeniser._by_fastokens(probes), tokeniser._by_library(probes)
    except ImportError:
        return Tokeniser(library, "fastokens is not installed")
    except BaseException as error:  # each refusal is an exception of its own; it panics with a BaseException
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        return Tokeniser(library, f"a library refuses the tokenizer or a text: {error}")
    for probe, *ids in zip(probes, *(np.split(ids, starts[1:-1]) for ids, starts in (encoded, wanted)), strict=True):
        if not np.array_equal(*ids):
            return Tokeniser(library, f"fastokens gives {probe[:40]!r} other ids than tokenizers")
    return tokeniser


# -- texts ------------------------------------------------------------------------------------------------------------
def _pieces(texts: Texts) -> Iterator[list[str]]:
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
            raise TypeError(f"texts are wanted, not {chunk.type}")
        if chunk.null_count:
            raise ValueError("a text is null: write an empty one, or leave it out")
        ends, begin = np.cumsum(pc.binary_length(chunk).to_numpy(), dtype=np.int64), 0
        while begin < len(chunk):
            before = int(ends[begin - 1]) if begin else 0
            end = max(int(np.searchsorted(ends, before + BYTES_AT_ONCE, "right")), begin + 1)
            yield chunk.slice(begin, end - begin).to_numpy(zero_copy_only=False).tolist()
            begin = end


# -- what fastokens covers --------------------------------------------------------------------------------------------
def _not_covered(parsed: Mapping[str, Any]) -> str:
    """Why a tokenizer is left to `tokenizers` without a probe: what 5,000 strings may not show. "" if it is not."""
    model = parsed["model"]
    if model["type"] != "BPE":
        return f"the model is {model['type']}, not BPE"
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            return f"the model's {option} is {model[option]!r}"
    for part in _flat(parsed["normalizer"], "normalizers"):
        if part["type"] not in ("NFC", "Prepend", "Replace") or "Regex" in part.get("pattern", ()):
            return f"the normalizer is {part['type']}"
    for part in _flat(parsed["pre_tokenizer"], "pretokenizers"):
        pattern = part.get("pattern", {}).get("Regex", "") if part["type"] == "Split" else ""
        if not SAME_PATTERN.fullmatch(pattern):
            return f"the pre-tokenizer splits at {pattern!r}"
    return ""


def _odd(pre_tokenizer: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The code points that the engines of the two libraries see differently in a tokenizer's patterns."""
    patterns = " ".join(p["pattern"].get("Regex", "") for p in _flat(pre_tokenizer, "pretokenizers") if p["type"] == "Split")
    return tuple({c for construct, points in ODD.items() if construct in patterns for c in points})


def _flat(node: Mapping[str, Any] | None, inner: str) -> list[Mapping[str, Any]]:
    """A pipeline's parts, those of a Sequence one by one."""
    if node is None:
        return []
    return [p for part in node[inner] for p in _flat(part, inner)] if node["type"] == "Sequence" else [node]


def _take_metaspace(parsed: dict[str, Any]) -> str:
    """Put a Metaspace that does not split (Mistral) into the normalizer, which `fastokens` knows; what a text then begins with.
    Only where no added token cuts a text, so that text and piece are the same."""
    meta, cuts = parsed["pre_tokenizer"] or {}, not all(t["special"] for t in parsed["added_tokens"])
    if meta.get("type") != "Metaspace" or meta["split"] or parsed["normalizer"] or cuts:
        return ""
    parsed["pre_tokenizer"] = None
    parsed["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": meta["replacement"]}
    return "" if meta["prepend_scheme"] == "never" else meta["replacement"]


def _probes(library: Any, parsed: Mapping[str, Any]) -> list[str]:
    """PROBES strings, the same each time: PIECES, tokens of this tokenizer and code points, alone and side by side."""
    draw, model = random.Random(0), parsed["model"]
    made = {m.replace(" ", "", 1) if isinstance(m, str) else "".join(m) for m in model["merges"]}
    added = _some(draw, [t["content"] for t in parsed["added_tokens"]])
    unmade = _some(draw, [t for t in model["vocab"] if t not in made and len(t) > 1])  # ids that no merge gives
    tokens = [library.decode([i], skip_special_tokens=False) for i in _some(draw, list(model["vocab"].values()))]
    points = [chr(p) for p in (*range(0x20, 0x3000, 29), *range(0x3000, 0x20000, 211), *range(0x20000, 0x110000, 9001))]
    points = [c for c in points if not "\ud800" <= c <= "\udfff"]
    own_tokens = [*added, *(t[:-1] for t in added), *unmade, *tokens]
    pieces = PIECES.split("¦")
    kinds = (pieces, own_tokens or pieces, points, ["a", " ", "1", "!"])
    probes = ["", *LONG, *pieces, *own_tokens, *(f"a{c}a1{c}1!{c}! {c} \n" for c in points)]
    while len(probes) < PROBES:
        probes.append("".join(draw.choice(draw.choices(kinds, (5, 4, 1, 2))[0]) for _ in range(draw.randint(2, 12))))
    return probes


def _some(draw: random.Random, items: Sequence[Any]) -> Sequence[Any]:
    return items if len(items) <= PROBED_TOKENS else draw.sample(items, PROBED_TOKENS)

"""An encoder that needs no model from outside: it learns from the mining examples which words answer to each other.

IBM Model 1 (Brown et al. 1993) links input units (words, and pairs of neighbouring words) and output words, so that "capital
of Maron Velk" lies near "Torin" where the examples say so, in any two languages.

    p(v ← w | example) = t(v|w) / (t(v|NULL) + Σ_w' t(v|w'))        each output word v is owed to one input unit, or to none
    link(w, v)  = Σ_examples √( p(v ← w) · p(w ← v) )                both directions must agree
    a(w, v)     = max(0, link(w, v)/n_w − p(v)·Σ_v' link(w, v')/n_w)  the excess over what chance gives

n_w: examples that hold w; p(v): share of v among all links. An input n-gram is the sum of the rows a(w, ·) of its units,
an output n-gram the sum of its words' unit vectors. So a telling word ("Velk") is long and points at its answer; a word
that stands in every question ("what", "the") spreads over all answers, exceeds chance nowhere, and is short.

Three departures from words under √(t(v|w)·t(w|v)). Link counts divided by occurrences, not t: t(·|w) sums to 1 however
little w explains, and would make "what" as long as "Velk". The input vector carries one constant coordinate, WEAKEST,
that no output has: cosine knows no lengths, and would take a faint preference for a sure one. Pairs of words: where many
names share "Maron" and many share "Velk", only both together tell.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.text.words.analyzer import normalise
from tasks.text.words.word_ngrams import Side

Settings = Mapping[str, Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEAKEST = 0.2  # an input n-gram whose row is as short as this reaches a cosine of at most .71
MOST_LINKS = 12_000_000  # links that Model 1 is learnt from: at most about 1 GB
LINKS_AT_ONCE = 1_000_000
NGRAMS_AT_ONCE = 4_096
SEED = b"taskgram encoder 1"


@dataclass(frozen=True)
class Association:
    """Rows a(w, ·) of the input units, sparse: those of unit w are `columns[starts[w]:starts[w + 1]]`, `values[...]`."""

    units: Mapping[str, int]
    output_words: Mapping[str, int]
    starts: Ints
    columns: Ints
    values: Floats
    basis: NDArray[np.float32]  # [output words, dimensions - 2], rows of length 1

    def encode(self, side: Side, ngrams: Sequence[str]) -> NDArray[np.float32]:
        """See Encoder. The last two coordinates: the constant of inputs, and the unknown words of outputs."""
        vectors = np.zeros((len(ngrams), self.basis.shape[1] + 2), dtype=np.float32)
        for begin in range(0, len(ngrams), NGRAMS_AT_ONCE):
            piece = slice(begin, begin + NGRAMS_AT_ONCE)
            vectors[piece] = self._inputs(ngrams[piece]) if side == "input" else self._outputs(ngrams[piece])
        return vectors

    def _inputs(self, ngrams: Sequence[str]) -> Floats:
        from scipy.sparse import csr_array

        held, known = _counts([_units(n.split(" "), pairs=True) for n in ngrams], self.units)
        rows = csr_array((self.values, self.columns, self.starts), shape=(len(self.units), len(self.output_words)))
        vectors = np.zeros((len(ngrams), self.basis.shape[1] + 2))
        vectors[:, :-2] = held @ (rows[known] @ self.basis.astype(np.float64))
        vectors[:, -2] = np.where(vectors.any(axis=1), WEAKEST, 0)
        return _unit_length(vectors)

    def _outputs(self, ngrams: Sequence[str]) -> Floats:
        words = [n.split(" ") for n in ngrams]
        held, known = _counts(words, self.output_words)
        found = held.sum(axis=1)
        vectors = np.zeros((len(ngrams), self.basis.shape[1] + 2))
        vectors[:, :-2] = held @ self.basis[known].astype(np.float64)
        # "torin" alone is nearer to Velk than "torin" beside a word that nobody knows.
        vectors[:, -1] = np.where(found > 0, np.array([len(w) for w in words]) - found, 0)
        return _unit_length(vectors)


def fit_association(settings: Settings, mine: Sequence[tuple[str, str]]) -> Association:
    """Learn IBM Model 1 in both directions. `iterations` EM steps; vectors of `dimensions` numbers."""
    input_bags, output_bags = _bags(mine)
    inputs, units = _numbered(input_bags)
    outputs, words = _numbered(output_bags)
    links = _links(inputs, outputs, len(words))
    forth = _model_one(links.pair, links.output_slot, links.of_output_slot, links.input_of, settings["iterations"])
    back = _model_one(links.pair, links.input_slot, links.of_input_slot, links.output_of, settings["iterations"])
    agreed = _sum(links.pair, len(links.input_of), lambda s: np.sqrt(forth[s].astype(np.float64) * back[s]))
    share = agreed / np.bincount(links.of_input_slot, minlength=len(units))[links.input_of]
    linked = np.bincount(links.input_of, share, minlength=len(units))
    by_chance = np.bincount(links.output_of, agreed, minlength=len(words)) / max(agreed.sum(), 1e-300)
    excess = share - linked[links.input_of] * by_chance[links.output_of]
    kept = excess > 1e-6
    starts = np.searchsorted(links.input_of[kept], np.arange(len(units) + 1))
    basis = _basis(list(words), settings["dimensions"] - 2)
    return Association(units, words, starts, links.output_of[kept], excess[kept], basis)


def _units(words: Sequence[str], pairs: bool) -> list[str]:
    """The words, and the pairs of neighbours."""
    return [*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))] if pairs else list(words)


def _bags(mine: Sequence[tuple[str, str]]) -> tuple[list[list[str]], list[list[str]]]:
    """The distinct input units and output words of each example, no more of them than MOST_LINKS allows.

    Too many links: first the pairs of words go (much data tells as much by words), then each text's most frequent words,
    which say least about the other side. 20,000 sentence pairs of 24 × 24 distinct words keep all words.
    """
    texts = [[normalise(t).split() for t in pair] for pair in mine]
    outputs = [sorted(set(y)) for _, y in texts]
    inputs = [sorted(set(_units(x, pairs=True))) for x, _ in texts]
    if sum(len(x) * len(y) for x, y in zip(inputs, outputs, strict=True)) <= MOST_LINKS:
        return inputs, outputs
    inputs = [sorted(set(x)) for x, _ in texts]
    low, high = 1, max(map(len, [*inputs, *outputs]))
    while low < high:
        cap = (low + high + 1) // 2
        links = sum(min(len(x), cap) * min(len(y), cap) for x, y in zip(inputs, outputs, strict=True))
        low, high = (cap, high) if links <= MOST_LINKS else (low, cap - 1)
    return _rarest(inputs, low), _rarest(outputs, low)


def _rarest(bags: list[list[str]], cap: int) -> list[list[str]]:
    """The `cap` words of each bag that stand in the fewest bags."""
    frequency = Counter(w for bag in bags for w in bag)
    return [sorted(sorted(bag, key=lambda w: (frequency[w], w))[:cap]) for bag in bags]


def _numbered(bags: list[list[str]]) -> tuple[list[Ints], dict[str, int]]:
    """The bags as numbers in the sorted list of all their members."""
    numbers = {w: i for i, w in enumerate(sorted({w for bag in bags for w in bag}))}
    return [np.array([numbers[w] for w in bag], dtype=np.int64) for bag in bags], numbers


def _counts(bags: list[list[str]], numbers: Mapping[str, int]) -> tuple[Any, Ints]:
    """How often each bag holds each known member: a sparse [bags, members that occur], and those members' numbers."""
    from scipy.sparse import csr_array

    at = [(row, numbers[w]) for row, bag in enumerate(bags) for w in bag if w in numbers]
    rows, members = np.array(at, dtype=np.int64).reshape(-1, 2).T
    known, column = np.unique(members, return_inverse=True)
    return csr_array((np.ones(len(rows)), (rows, column)), shape=(len(bags), len(known))), known


def _unit_length(vectors: Floats) -> Floats:
    """Rows of length 1; rows of zeros stay."""
    lengths = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return vectors / np.where(lengths == 0, 1, lengths)


@dataclass(frozen=True)
class Links:
    """Every (input unit, output word) of every example. A slot is one of them in one example."""

    pair: NDArray[np.int32]  # per link: its (unit, word)
    input_slot: NDArray[np.int32]  # per link
    output_slot: NDArray[np.int32]
    of_input_slot: Ints  # per slot: its unit or word
    of_output_slot: Ints
    input_of: Ints  # per (unit, word), sorted: the two
    output_of: Ints


def _links(inputs: list[Ints], outputs: list[Ints], words: int) -> Links:
    """All links of the examples."""
    codes, input_slots, output_slots, x_slots, y_slots = [np.zeros(0, np.int64)], [], [], 0, 0
    for x, y in zip(inputs, outputs, strict=True):
        codes.append((x[:, None] * words + y[None, :]).ravel())
        input_slots.append(np.repeat(np.arange(x_slots, x_slots + len(x), dtype=np.int32), len(y)))
        output_slots.append(np.tile(np.arange(y_slots, y_slots + len(y), dtype=np.int32), len(x)))
        x_slots, y_slots = x_slots + len(x), y_slots + len(y)
    pairs, pair = np.unique(np.concatenate(codes), return_inverse=True)
    none = np.zeros(0, np.int32)
    return Links(
        pair.astype(np.int32),
        np.concatenate([none, *input_slots]),
        np.concatenate([none, *output_slots]),
        np.concatenate([none, *inputs]),
        np.concatenate([none, *outputs]),
        *np.divmod(pairs, max(words, 1)),
    )


def _model_one(
    pair: NDArray[np.int32], slot: NDArray[np.int32], effect_of_slot: Ints, cause_of: Ints, iterations: int
) -> NDArray[np.float32]:
    """IBM Model 1 by EM: each effect (a word of a slot) is owed to one of the example's causes, or to NULL.

    `cause_of` tells the cause of each pair. Returns p(effect ← cause | example) of every link.
    """
    effects, causes = int(effect_of_slot.max(initial=-1)) + 1, int(cause_of.max(initial=-1)) + 1
    counts = _sum(pair, len(cause_of), lambda s: np.ones(len(pair[s])))
    null: Floats = np.bincount(effect_of_slot, minlength=effects).astype(np.float64)
    for _ in range(iterations):
        t = counts / np.maximum(np.bincount(cause_of, counts, minlength=causes), 1e-300)[cause_of]
        null = null / max(null.sum(), 1e-300)
        owed = null[effect_of_slot] + _sum(slot, len(effect_of_slot), lambda s: t[pair[s]])  # noqa: B023
        counts = _sum(pair, len(cause_of), lambda s: t[pair[s]] / owed[slot[s]])  # noqa: B023
        null = np.bincount(effect_of_slot, null[effect_of_slot] / owed, minlength=effects).astype(np.float64)
    found = np.empty(len(pair), dtype=np.float32)
    for begin in range(0, len(pair), LINKS_AT_ONCE):
        piece = slice(begin, begin + LINKS_AT_ONCE)
        found[piece] = t[pair[piece]] / owed[slot[piece]]
    return found


def _sum(index: NDArray[np.int32], size: int, values: Any) -> Floats:
    """Σ of values(slice) by index, in pieces of a fixed size: memory is bounded, and the order of the sum is fixed."""
    total = np.zeros(size)
    for begin in range(0, len(index), LINKS_AT_ONCE):
        piece = slice(begin, begin + LINKS_AT_ONCE)
        total += np.bincount(index[piece], values(piece), minlength=size)
    return total


def _basis(words: list[str], dimensions: int) -> NDArray[np.float32]:
    """A unit vector per output word: orthogonal while there is room, else random signs that follow from the word alone.

    Signs change cosines by about ± 1/√dimensions (Johnson and Lindenstrauss 1984; signs: Achlioptas 2003).
    """
    if len(words) <= dimensions:
        return np.eye(len(words), dimensions, dtype=np.float32)
    size = -(-dimensions // 8)
    digests = b"".join(hashlib.shake_256(SEED + w.encode("utf-8", "surrogatepass")).digest(size) for w in words)
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8).reshape(len(words), size), axis=1)[:, :dimensions]
    return ((bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(dimensions))).astype(np.float32)

"""An encoder that needs no external model: it learns from the mining examples which input and output words belong together.

IBM Model 1 (Brown et al. 1993) links input units (words, and pairs of adjacent words) with output words. If the examples
pair them, "capital of Maron Velk" lies near "Torin", in any two languages.

    p(v ← w | example) = t(v|w) / (t(v|NULL) + Σ_w' t(v|w'))        each output word v comes from one input unit, or from none
    link(w, v)  = Σ_examples √( p(v ← w) · p(w ← v) )                both directions must agree
    a(w, v)     = max(0, link(w, v)/n_w − p(v)·Σ_v' link(w, v')/n_w)  the excess over chance

n_w: examples that contain w; p(v): share of v among all links. An input n-gram is the sum of the rows a(w, ·) of its units,
an output n-gram the sum of its words' unit vectors. So an informative word ("Velk") has a long
vector that points at its answer; a word of every question ("what", "the") spreads over all answers, exceeds chance nowhere,
and has a short one.

Three departures from plain √(t(v|w)·t(w|v)). Link counts divided by occurrences, not t: t(·|w) sums to 1 however
little w explains, and would make "what" as long as "Velk". The input vector has one constant coordinate, WEAKEST, that no
output has: cosine ignores lengths, and would treat a weak preference as a strong one. Pairs of words: if many names share
"Maron" and many share "Velk", only the pair identifies the answer.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.text.words.analyzer import normalise
from tasks.text.words.word_ngrams import Side

Settings = Mapping[str, Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

WEAKEST = 0.2  # an input n-gram with a row of this length reaches a cosine of at most .71
MOST_LINKS = 12_000_000  # links that Model 1 is trained on: about 1 GB at most
LINKS_AT_ONCE = 1_000_000
NGRAMS_AT_ONCE = 4_096
SEED = b"taskgram encoder 1"


@dataclass(frozen=True)
class Association:
    """Sparse rows a(w, ·) of the input units: row w has `values[s]` in `columns[s]`, s = starts[w]:starts[w + 1]."""

    units: Mapping[str, int]
    output_words: Mapping[str, int]
    starts: Ints
    columns: Ints
    values: Floats
    basis: NDArray[np.float32]  # [output words, dimensions - 2], rows of length 1

    def encode(self, side: Side, ngrams: Sequence[str]) -> NDArray[np.float32]:
        """See NgramEncoder. The last two coordinates: the constant of inputs, and the number of unknown words of outputs."""
        vectors = np.zeros((len(ngrams), self.basis.shape[1] + 2), dtype=np.float32)
        for begin in range(0, len(ngrams), NGRAMS_AT_ONCE):
            chunk = slice(begin, begin + NGRAMS_AT_ONCE)
            vectors[chunk] = self._inputs(ngrams[chunk]) if side == "input" else self._outputs(ngrams[chunk])
        return vectors

    def _inputs(self, ngrams: Sequence[str]) -> Floats:
        from scipy.sparse import csr_array

        counts, units = _counts([_units(n.split(" ")) for n in ngrams], self.units)
        rows = csr_array((self.values, self.columns, self.starts), shape=(len(self.units), len(self.output_words)))
        vectors = np.zeros((len(ngrams), self.basis.shape[1] + 2))
        vectors[:, :-2] = counts @ (rows[units] @ self.basis.astype(np.float64))
        vectors[:, -2] = np.where(vectors.any(axis=1), WEAKEST, 0)
        return _unit_length(vectors)

    def _outputs(self, ngrams: Sequence[str]) -> Floats:
        words = [n.split(" ") for n in ngrams]
        counts, occurring = _counts(words, self.output_words)
        total = counts.sum(axis=1)
        vectors = np.zeros((len(ngrams), self.basis.shape[1] + 2))
        vectors[:, :-2] = counts @ self.basis[occurring].astype(np.float64)
        # "torin" alone is nearer to Velk than "torin" with an unknown word.
        vectors[:, -1] = np.where(total > 0, np.array([len(w) for w in words]) - total, 0)
        return _unit_length(vectors)


def fit_association(settings: Settings, examples: Sequence[tuple[str, str]]) -> Association:
    """Train IBM Model 1 in both directions on (input, output) texts: `iterations` EM steps, vectors of `dimensions` numbers."""
    input_bags, output_bags = _bags(examples)
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


def _units(words: Sequence[str]) -> list[str]:
    """The words, and the adjacent pairs."""
    return [*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))]


def _bags(examples: Sequence[tuple[str, str]]) -> tuple[list[list[str]], list[list[str]]]:
    """The distinct input units and output words of each example, limited so that there are at most MOST_LINKS links. If there are
    too many links, the pairs of words are dropped first (with much data single words suffice), then each text's most frequent
    words, which are least informative. 20,000 sentence pairs of 24 × 24 distinct words keep all words."""
    texts = [[normalise(t).split() for t in pair] for pair in examples]
    outputs = [sorted(set(y)) for _, y in texts]
    inputs = [sorted(set(_units(x))) for x, _ in texts]
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
    """The `cap` words of each bag that occur in the fewest bags."""
    frequency = Counter(w for bag in bags for w in bag)
    return [sorted(sorted(bag, key=lambda w: (frequency[w], w))[:cap]) for bag in bags]


def _numbered(bags: list[list[str]]) -> tuple[list[Ints], dict[str, int]]:
    """The bags as arrays of numbers, and the number of each word: its rank among all words."""
    numbers = {w: i for i, w in enumerate(sorted({w for bag in bags for w in bag}))}
    return [np.array([numbers[w] for w in bag], dtype=np.int64) for bag in bags], numbers


def _counts(bags: list[list[str]], numbers: Mapping[str, int]) -> tuple[Any, Ints]:
    """How often each bag contains each known word: sparse [bags, known words that occur], and the numbers of these words."""
    from scipy.sparse import csr_array

    at = [(row, numbers[w]) for row, bag in enumerate(bags) for w in bag if w in numbers]
    rows, members = np.array(at, dtype=np.int64).reshape(-1, 2).T
    occurring, column = np.unique(members, return_inverse=True)
    return csr_array((np.ones(len(rows)), (rows, column)), shape=(len(bags), len(occurring))), occurring


def _unit_length(vectors: Floats) -> Floats:
    """The rows scaled to length 1; zero rows stay zero."""
    lengths = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return vectors / np.where(lengths == 0, 1, lengths)


class Links(NamedTuple):
    """Every (input unit, output word) of every example. A slot is one unit or word in one example."""

    pair: NDArray[np.int32]  # per link: index of its (unit, word)
    input_slot: NDArray[np.int32]  # per link
    output_slot: NDArray[np.int32]
    of_input_slot: Ints  # per slot: its unit or word
    of_output_slot: Ints
    input_of: Ints  # per (unit, word), sorted: the unit
    output_of: Ints  # … and the word


def _links(inputs: list[Ints], outputs: list[Ints], words: int) -> Links:
    codes, input_slots, output_slots, x_slots, y_slots = [np.zeros(0, np.int64)], [], [], 0, 0
    for x, y in zip(inputs, outputs, strict=True):
        codes.append((x[:, None] * words + y[None, :]).ravel())
        input_slots.append(np.repeat(np.arange(x_slots, x_slots + len(x), dtype=np.int32), len(y)))
        output_slots.append(np.tile(np.arange(y_slots, y_slots + len(y), dtype=np.int32), len(x)))
        x_slots, y_slots = x_slots + len(x), y_slots + len(y)
    pairs, pair = np.unique(np.concatenate(codes), return_inverse=True)
    none = np.zeros(0, np.int32)
    input_slot, output_slot = np.concatenate([none, *input_slots]), np.concatenate([none, *output_slots])
    of_x, of_y = np.concatenate([none, *inputs]), np.concatenate([none, *outputs])
    return Links(pair.astype(np.int32), input_slot, output_slot, of_x, of_y, *np.divmod(pairs, max(words, 1)))


def _model_one(
    pair: NDArray[np.int32], slot: NDArray[np.int32], effect_of_slot: Ints, cause_of: Ints, iterations: int
) -> NDArray[np.float32]:
    """IBM Model 1 by EM: each effect (a word of a slot) comes from one of the example's causes, or from NULL. `cause_of` is the
    cause of each pair. Returns p(effect ← cause | example) of every link."""
    effects, causes = int(effect_of_slot.max(initial=-1)) + 1, int(cause_of.max(initial=-1)) + 1
    counts = _sum(pair, len(cause_of), lambda s: np.ones(len(pair[s])))
    null: Floats = np.bincount(effect_of_slot, minlength=effects).astype(np.float64)
    for _ in range(iterations):
        t = counts / np.maximum(np.bincount(cause_of, counts, minlength=causes), 1e-300)[cause_of]
        null = null / max(null.sum(), 1e-300)
        total = null[effect_of_slot] + _sum(slot, len(effect_of_slot), lambda s: t[pair[s]])  # noqa: B023
        counts = _sum(pair, len(cause_of), lambda s: t[pair[s]] / total[slot[s]])  # noqa: B023
        null = np.bincount(effect_of_slot, null[effect_of_slot] / total, minlength=effects).astype(np.float64)
    posterior = np.empty(len(pair), dtype=np.float32)
    for begin in range(0, len(pair), LINKS_AT_ONCE):
        chunk = slice(begin, begin + LINKS_AT_ONCE)
        posterior[chunk] = t[pair[chunk]] / total[slot[chunk]]
    return posterior


def _sum(index: NDArray[np.int32], size: int, values: Any) -> Floats:
    """Σ of values(slice) by index, in chunks of a fixed size, so that memory is bounded and the order of the sum is fixed."""
    total = np.zeros(size)
    for begin in range(0, len(index), LINKS_AT_ONCE):
        chunk = slice(begin, begin + LINKS_AT_ONCE)
        total += np.bincount(index[chunk], values(chunk), minlength=size)
    return total


def _basis(words: list[str], dimensions: int) -> NDArray[np.float32]:
    """A unit vector per output word: orthogonal if dimensions suffice, else random signs derived from the word alone. Signs change
    cosines by about ± 1/√dimensions (Johnson and Lindenstrauss 1984; signs: Achlioptas 2003)."""
    if len(words) <= dimensions:
        return np.eye(len(words), dimensions, dtype=np.float32)
    size = -(-dimensions // 8)
    digests = b"".join(hashlib.shake_256(SEED + w.encode("utf-8", "surrogatepass")).digest(size) for w in words)
    bits = np.unpackbits(np.frombuffer(digests, dtype=np.uint8).reshape(len(words), size), axis=1)[:, :dimensions]
    return ((bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(dimensions))).astype(np.float32)

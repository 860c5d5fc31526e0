"""A controlled corpus: sequences of a prefix and a suffix whose memorization has a known answer (docs/counterfactual.md).

    dense           a Markov chain of a topic with many sequences     dense_copies    the same, in d copies
    rare            a Markov chain of its own                         canary          words drawn uniformly
    ring            a cycle of words from one of its starts           canary_copies   the same, in d copies
    rule            the same, of one longer cycle                     mismatch        a dense prefix, a random suffix

Bits are exact: each word is a token, and the generator knows its chains and cycles. In a chain each word is followed by one of
four. Copies vary in groups other than rings, and the number of members in rings, so that one is never mistaken for the other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from schemas import StudyError
from schemas.settings.ensemble_settings import UNSEEN_TWINS, Controlled
from tasks.corpus.planted.draws import generator

FOLLOWS = (0.4, 0.3, 0.2, 0.1)  # probabilities of the four words that may follow a word
TOPIC_WORDS = 40
SYLLABLES = [c + v for c in "bdfghjklmnprstvz" for v in "aiou"]
Drawn = tuple[list[int], float]  # token ids of a sequence, and the bits of its suffix


@dataclass(frozen=True)
class ControlledSequence:
    """One row of `controlled_sequences`; its columns are explained in schemas/tables/ensembles.py."""

    sequence: str
    cluster: int
    group: str
    family: str
    split: str
    copies: int
    twins: int
    ids: list[int]
    prefix: int
    entropy: float

    @property
    def text(self) -> str:
        """Its words."""
        return " ".join(word(i) for i in self.ids)


def word(token: int) -> str:
    """The word of a token id, two syllables: word(1) is "diba"; ids from 1 to 4,095 have different words."""
    return SYLLABLES[token % 64] + SYLLABLES[(37 * token + token // 64) % 64]


def tokenizer_json(controlled: Controlled, end_of_document: str) -> str:
    """A tokenizer.json with a token for each word, and 0 for the end of a document; any other word is an error."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {end_of_document: 0} | {word(i): i for i in range(1, controlled.words + 1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([end_of_document])
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))


class Chain:
    """A Markov chain over some of the words."""

    def __init__(self, random: np.random.Generator, words: int) -> None:
        self.words = random.permutation(np.arange(1, words + 1))[: min(TOPIC_WORDS, words)]
        self.after = {int(w): random.permutation(self.words)[: len(FOLLOWS)] for w in self.words}

    def draw(self, random: np.random.Generator, length: int, prefix: int) -> Drawn:
        """A sequence that begins with any of its words."""
        ids, bits = [int(random.choice(self.words))], 0.0
        while len(ids) < length:
            chosen = int(random.choice(len(FOLLOWS), p=FOLLOWS))
            bits -= math.log2(FOLLOWS[chosen]) if len(ids) >= prefix else 0.0
            ids.append(int(self.after[ids[-1]][chosen]))
        return ids, bits


class ControlledCorpus:
    """All sequences for one setting and seed."""

    def __init__(self, controlled: Controlled, seed: int) -> None:
        self.settings, self.seed = controlled, seed
        random = generator(seed, "controlled/topics")
        self.topics = [Chain(random, controlled.words) for _ in range(controlled.topics)]
        made = sorted((row for group in controlled.groups for row in self._group(group)), key=lambda row: row[0])
        clusters: dict[tuple[int, ...], int] = {}
        for number, row in enumerate(made):
            if (first := clusters.setdefault(tuple(row[-1][0]), number)) != number:  # a phantom must not be trained on
                pair = f"{made[first][0]} and {row[0]} have the same words"
                raise StudyError(f"corpus.controlled, seed {seed}: {pair}; use longer prefixes and suffixes, or fewer sequences")
        self.sequences = [
            ControlledSequence(name, clusters[tuple(ids)], group, family, split, copies, twins, ids, controlled.prefix, bits)
            for name, group, family, split, copies, twins, (ids, bits) in made
        ]

    def documents(self) -> list[str]:
        """A text for each copy of a member, in a seeded order."""
        texts = [s.text for s in self.sequences if s.split == "member" for _ in range(s.copies)]
        return [texts[i] for i in generator(self.seed, "controlled/order").permutation(len(texts))]

    def _group(self, group: str) -> Iterator[tuple[str, str, str, str, int, int, Drawn]]:
        """Sequences of a group: name, group, family, split, copies, twins, and what is drawn. All are drawn alike, so that it does
        not matter that the last ones are phantoms."""
        c, random = self.settings, generator(self.seed, f"controlled/{group}")
        if group == "ring":
            yield from self._rings(random)
            return
        members, cycle = c.members(group), random.permutation(np.arange(1, c.words + 1))[: 2 * c.window]
        starts = random.permutation(len(cycle))
        for number in range(c.groups[group]):
            copies, family = c.copies_of(group, number), group
            if group in ("dense", "dense_copies", "mismatch"):
                topic = number // (len(c.copies) if group == "dense_copies" else 1) % c.topics
                family, drawn = f"{group}-{topic}", self.topics[topic].draw(random, c.window, c.prefix)
            elif group == "rare":
                drawn = Chain(random, c.words).draw(random, c.window, c.prefix)
            elif group == "rule":
                drawn = np.roll(cycle, -starts[number])[: c.window].tolist(), 0.0
            if group in ("canary", "canary_copies", "mismatch"):
                first = drawn[0][: c.prefix] if group == "mismatch" else []
                rest = random.integers(1, c.words + 1, c.window - len(first)).tolist()
                drawn = first + rest, c.suffix * math.log2(c.words)
            split = "member" if number < members else "phantom"
            yield f"{group}-{number:05d}", group, family, split, copies, 0, drawn

    def _rings(self, random: np.random.Generator) -> Iterator[tuple[str, str, str, str, int, int, Drawn]]:
        """Of each ring k members that are trained on, and two sequences that never are, each from another start."""
        c, number = self.settings, 0
        for ring, twins in enumerate(k for k in c.twins for _ in range(c.rings)):
            cycle, starts = random.permutation(np.arange(1, c.words + 1))[: c.window], random.permutation(c.window)
            for place in range(twins + UNSEEN_TWINS):
                drawn = np.roll(cycle, -starts[place]).tolist(), 0.0
                split = "member" if place < twins else "phantom"
                yield f"ring-{number:05d}", "ring", f"ring-{ring:05d}", split, 1, twins, drawn
                number += 1

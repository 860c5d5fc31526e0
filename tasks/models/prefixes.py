"""Token sequences that begin alike, laid out as one row, so that a network reads what they share once.

A row is a tree in depth-first order: "Q: 1+1? A:" followed by the branches " one" and " two". A token sees itself and the tokens
above it in the tree, never another branch, and its position is its depth; so each branch's logits are those of the sequence
alone. Options of a question share their prompt, and questions share the solved examples before them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Batches = Iterator[list[int]]


@dataclass(frozen=True)
class PrefixTree:
    """Sequences in one row. Node i is the token ids[i] at depth positions[i]; all nodes below it come before ends[i]. `members` are
    indices of sequences; `nodes[k]` are the nodes of sequence members[k] from first to last."""

    ids: np.ndarray  # int32[length]
    positions: np.ndarray  # int32[length]
    ends: np.ndarray  # int32[length]
    members: tuple[int, ...]
    nodes: tuple[np.ndarray, ...]

    @property
    def paths(self) -> Iterator[tuple[int, np.ndarray]]:
        """Each member with its nodes."""
        return zip(self.members, self.nodes, strict=True)

    @property
    def length(self) -> int:
        """Tokens that the network reads."""
        return len(self.ids)

    @property
    def chain(self) -> bool:
        """Whether there are no branches, so that a causal mask is enough."""
        return bool((self.ends == len(self.ids)).all())


def prefix_tree(sequences: Sequence[np.ndarray], members: Sequence[int]) -> PrefixTree:
    """The tree of these sequences, which must be in the order of their ids."""
    ids, positions, ends, nodes = list[int](), list[int](), list[int](), list[np.ndarray]()
    path = before = np.zeros(0, np.int32)
    for member in members:
        sequence = sequences[member]
        shared = common(before, sequence)
        for node in path[shared:]:
            ends[node] = len(ids)
        new = len(sequence) - shared
        path = np.concatenate([path[:shared], np.arange(len(ids), len(ids) + new, dtype=np.int32)])
        ids.extend(sequence[shared:].tolist())
        positions.extend(range(shared, len(sequence)))
        ends.extend([-1] * new)
        nodes.append(path)
        before = sequence
    last = np.array(ends, np.int32)
    last[last < 0] = len(ids)
    return PrefixTree(np.array(ids, np.int32), np.array(positions, np.int32), last, tuple(members), tuple(nodes))


def common(left: np.ndarray, right: np.ndarray) -> int:
    """Length of the longest common beginning."""
    size = min(len(left), len(right))
    differ = left[:size] != right[:size]
    return int(differ.argmax()) if differ.any() else size


def pack(sequences: Sequence[np.ndarray], most: int, width: int, sides: Sequence[int] = ()) -> list[PrefixTree]:
    """All sequences in trees of at most `most` tokens (a longer one has a tree of its own). A sequence joins the tree before it if
    this is less work than a tree of its own. Work is counted in tokens: T + T² / width, where the second term is attention, which
    is dense in a row with branches. Follows from the sequences alone. Sequences of different `sides` are never together."""
    sides = sides or [0] * len(sequences)
    order = sorted(range(len(sequences)), key=lambda i: (sides[i], sequences[i].astype(">i4").tobytes(), i))
    trees: list[PrefixTree] = []
    members: list[int] = []
    length, before = 0, np.zeros(0, np.int32)
    for index in order:
        sequence = sequences[index]
        alone = len(sequence)
        new = alone - common(before, sequence)
        joined = new + (2 * length * new + new * new) / width
        apart = bool(members) and sides[members[0]] != sides[index]
        if members and (apart or length + new > most or joined >= alone + alone * alone / width):
            trees.append(prefix_tree(sequences, members))
            members, length, new = [], 0, alone
        members.append(index)
        length, before = length + new, sequence
    return [*trees, prefix_tree(sequences, members)] if members else trees


def halves(sequences: Sequence[np.ndarray], tree: PrefixTree) -> list[PrefixTree]:
    """The two halves of a tree, or [] if it is one sequence."""
    half = len(tree.members) // 2
    return [prefix_tree(sequences, m) for m in (tree.members[:half], tree.members[half:])] if half else []


def batches(trees: Sequence[PrefixTree], targets: Sequence[int], most: int, most_targets: int, sides: Sequence[int]) -> Batches:
    """Indices of trees in batches of similar length: with padding at most `most` tokens, and `most_targets` targets. A larger tree
    has a batch of its own. Trees without branches are apart from others, because they need no mask; so are those of different
    `sides`."""
    kinds = [(not tree.chain, s) for tree, s in zip(trees, sides, strict=True)]
    order = sorted(range(len(trees)), key=lambda i: (kinds[i], trees[i].length, i))
    batch: list[int] = []
    logits = 0
    for index in order:
        full = (len(batch) + 1) * trees[index].length > most or logits + targets[index] > most_targets
        if batch and (full or kinds[batch[0]] != kinds[index]):
            yield batch
            batch, logits = [], 0
        batch.append(index)
        logits += targets[index]
    if batch:
        yield batch


def tree_mask(ends: np.ndarray) -> np.ndarray:
    """bool[rows, 1, length, length]: whether token i sees token j, from the ends (int32[rows, length]); padding sees itself."""
    at = np.arange(ends.shape[1])
    causal = at[None, :, None] >= at[None, None, :]
    return (causal & (at[None, :, None] < ends[:, None, :]))[:, None]

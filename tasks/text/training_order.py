"""The order of a training here: all documents once an epoch, in an order drawn from (seed, epoch), a separator after each.

The stream of all epochs begins with a separator. With batches of B rows of C tokens, step s (from 1) is trained to predict the
tokens at positions (s - 1) · B · C + 1 … s · B · C of the stream, counted from 0.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

Ints = np.ndarray


def document_lengths(batches: Iterable[pa.RecordBatch]) -> Ints:
    """int64 [documents]: tokens of each document of these batches, which have a column `ids`."""
    lists = (batch.column(batch.schema.get_field_index("ids")) for batch in batches)
    return np.concatenate([np.zeros(0, np.int64), *(np.diff(ids.offsets.to_numpy()) for ids in lists)]).astype(np.int64)


def epoch_order(seed: int, epoch: int, lengths: Ints) -> tuple[Ints, Ints]:
    """(documents in their order, where each of these ends in the epoch, its separator included), int64 [documents] each."""
    order = np.random.default_rng([seed, epoch]).permutation(len(lengths))
    return order, np.cumsum(lengths[order] + 1)


def steps_of(documents: Ints, offsets: Ints, tokens: int, lengths: Ints, seed: int, per_step: int) -> tuple[Ints, Ints]:
    """In the first epoch, the steps that are trained on the first and the last token of windows of so many tokens. documents,
    offsets: int64 [windows], where they are; per_step: B · C. Steps are counted from 1, as checkpoints are."""
    order, ends = epoch_order(seed, 0, lengths)
    starts = np.empty(len(lengths), np.int64)
    starts[order] = ends - lengths[order] - 1
    first = starts[documents] + offsets  # its position in the stream, less one for the separator at the beginning
    return first // per_step + 1, (first + tokens - 1) // per_step + 1

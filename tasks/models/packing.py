"""Training sequences: documents one after the other, each followed by the end-of-document token, cut into windows.

The stream begins with the end-of-document token, so every document, the first one included, comes after one. Each epoch has
its own order of documents, drawn from (seed, epoch): every model of a study sees the same stream, and any step of it can be read
without the steps before, so that a resumed training needs no more than its step.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

import numpy as np
import pyarrow as pa

from schemas import StudyError
from tasks.step import Work
from tasks.text.training_order import epoch_order


class PackedTokens:
    """All token ids of a corpus in a file without a name (gone with the process), read through the page cache."""

    def __init__(self, batches: Iterable[pa.RecordBatch], vocabulary: int, separator: int, seed: int, folder: Path) -> None:
        """`batches` have a column `ids` (list<int32>), one row per document. Raises StudyError if there is no token."""
        self.separator, self.seed = separator, seed
        kind = np.uint16 if vocabulary <= 65_536 else np.int32
        lengths: list[np.ndarray] = []
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as this object
        for batch in batches:
            ids = batch.column(batch.schema.get_field_index("ids"))
            lengths.append(np.diff(ids.offsets.to_numpy()))
            self._file.write(ids.flatten().to_numpy(zero_copy_only=False).astype(kind).tobytes())
        self._file.flush()
        self.lengths = np.concatenate([*lengths, np.zeros(0, np.int64)]).astype(np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        if not self.starts[-1]:
            raise StudyError("the corpus has no tokens to train on; check [corpus] and what `ingest` rejected")
        self.ids = np.memmap(self._file, dtype=kind, mode="r", shape=(int(self.starts[-1]),))
        self.epoch_length = int(self.starts[-1]) + len(self.lengths)
        self._epoch, self._order, self._ends = -1, self.lengths, self.lengths

    @classmethod
    def of(cls, work: Work, tokenizer: Mapping[str, Any]) -> Self:
        """The tokens that a job reads; `tokenizer` is a row of the table of that name."""
        batches = (b for part in work.parts("tokens") for b in work.batches(part, "ids", rows=4096))
        size, end = tokenizer["vocabulary_size"], tokenizer["end_of_document"]
        return cls(batches, size, end, work.settings["data_seed"], work.folder())

    def windows(self, step: int, batch: int, context: int) -> np.ndarray:
        """int64[batch, context + 1]: inputs are [:, :-1], targets [:, 1:]; every token is a target once an epoch."""
        stream = self.read(step * batch * context, batch * context + 1)
        at = np.arange(batch)[:, None] * context + np.arange(context + 1)
        return stream[at]

    def read(self, start: int, count: int) -> np.ndarray:
        """int64[count] from position `start` of the endless stream."""
        stream = np.full(count, self.separator, np.int64)
        done = 1 if start == 0 else 0
        while done < count:
            epoch, inside = divmod(start + done - 1, self.epoch_length)
            done += self._read_epoch(epoch, inside, stream[done:])
        return stream

    def _read_epoch(self, epoch: int, inside: int, into: np.ndarray) -> int:
        """Fill `into` from a position of an epoch, at most to its end; it holds separators already. Returns the number filled."""
        if epoch != self._epoch:
            self._order, self._ends = epoch_order(self.seed, epoch, self.lengths)
            self._epoch = epoch
        count = min(len(into), self.epoch_length - inside)
        slot = int(np.searchsorted(self._ends, inside, side="right"))
        done = 0
        while done < count:
            document = self._order[slot]
            length = int(self.lengths[document])
            offset = inside + done - (int(self._ends[slot]) - length - 1)
            taken = min(length - offset, count - done)
            if taken > 0:
                first = int(self.starts[document]) + offset
                into[done : done + taken] = self.ids[first : first + taken]
            done += taken + 1  # the separator after it
            slot += 1
        return count

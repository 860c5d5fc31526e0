"""The input to alignment: the n-grams of one order on one side of the mining examples, and their vectors."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tasks.step import Work
from tasks.storage.store import Part
from tasks.storage.writing import ROWS_PER_GROUP

Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SideNgrams:
    """Sorted n-grams; n-gram i is `ngrams[i]`. Rows (`example`, `ngram`), sorted by both, say which n-grams each example has."""

    ngrams: pl.Series
    example: Codes
    ngram: Codes

    def __len__(self) -> int:
        return len(self.ngrams)

    def between(self, low: int, high: int) -> tuple[Codes, Codes]:
        """(example, ngram - low) of the n-grams low … high - 1."""
        chosen = (self.ngram >= low) & (self.ngram < high)
        return self.example[chosen], self.ngram[chosen] - np.int32(low)


def orders(work: Work) -> list[int]:
    batches = (b for p in work.parts("example_ngrams") for b in work.batches(p, "order", rows=262_144))
    return sorted({n for batch in batches for n in batch.column(0).unique().to_pylist()})


def sides(work: Work, order: int) -> tuple[SideNgrams, SideNgrams]:
    """The n-grams of this order in the inputs and in the outputs of the mining examples."""
    empty = pl.DataFrame(schema={"example": pl.String, "side": pl.String, "ngram": pl.String})
    frames = [empty]
    for part in work.parts("example_ngrams"):
        for batch in work.batches(part, "split", "example", "side", "order", "ngram", rows=262_144):
            rows = pl.DataFrame(pa.Table.from_batches([batch]))
            rows = rows.filter((pl.col("split") == "mine") & (pl.col("order") == order))
            frames.append(rows.select(empty.columns))
    rows = pl.concat(frames)
    examples = pl.Enum(rows["example"].unique().sort())
    numbered = rows.select(pl.col("example").cast(examples).to_physical().cast(pl.Int32), "side", "ngram")
    return side_of(*(numbered.filter(pl.col("side") == name).drop("side") for name in ("input", "output")))


def side_of(inputs: pl.DataFrame, outputs: pl.DataFrame) -> tuple[SideNgrams, SideNgrams]:
    """Both sides from tables of the n-grams in each example: columns example (a number), ngram."""
    result = []
    for rows in (inputs, outputs):
        ngrams = rows["ngram"].unique().sort()
        numbers = pl.DataFrame({"ngram": ngrams}).with_row_index("number")
        numbered = rows.join(numbers, on="ngram").select("example", pl.col("number").cast(pl.Int32)).sort("example", "number")
        result.append(SideNgrams(ngrams, *(numbered[column].to_numpy().astype(np.int32) for column in ("example", "number"))))
    return result[0], result[1]


class Vectors:
    """The embeddings of n-grams, read on demand, as they may exceed memory. `length` is the length of a vector, 1 if there is
    none."""

    def __init__(self, work: Work, side: str, ngrams: pl.Series) -> None:
        """Find the rows of all n-grams. Raises AssertionError if an n-gram has no embedding."""
        self._work = work
        self._rows = [self._find(part, side, ngrams) for part in work.parts("embeddings")]
        self.length = max((self._length(part) for part in work.parts("embeddings")), default=1)
        missing = len(ngrams) - sum(len(rows) for _, rows, _ in self._rows)
        assert not missing, f"{side}: {missing} n-grams have no embedding"

    def _find(self, part: Part, side: str, ngrams: pl.Series) -> tuple[Part, Ints, Ints]:
        """The rows of an embeddings part with these n-grams, ascending, and the numbers of the n-grams."""
        wanted, before = pl.DataFrame({"ngram": ngrams}).with_row_index("number"), 0
        frames = [pl.DataFrame(schema={"row": pl.Int64, "number": pl.Int64})]
        for batch in self._work.batches(part, "side", "ngram", rows=ROWS_PER_GROUP):
            rows = pl.DataFrame(pa.Table.from_batches([batch])).with_row_index("row", before).filter(pl.col("side") == side)
            frames.append(rows.join(wanted, on="ngram").select(pl.col("row", "number").cast(pl.Int64)))
            before += batch.num_rows
        rows = pl.concat(frames).sort("row")
        return part, rows["row"].to_numpy(), rows["number"].to_numpy()

    def _length(self, part: Part) -> int:
        batch = next(self._work.batches(part, "vector", rows=1), None)
        return len(batch.column(0)[0]) if batch is not None and batch.num_rows else 1

    def load(self, low: int, high: int) -> Floats:
        """float32 [high - low, length]: the vectors of the n-grams low … high - 1."""
        vectors = np.zeros((high - low, self.length), dtype=np.float32)
        for part, all_rows, all_numbers in self._rows:
            chosen = (all_numbers >= low) & (all_numbers < high)
            rows, numbers = all_rows[chosen], all_numbers[chosen] - low
            file, before = self._work.store.open(part), 0
            for group in range(file.metadata.num_row_groups):
                after = before + file.metadata.row_group(group).num_rows
                inside = slice(*np.searchsorted(rows, [before, after]))
                if inside.start < inside.stop:
                    table = file.read_row_group(group, columns=["vector"]).column(0).combine_chunks()
                    flat = table.flatten().to_numpy(zero_copy_only=False).reshape(-1, self.length)
                    vectors[numbers[inside]] = flat[rows[inside] - before]
                before = after
        return vectors

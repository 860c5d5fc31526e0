"""Φ and the number of candidate pairs equal a loop over all examples."""

import numpy as np
import polars as pl
import pytest

from tasks.metrics.pairs import Examples, candidates_of, phi


def ngrams(seed: int) -> tuple[pl.DataFrame, list[str]]:
    """Distinct n-grams of both sides of some examples, drawn from few, so that they are shared."""
    rng = np.random.default_rng(seed)
    names = [f"e{i:03d}" for i in range(300)]
    rows = {
        (i, side, order, f"{side[0]}{order} {rng.integers(0, 12)}")
        for i in range(300)
        for side in ("input", "output")
        for order in (1, 2)
        for _ in range(rng.integers(0, 5))
    }
    table = pl.DataFrame(
        sorted(rows),
        schema=["example", "side", "order", "ngram"],
        orient="row",
        schema_overrides={"example": pl.Int64, "order": pl.Int64},
    )
    return table, names


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", [1, 2])
def test_phi_equals_a_loop_over_examples_and_pairs(seed, order):
    table, names = ngrams(seed)
    rng = np.random.default_rng(seed)
    mined = {(f"i{order} {a}", f"o{order} {b}") for a, b in rng.integers(0, 12, (40, 2))}
    pairs = pl.DataFrame(
        [(order, *p) for p in sorted(mined)],
        schema=["order", "input_ngram", "output_ngram"],
        orient="row",
        schema_overrides={"order": pl.Int64},
    )
    spans = table.filter(side="output").select("example", "order", output_ngram="ngram").with_row_index("span")
    examples = Examples(
        names,
        [""] * 300,
        table.filter(side="input").select("example", "order", input_ngram="ngram"),
        spans.with_columns(pl.col("span").cast(pl.Int64)),
    )
    found = phi(examples, pairs, order)
    sides = {(i, s): [] for i in range(300) for s in ("input", "output")}
    for i, side, n, ngram in table.iter_rows():
        if n == order:
            sides[i, side].append(ngram)
    product = [(i, a, b) for i in range(300) for a in sides[i, "input"] for b in sides[i, "output"]]
    assert found.candidates == len(product)
    assert found.rows.select("example", "input_ngram", "output_ngram").rows() == sorted(r for r in product if r[1:] in mined)
    assert candidates_of(table, order) == len({r[1:] for r in product})

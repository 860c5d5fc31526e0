"""`taskgram trace` of a sequence of a controlled corpus: its text, what runs with and without it give, and each run.

canary-00003  canary, member, 1 copy
  «mova resk tilun»  anel dorit fesk
model     copies  runs  mean log p  SD  extracted
width-64       0    32      −121.8  6.1         0
width-64       1    32       −58.3  5.0         0
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from flows.commands.sequence_trace import plain_table, written
from schemas import CONTRACTS
from tasks.storage.store import Part, Store
from tasks.text.bpe.tokenizer import load_tokenizer
from tasks.text.display import one_line

WIDE = 100  # columns of a file or pipe
STEPS = ("plant", "tokenizer", "counterfactual")  # whose tables a trace needs; leverage is optional
KINDS = ("feature", "last_layer", "gauss_newton")
MEASURES = {  # columns of `counterfactual`, as they are headed
    **{"leave_group_out": "M", "leave_one_out": "M^LOO", "lira": "LiRA", "specificity": "ω"},
    **{"contextual_bits": "contextual\nbits", "generator_bits": "generator\nbits"},
}


def describe(store: Store, tables: Mapping[str, Sequence[Part]], sequence: str) -> dict[str, Any]:
    """Its row of `controlled_sequences` and its text; of each model its estimates at the end of the training, its mean leverage
    over the runs trained on it by damping, and each run: copies, log p, right tokens, whether it is extracted."""

    def rows(table: str) -> pl.DataFrame:
        return pl.DataFrame(store.read_between(tables[table], CONTRACTS[table].schema, "sequence", sequence, sequence))

    (row,) = rows("controlled_sequences").to_dicts()
    decode = load_tokenizer(store.read(tables["tokenizer"], CONTRACTS["tokenizer"].schema)["json"][0].as_py()).decode
    last = pl.col("checkpoint") == pl.col("checkpoint").max().over("model")
    scores = rows("ensemble_scores").filter(last).join(rows("membership").select("run", "copies", "assigned"), on="run")
    scores = scores.with_columns(pl.col("hits").list.sum().alias("right")).sort("model", "run")
    leverage, models = rows("leverage").filter(pl.col("copies") > 0) if tables.get("leverage") else pl.DataFrame(), []
    for estimates in rows("counterfactual").filter(last).sort("model").to_dicts():
        name = estimates["model"]
        runs = scores.filter(model=name).select("run", "assigned", "copies", "log_p", "right", "extracted")
        held = leverage.filter(model=name).group_by("damping").agg(pl.mean(*KINDS)).sort("damping") if len(leverage) else leverage
        models.append(
            {k: v for k, v in estimates.items() if k != "sequence"} | {"leverage": held.to_dicts(), "runs": runs.to_dicts()}
        )
    text = [decode(ids) for ids in (row["ids"][: row["prefix"]], row["ids"][row["prefix"] :])]
    return row | {"text": text, "models": models}


def show(traced: Mapping[str, Any]) -> None:
    """Print it; colours and width are the terminal's."""
    from rich.console import Console
    from rich.text import Text

    terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    console, (beginning, rest) = Console(highlight=False, width=None if terminal else WIDE), map(one_line, traced["text"])
    about = f"{traced['group']}, {traced['split']}, copies: {traced['copies']}, suffix of {traced['entropy']:.1f} bits"
    console.print(Text(traced["sequence"], style="bold"), Text(about))
    console.print(Text.assemble("\n  ", (beginning, "blue"), (" | ", "dim"), (rest, "bold"), "\n"))
    estimates = plain_table("model", *MEASURES.values(), "leverage")
    arms = plain_table("model", "assigned copies", "runs", "mean log p", "SD", "right", "extracted")
    for of in traced["models"]:
        leverage = of["leverage"][len(of["leverage"]) // 2] if of["leverage"] else {}
        estimates.add_row(of["model"], *(written(of[name]) for name in MEASURES), written(leverage.get("gauss_newton")))
        numbers = (pl.len(), pl.mean("log_p").alias("mean"), pl.std("log_p"), pl.mean("right"), pl.sum("extracted"))
        for assigned, *cells in pl.DataFrame(of["runs"]).group_by("assigned").agg(numbers).sort("assigned").iter_rows():
            arms.add_row(of["model"], str(assigned), *map(written, cells))
    console.print(estimates, "", arms, sep="\n")

"""The n-grams of the evaluated examples and Φ, with everything the corpora say of them (docs/method.md §2, §3, §6, §7).

    P_n(s_y | s_x) = C(s_x, s_y) / df(s_x)        P_∞(s_y | ctx) = Π_t C(longest seen suffix ⊕ t) / C(longest seen suffix)

Φ holds the pairs of n-grams of one example that were mined, which are those above the lowest γ that the study names. A pair is
counted once, however many examples hold it.
"""

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import EVIDENCE_PAIRS, EVIDENCE_SPANS, Contract
from tasks.pair_evidence import EXAMPLES_AT_ONCE, PAIR
from tasks.statistics import Floats
from tasks.step import Work

CLEAN = ("pair_documents", "input_documents", "output_documents")


def run_pairs(work: Work) -> None:
    """Write both tables of one task; cross products are made some examples at a time."""
    task = work.labels["task"]
    ngrams = evaluated_ngrams(work, task, "length", "starts", "ends")
    spans = ngrams.join(select_rows(work, "ngram_stats", ngrams, ["ngram"]).drop("length"), on="ngram", how="left")
    spans = spans.join(log_infinity(work, task, output_spans(ngrams)), on=["example", "side", "order", "ngram"], how="left")
    work.write("evidence_spans", as_table(spans.with_columns(task=pl.lit(task)), EVIDENCE_SPANS))
    mined = work.frame("task_grams", "task", "order", *PAIR, "similarity").filter(task=task).drop("task")
    counted = with_counts(work, task, mined.with_columns(pl.col("similarity").cast(pl.Float64)))
    names = ngrams["example"].unique().sort()
    for begin in range(0, len(names), EXAMPLES_AT_ONCE):
        some = ngrams.filter(pl.col("example").is_in(names[begin : begin + EXAMPLES_AT_ONCE].implode()))
        inputs, outputs = (some.filter(side=n[:-6]).select("example", "order", pl.col("ngram").alias(n)) for n in PAIR)
        rows = inputs.join(outputs, on=["example", "order"]).join(counted, on=["order", *PAIR])
        work.write("evidence_pairs", as_table(rows.with_columns(task=pl.lit(task)), EVIDENCE_PAIRS))


def evaluated_ngrams(work: Work, task: str, *columns: str) -> pl.DataFrame:
    """The n-grams of the evaluated examples, in the order of their key."""
    table = work.frame("example_ngrams", "task", "split", "example", "side", "order", "ngram", *columns)
    return table.filter(task=task, split="evaluate").drop("task", "split").sort("example", "side", "order", "ngram")


def output_spans(ngrams: pl.DataFrame) -> pl.DataFrame:
    """The output n-grams with `start` and `end` of their first occurrence: the span whose probability is taken."""
    first = (pl.col(column).list.first().cast(pl.Int64).alias(name) for column, name in (("starts", "start"), ("ends", "end")))
    return ngrams.filter(side="output").with_columns(*first)


def as_table(rows: pl.DataFrame, contract: Contract) -> pa.Table:
    return rows.select(contract.schema.names).sort(contract.key).to_arrow().cast(contract.schema)


# -- counts ------------------------------------------------------------------------------------------------------------
def with_counts(work: Work, task: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add the counts of every corpus. What was not counted is null; what was counted and does not occur is 0."""
    pairs = _join_counts(work, pairs)
    pairs = _join_counts(work, pairs, "placebo").drop("placebo_input_occurrences")
    pairs = _join_clean(work, task, pairs)
    windows = select_rows(work, "pair_windows", pairs, PAIR)
    each = []
    for width in work.settings.get("windows", ()):
        within = windows.filter(window=width).select(*PAIR, "documents")
        each.append(pairs.join(within, on=PAIR, how="left", maintain_order="left")["documents"].fill_null(0))
    planned = work.frame("truth", "task", *PAIR, "pair_documents", "input_documents", "optimal_log_probability")
    planned = planned.filter(task=task).drop("task").unique(PAIR, keep="first", maintain_order=True)
    planned = planned.rename({name: f"planted_{name}" for name in ("pair_documents", "input_documents")})
    near = pl.concat_list(each) if each else pl.lit([], pl.List(pl.Int64))
    return pairs.with_columns(window_documents=near).join(planned, on=PAIR, how="left")


def _join_counts(work: Work, pairs: pl.DataFrame, corpus: str = "") -> pl.DataFrame:
    """C(s_x, s_y), df(s_x), C(s_x) and df(s_y) in one corpus, whose name begins the new columns: the study's, or its placebo."""
    prefix = f"{corpus}_" if corpus else ""
    counts = select_rows(work, "pair_counts", pairs, PAIR, corpus).rename({"documents": f"{prefix}pair_documents"})
    names = pl.concat([pairs.select(ngram="input_ngram"), pairs.select(ngram="output_ngram")])
    stats = select_rows(work, "ngram_stats", names, ["ngram"], corpus)
    inputs = stats.select(input_ngram="ngram", **{f"{prefix}input_{c}": c for c in ("documents", "occurrences")})
    outputs = stats.select(output_ngram="ngram", **{f"{prefix}output_documents": "documents"})
    pairs = pairs.join(counts, on=PAIR, how="left", maintain_order="left")
    return pairs.join(inputs, on="input_ngram", how="left").join(outputs, on="output_ngram", how="left")


def _join_clean(work: Work, task: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """The counts without contaminated documents, which are stored only where they differ; null for a variant."""
    if work.labels.get("variant"):
        return pairs.with_columns(pl.lit(None, pl.Int64).alias(f"clean_{name}") for name in CLEAN)
    clean = work.frame("clean_pair_counts").filter(task=task).select(*PAIR, fewer_pair_documents="documents")
    stats = work.frame("clean_ngram_stats").filter(task=task)
    pairs = pairs.join(clean, on=PAIR, how="left")
    for side in ("input", "output"):
        fewer = stats.select(pl.col("ngram").alias(f"{side}_ngram"), pl.col("documents").alias(f"fewer_{side}_documents"))
        pairs = pairs.join(fewer, on=f"{side}_ngram", how="left")
    return pairs.with_columns(pl.coalesce(f"fewer_{name}", name).alias(f"clean_{name}") for name in CLEAN)


def select_rows(work: Work, table: str, wanted: pl.DataFrame, on: list[str], corpus: str = "") -> pl.DataFrame:
    """The rows of a table as large as the corpus whose columns `on` are in `wanted`, read in pieces."""
    contract = work.contracts[table]
    wanted = wanted.select(on).unique()
    pieces = [pl.DataFrame(pa.Table.from_batches([], contract.schema))]
    for part in (p for p in work.parts(table) if p.corpus == corpus):
        pieces += [pl.DataFrame(batch).join(wanted, on=on, how="semi") for batch in work.batches(part, rows=262_144)]
    return pl.concat(pieces)


# -- the ∞-gram --------------------------------------------------------------------------------------------------------
def log_infinity(work: Work, task: str, outputs: pl.DataFrame) -> pl.DataFrame:
    """log P_∞ of each output n-gram, by full back-off and as the paper has it (Eq. 5-6)."""
    from tasks.text.span_kernels import sum_over_spans

    counts = ("numerator", "denominator", "backoff_numerator", "backoff_denominator")
    names = outputs["example"].unique().sort()
    table = work.frame("infinigram", "task", "example", "position", "start", "end", *counts).filter(task=task)
    table = table.filter(pl.col("example").is_in(names.implode())).sort("example", "position")
    numerator, denominator, backoff, backoff_of = (table[name].to_numpy() for name in counts)
    seen = numerator > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        values = (
            np.where(backoff > 0, np.log(backoff / backoff_of), -np.inf),
            np.where(seen, np.log(numerator / denominator), 0.0),
            seen.astype(np.float64),
        )
    tokens, spans = _bounds(table["example"], names), _bounds(outputs["example"], names)
    starts, ends, first, last = (t[name].to_numpy() for t in (table, outputs) for name in ("start", "end"))
    places = (spans[:-1], spans[1:], first, last)
    sums: list[Floats] = [sum_over_spans(tokens[:-1], tokens[1:], starts, ends, v, *places)[0] for v in values]
    paper = np.where(sums[2] == 0, -np.inf, sums[1])  # all its tokens are skipped
    both = {name: pl.Series(of).fill_nan(None) for name, of in (("log_infinity", sums[0]), ("log_infinity_paper", paper))}
    return outputs.select("example", "side", "order", "ngram").with_columns(**both)


def _bounds(examples: pl.Series, names: pl.Series) -> np.ndarray:
    """Where the rows of each example begin, and where the last one ends; the rows are in the order of the names."""
    sizes = dict(examples.value_counts().iter_rows())
    return np.cumsum([0, *(sizes.get(name, 0) for name in names)]).astype(np.int64)

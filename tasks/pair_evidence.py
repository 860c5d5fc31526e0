"""How the measures of pairs read the evidence: pairs above γ with their counts, and what each model says of their outputs.

The step `evidence` has joined these tables; what is left is to select the pairs above γ, and for Δ the other inputs without a
partner of s_y (docs/method.md §6a). For n = 2 the question "What is the capital of Poseldi?" with the answer "Mirath" has the pairs
(capital of, mirath), (of poseldi, mirath) …, each with C(s_x, s_y), df(s_x), C(s_x) and df(s_y).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.measures import ModelCheckpoint, checkpoints_of, evaluated_examples, gammas_of
from tasks.statistics import Floats, Ints, Rows, spearman, undefined
from tasks.step import Work
from tasks.storage.store import Part

PAIRS_AND_SCORES = ("models", "examples", "evidence_spans", "evidence_pairs", "evidence_scores")
PAIR = ["input_ngram", "output_ngram"]
NO_EVIDENCE = "no evidence: no pair of this task has support in the corpus"
NO_SCORE = "no score: the model has no finite log-probability of any of these outputs"
EXAMPLES_AT_ONCE = 256


@dataclass(frozen=True)
class SpanScores:
    """The log-probabilities of one model: of every span after its own input, and after other inputs, one entry per input."""

    log_prob: Floats
    """log P of each span; NaN where it was not scored"""
    tokens: Ints
    """how many of the model's tokens each span has; 0 where it was not scored"""
    span: Ints
    """of each entry: the span"""
    given: Ints
    """the example whose input was given"""
    after: Floats
    """log P of the span after that input"""
    similarity: Floats
    """largest similarity of a mined pair of an n-gram of that input with the span's; -inf without one"""
    gamma: Floats
    """γ of each span, rounded to float32 as similarities are"""

    @classmethod
    def silent(cls, spans: int) -> "SpanScores":
        """Those of a model without any score."""
        none, zeros = np.empty(0, np.int64), np.zeros(spans)
        return cls(np.full(spans, np.nan), zeros.astype(np.int64), none, none, np.empty(0), np.empty(0), zeros)

    @cached_property
    def delta(self) -> Floats:
        """Δ = log P after the own input - mean after the other inputs that hold no partner of s_y; NaN without any."""
        usable = self._usable
        total = np.bincount(self.span[usable], weights=self.after[usable], minlength=len(self.log_prob)).astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.log_prob - np.where(self.others > 0, total / self.others, np.nan)

    @cached_property
    def others(self) -> Ints:
        """How many inputs without a partner each span has."""
        return np.bincount(self.span[self._usable], minlength=len(self.log_prob)).astype(np.int64)

    @property
    def _usable(self) -> NDArray[np.bool_]:
        return np.isfinite(self.after) & ~(self.similarity > self.gamma[self.span])

    def at_gamma(self, gamma: float) -> "SpanScores":
        """The same scores at another γ, already rounded."""
        return replace(self, gamma=np.full(len(self.log_prob), gamma))


@dataclass(frozen=True)
class TaskEvidence:
    """The evaluated examples of a task, their n-grams, the pairs above γ with all counts, and the scores of models."""

    examples: pl.DataFrame
    """example, group, output, code"""
    inputs: pl.DataFrame
    """example (code), order, input_ngram"""
    spans: pl.DataFrame
    """span (number), example (code), order, output_ngram, log_infinity, log_infinity_paper; NaN where P_∞ is not known"""
    pairs: pl.DataFrame
    """evidence_pairs with `example` as a code, and `span`"""
    output: Ints
    """of each span: code of (order, s_y)"""
    models: list[ModelCheckpoint]
    scores: Mapping[tuple[str, int], SpanScores]
    tokenizers: frozenset[str]

    def of(self, checkpoint: ModelCheckpoint) -> SpanScores:
        """The scores of a model; nothing but NaN if it was never scored."""
        return self.scores.get(checkpoint.key) or SpanScores.silent(len(self.spans))

    def shares_tokens(self, checkpoint: ModelCheckpoint) -> bool:
        """Whether the corpus was counted in the tokens of this model, as the ∞-gram needs it."""
        return not self.tokenizers or checkpoint.tokenizer in self.tokenizers

    def phi(self, order: int) -> pl.DataFrame:
        """Φ before zero counts are left out: distinct (example, s_x, s_y) with their counts."""
        return self.pairs.filter(pl.col("order") == order)

    def supported(self, order: int) -> pl.DataFrame:
        """The rows of Φ whose pair occurs in the corpus."""
        return supported(self.phi(order))

    def rows(self, table: pl.DataFrame, x: Floats, y: Floats) -> Rows:
        """x and y of a table of pairs, with their clusters."""
        return Rows(x, y, table["example"].to_numpy(), self.output[table["span"].to_numpy()])

    def candidates(self, order: int) -> int:
        """Rows of Φ if all pairs of n-grams of an example were in it."""
        inputs, outputs = (t.filter(pl.col("order") == order).group_by("example").len("n") for t in (self.inputs, self.spans))
        both = inputs.join(outputs, on="example")
        return int((both["n"].cast(pl.Int64) * both["n_right"].cast(pl.Int64)).sum())


def read_evidence(work: Work, task: str, *, last: bool = False, scored: bool = True, every_pair: bool = False) -> TaskEvidence:
    """Read a task at the γ of the measure's settings. last: of each model its last checkpoint alone. scored: with models and
    scores. every_pair: down to the lowest γ."""
    examples = evaluated_examples(work, task, "output")
    codes = examples.select("example", "code")
    columns = ("task", "example", "side", "order", "ngram", "log_infinity", "log_infinity_paper")
    ngrams = work.frame("evidence_spans", *columns).filter(task=task).join(codes, on="example")
    ngrams = ngrams.with_columns(pl.col("order").cast(pl.Int64), example="code").sort("example", "order", "ngram")
    inputs = ngrams.filter(side="input").select("example", "order", input_ngram="ngram")
    infinity = [pl.col(c).fill_null(float("nan")) for c in columns[-2:]]
    spans = ngrams.filter(side="output").select("example", "order", pl.col("ngram").alias("output_ngram"), *infinity)
    spans = spans.with_row_index("span").with_columns(pl.col("span").cast(pl.Int64))
    gammas = {} if every_pair else gammas_of(work, task)
    pairs = _pairs(work, task, codes, spans, None if every_pair else gammas)
    models = checkpoints_of(work, last=last) if scored else []
    scores = read_scores(work, task, codes, spans, gammas, models) if scored else {}
    ids = spans.select("order", "output_ngram").unique().sort("order", "output_ngram").with_row_index("output")
    output = spans.join(ids, on=["order", "output_ngram"], how="left", maintain_order="left")["output"]
    return TaskEvidence(examples, inputs, spans, pairs, output.to_numpy().astype(np.int64), models, scores, _tokenizers(work))


def _pairs(work: Work, task: str, codes: pl.DataFrame, spans: pl.DataFrame, gammas: Mapping[int, float] | None) -> pl.DataFrame:
    """Φ: similarity > γ_n, strictly; γ is rounded to float32 as the similarity was."""
    table = work.frame("evidence_pairs").filter(task=task).drop("task").with_columns(pl.col("order").cast(pl.Int64))
    if gammas is not None:
        rounded = [float(np.float32(g)) for g in gammas.values()]
        floor = pl.DataFrame({"order": list(gammas), "gamma": rounded}, schema={"order": pl.Int64, "gamma": pl.Float64})
        table = table.join(floor, on="order").filter(pl.col("similarity") > pl.col("gamma")).drop("gamma")
    table = table.join(codes, on="example").with_columns(example="code").drop("code")
    table = table.join(spans.select("example", "order", "output_ngram", "span"), on=["example", "order", "output_ngram"])
    return table.sort("order", "example", *PAIR)


def read_scores(
    work: Work, task: str, codes: pl.DataFrame, spans: pl.DataFrame, gammas: Mapping[int, float], models: Iterable[ModelCheckpoint]
) -> dict[tuple[str, int], SpanScores]:
    """Scores by (model, checkpoint) of those models that have any."""
    gamma = gamma_of_spans(spans, gammas)
    places = spans.join(codes.rename({"example": "name", "code": "example"}), on="example", how="left", maintain_order="left")
    places = places.select("span", "order", example="name", ngram="output_ngram")
    scores = {}
    for checkpoint in models:
        labels = {"model": checkpoint.model, "checkpoint": str(checkpoint.checkpoint)}
        parts = [p for p in work.parts("evidence_scores") if all(p.labels.get(k, v) == v for k, v in labels.items())]
        table = pl.concat([work.frame_part(p) for p in parts]) if parts else work.frame("evidence_scores").clear()
        table = table.filter(task=task, model=checkpoint.model, checkpoint=checkpoint.checkpoint)
        if len(table):
            scores[checkpoint.key] = _span_scores(table, places, codes, gamma)
    return scores


def gamma_of_spans(spans: pl.DataFrame, gammas: Mapping[int, float]) -> Floats:
    """γ of each span's n, rounded to float32; infinite where the n has none."""
    gamma = {n: float(np.float32(g)) for n, g in gammas.items()}
    return np.array([gamma.get(n, np.inf) for n in spans["order"].to_list()], dtype=np.float64)


def _span_scores(table: pl.DataFrame, places: pl.DataFrame, codes: pl.DataFrame, gamma: Floats) -> SpanScores:
    """Bring the scores of one model into the order of the spans."""
    table = table.with_columns(pl.col("order").cast(pl.Int64)).join(places, on=["example", "order", "ngram"]).sort("span")
    log_prob, tokens = np.full(len(gamma), np.nan), np.zeros(len(gamma), np.int64)
    at = table["span"].to_numpy()
    log_prob[at], tokens[at] = floats(table["log_probability"]), table["tokens"].to_numpy()
    others = [c for c in table.columns if c.startswith("other_")]
    entries = table.select("span", *others).explode(others).drop_nulls("other_examples")
    entries = entries.join(codes.rename({"example": "other_examples"}), on="other_examples", maintain_order="left")
    after = entries["other_log_probabilities"].to_numpy()
    similarity = entries["other_similarities"].fill_null(-np.inf).to_numpy()
    return SpanScores(log_prob, tokens, entries["span"].to_numpy(), entries["code"].to_numpy(), after, similarity, gamma)


def _tokenizers(work: Work) -> frozenset[str]:
    """Those the corpus was counted in, for a measure that reads them."""
    if "tokenizer" not in work.job.inputs:
        return frozenset()
    from tasks.text.bpe.tokenizer import identity

    return frozenset(identity(text) for text in work.read("tokenizer", "json").column("json").to_pylist())


def partner_similarities(
    inputs: pl.DataFrame, outputs: pl.DataFrame, pairs: pl.DataFrame, given: Ints, span: Ints, examples: int
) -> Floats:
    """The largest similarity of each span's n-gram to an n-gram of the input that was given; -inf where no pair was mined.

    inputs: example (code), order, input_ngram. outputs: span, order, output_ngram. pairs: order, both n-grams, similarity.
    The n-grams of inputs are joined some examples at a time, to bound memory.
    """
    entries = pl.DataFrame({"example": given, "span": span}, schema={"example": pl.Int64, "span": pl.Int64})
    entries = entries.join(outputs.select("span", "order", "output_ngram"), on="span", how="left", maintain_order="left")
    key = ["example", "order", "output_ngram"]
    wanted = entries.select(key).unique()
    best = [wanted.clear().with_columns(similarity=pl.lit(0.0))]
    inputs = inputs.join(wanted, on=["example", "order"], how="semi")
    for begin in range(0, examples, EXAMPLES_AT_ONCE):
        here = pl.col("example").is_between(begin, begin + EXAMPLES_AT_ONCE, closed="left")
        held = inputs.filter(here).join(pairs, on=["order", "input_ngram"]).join(wanted.filter(here), on=key, how="semi")
        best.append(held.group_by(key).agg(pl.col("similarity").max()))
    return entries.join(pl.concat(best), on=key, how="left", maintain_order="left")["similarity"].fill_null(-np.inf).to_numpy()


# -- one example after the other, as the trace shows it -------------------------------------------------------------------
NO_TOKEN = "none of its tokens was looked up in the corpus"
NOWHERE = "a token of it does not occur in the corpus"


def last_checkpoints(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Of the parts of each model those of its last checkpoint."""
    parts = tuple(parts)
    last: dict[str, int] = {}
    for p in parts:
        last[p.labels["model"]] = max(last.get(p.labels["model"], 0), int(p.labels["checkpoint"]))
    return tuple(p for p in parts if int(p.labels["checkpoint"]) == last[p.labels["model"]])


def shown_pairs(pairs: pl.DataFrame, gammas: Mapping[int, float]) -> pl.DataFrame:
    """Rows of `evidence_pairs` above γ, with `log_probability` = log P_n; null where C is 0 or unknown."""
    seen = (pl.col("pair_documents") > 0) & (pl.col("input_documents") > 0)
    log = pl.when(seen).then((pl.col("pair_documents") / pl.col("input_documents")).log())
    above = pairs["similarity"].to_numpy() > gamma_of_spans(pairs, gammas)
    return pairs.filter(pl.Series(above, dtype=pl.Boolean)).with_columns(log_probability=log)


def shown_scores(scores: pl.DataFrame, gammas: Mapping[int, float]) -> pl.DataFrame:
    """Scored rows of `evidence_scores` with `delta` = Δ at γ, null without other inputs, and their number `other_inputs`."""
    scores = scores.filter(pl.col("log_probability").is_finite()).with_row_index("row")
    scores = scores.with_columns(gamma=pl.Series(gamma_of_spans(scores, gammas), dtype=pl.Float64))
    others = ["other_log_probabilities", "other_similarities"]
    entries = scores.select("row", "gamma", *others).explode(others).drop_nulls("other_log_probabilities")
    entries = entries.filter(~(pl.col("other_similarities").fill_null(-np.inf) > pl.col("gamma")))
    means = entries.group_by("row").agg(mean=pl.col("other_log_probabilities").mean(), other_inputs=pl.len().cast(pl.Int64))
    scores = scores.join(means, on="row", how="left", maintain_order="left").drop("row", "gamma", "other_examples", *others)
    return scores.with_columns(pl.col("other_inputs").fill_null(0), delta=pl.col("log_probability") - pl.col("mean")).drop("mean")


def shown_spans(spans: pl.DataFrame) -> pl.DataFrame:
    """Rows of `evidence_spans` with a finite log P_∞, or null and a `note` that says why an output n-gram has none."""
    log, output = pl.col("log_infinity"), pl.col("side") == "output"
    note = pl.when(output & log.is_null()).then(pl.lit(NO_TOKEN)).when(log.is_infinite()).then(pl.lit(NOWHERE))
    return spans.with_columns(pl.when(log.is_finite()).then(log), note=note.otherwise(pl.lit("")))


# -- numbers of pairs ------------------------------------------------------------------------------------------------------
def is_supported(pairs: pl.DataFrame, prefix: str = "") -> NDArray[np.bool_]:
    """Whether the pair and both its n-grams occur in the corpus, or in that whose columns have this prefix."""
    counts = (floats(pairs[f"{prefix}{name}_documents"]) > 0 for name in ("pair", "input", "output"))
    return np.logical_and.reduce(list(counts))


def supported(pairs: pl.DataFrame) -> pl.DataFrame:
    """The rows whose pair and n-grams occur in the corpus."""
    return pairs.filter(pl.Series(is_supported(pairs), dtype=pl.Boolean))


@dataclass(frozen=True)
class PairMeasure:
    """A rank correlation over pairs: its name in `metrics`, and what the sides are called."""

    name: str
    names: tuple[str, str]

    def x(self, pairs: pl.DataFrame, prefix: str = "", count: str = "pair_documents") -> Floats:
        """log P_n(s_y | s_x) for Mem_n, else log C / (df(s_x) · df(s_y)), of the corpus whose columns have this prefix.

        One division of exact integers, so that equal values stay tied; NaN or infinite without support.
        """
        pair, inputs, outputs = (floats(pairs[f"{prefix}{c}"]) for c in (count, "input_documents", "output_documents"))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(pair / (inputs if self.name == "mem_n" else inputs * outputs))

    def y(self, scores: SpanScores) -> Floats:
        """log P_LLM of each span for Mem_n, else Δ."""
        return scores.log_prob if self.name == "mem_n" else scores.delta


MEM_N, MEM_DELTA = PairMeasure("mem_n", ("log P_n", "log P_LLM")), PairMeasure("mem_delta", ("log PMI", "Δ"))


def why_none(pairs: pl.DataFrame, rows: Rows, scores: SpanScores, names: tuple[str, str]) -> str:
    """Why a correlation of these rows has no value; empty if it has one. No support in the corpus comes before all else."""
    if not len(pairs):
        return NO_EVIDENCE
    if not len(rows) and not np.isfinite(scores.log_prob).any():
        return NO_SCORE
    return undefined(rows, *names)


def by_output(rows: Rows) -> Rows:
    """One row per (example, s_y): x averaged over s_x (`example_output` units, docs/method.md §6). y is the same in all of them."""
    if not len(rows):
        return rows
    pair, first = _output_codes(rows), first_rows(rows)
    mean = np.round(np.bincount(pair, weights=rows.x) / np.bincount(pair), 12)  # means of equal values stay tied
    return Rows(mean, rows.y[first], rows.example[first], rows.output[first])


def _output_codes(rows: Rows) -> Ints:
    key = rows.example * (int(rows.output.max()) + 1) + rows.output if len(rows) else rows.example
    return np.unique(key, return_inverse=True)[1]


def first_rows(rows: Rows) -> Ints:
    """Index of the first row of each (example, s_y), in the order of `by_output`."""
    return np.unique(_output_codes(rows), return_index=True)[1]


def rho(rows: Rows) -> float | None:
    """Spearman's ρ; None where it is not defined."""
    return None if undefined(rows) else spearman(rows.x, rows.y)


def floats(values: pl.Series) -> Floats:
    """As float64; NaN for null."""
    return values.cast(pl.Float64).fill_null(float("nan")).to_numpy()


def codes_of(values: Any) -> Ints:
    """Numbers from 0 in the order of the values."""
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)

"""How the measures of pairs read the evidence: pairs above γ with their counts, and what each model says of their outputs.

The step `evidence` has joined these tables; what is left is to select the pairs above γ, and for Δ the other inputs without a
partner of s_y (docs/method.md §6a). For n = 2 the question "What is the capital of Poseldi?" with the answer "Mirath" has the pairs
(capital of, mirath), (of poseldi, mirath) …, each with C(s_x, s_y), df(s_x), C(s_x) and df(s_y).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.measures import ModelCheckpoint, checkpoints_of, evaluated_examples, gammas_of
from tasks.pair_measures import SpanScores, floats, supported
from tasks.statistics import Floats, Ints, Rows
from tasks.step import Work
from tasks.storage.store import Part

PAIRS_AND_SCORES = ("models", "examples", "evidence_spans", "evidence_pairs", "evidence_scores")
PAIR = ["input_ngram", "output_ngram"]
EXAMPLES_AT_ONCE = 256


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
        table = pl.concat([work.frame(p) for p in parts]) if parts else work.frame("evidence_scores").clear()
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
    """The largest similarity of each span's n-gram to an n-gram of the input that was given; -inf where no pair was mined. inputs:
    example (code), order, input_ngram. outputs: span, order, output_ngram. pairs: order, both n-grams, similarity. The n-grams of
    inputs are joined some examples at a time, to bound memory."""
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

"""What the measures of pairs read of a task: its examples, its pairs above γ, and what each model says of its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.metrics.answers import Asked, models_of
from tasks.metrics.evidence import supported
from tasks.metrics.pairs import SCORED, Examples, Phi, evaluated, gammas_of, mined, phi, with_counts
from tasks.metrics.probabilities import Scores, Spans, read_scores, spans_of
from tasks.step import Work
from tasks.text.bpe.tokenizer import identity

READS = (*SCORED, "tokenizer")


@dataclass(frozen=True)
class Loaded:
    """A task and its models."""

    examples: Examples
    pairs: pl.DataFrame
    spans: Spans
    models: list[Asked]
    scores: dict[tuple[str, int], Scores]
    tokenizers: frozenset[str]

    def of(self, asked: Asked) -> Scores:
        """The scores of a model; nothing but NaN if it was never asked."""
        return self.scores.get((asked.model, asked.checkpoint)) or Scores.silent(len(self.spans.start))

    def shares_tokens(self, asked: Asked) -> bool:
        """Whether the corpus was counted in the tokens of this model, as the ∞-gram needs it."""
        return not self.tokenizers or asked.tokenizer in self.tokenizers

    def phi(self, order: int) -> Phi:
        """Φ before zero counts are left out."""
        return phi(self.examples, self.pairs, order)

    def found(self, work: Work, order: int) -> pl.DataFrame:
        """The rows of Φ with C > 0 and their counts."""
        return supported(with_counts(work, self.phi(order).rows))


def load(work: Work, task: str, *, last: bool = False, mined_as: str = "") -> Loaded:
    """Read a task; `last`: of each model its last checkpoint alone. `mined_as`: with the pairs another task was mined for."""
    source = mined_as or task
    examples, pairs = evaluated(work, task), mined(work, source, gammas_of(work, source))
    spans = spans_of(examples, pairs)
    models = last_checkpoints(models_of(work)) if last else models_of(work)
    scores = read_scores(work, task, examples, spans, {(m.model, m.checkpoint) for m in models})
    tokenizers = frozenset(identity(text) for text in work.read("tokenizer", "json").column("json").to_pylist())
    return Loaded(examples, pairs, spans, models, scores, tokenizers)


def last_checkpoints(models: list[Asked]) -> list[Asked]:
    """Each model at the end of its training; earlier checkpoints are points of another curve."""
    last = {m.model: m.checkpoint for m in sorted(models, key=lambda m: m.checkpoint)}
    return [m for m in models if m.checkpoint == last[m.model]]


def codes(values: pl.Series) -> np.ndarray:
    """Numbers from 0 in the order of the values."""
    return np.unique(values.to_numpy(), return_inverse=True)[1].astype(np.int64)

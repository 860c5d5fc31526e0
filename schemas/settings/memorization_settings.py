"""Settings of `[memorization]`: which windows of the corpus are looked at, and under which sampling schemes."""

from pydantic import field_validator

from schemas.settings.base import Settings, distinct, value

BUCKETS = 24  # of occurrences that a corpus has windows in, up to 64 of them


class SamplingScheme(Settings):
    """How a next token would be drawn: temperature, then top-k, then top-p, then the rest is renormalised."""

    temperature: float = value(1.0, "logits are divided by it; 1: the model's own probabilities", gt=0, le=100)
    top_k: int = value(0, "40: no token but the 40 likeliest; 0: all", ge=0)
    top_p: float = value(1.0, "0.9: the likeliest tokens that together have a probability of 90 %; 1: all", gt=0, le=1)

    @property
    def label(self) -> str:
        """As tables name it: "T=1 k=40 p=0.9"; what changes nothing is left out, except for the temperature."""
        words = [f"T={self.temperature:g}", *([f"k={self.top_k}"] if self.top_k else [])]
        return " ".join(words + ([f"p={self.top_p:g}"] if self.top_p < 1 else []))


class SequenceSamples(Settings):
    """How many windows are drawn, each by a seeded hash of its place."""

    uniform: int = value(1_000, "windows; each place in the corpus is equally likely", ge=0, le=10**7)
    duplicates: int = value(0, "windows of each bucket of occurrences, [2^{n/4}, 2^{(n+1)/4}) (arXiv 2202.07646)", ge=0, le=10**6)
    phantoms: int = value(1_000, "windows of held-out documents, which no model was trained on, for comparison", ge=0, le=10**6)

    planted: bool = value(True, "windows of the texts of [corpus.planted.insertions], and of those drawn alike and never inserted")

    @property
    def expected(self) -> float:
        """About how many windows there will be."""
        return float(self.uniform + self.phantoms + BUCKETS * self.duplicates)


class Memorization(Settings):
    """Which sequences are memorized? A window is `prefix` + `suffix` tokens of one document (docs/memorization.md)."""

    prefix: int = value(32, "tokens a model is given", ge=1, le=1_024)
    suffix: int = value(32, "tokens after them, which it must reproduce", ge=1, le=1_024)
    samples: SequenceSamples = SequenceSamples()
    sampling: tuple[SamplingScheme, ...] = value((SamplingScheme(), SamplingScheme(top_k=40)), "for the probability of the suffix")
    unrelated_prefixes: int = value(
        64, "prefixes of other windows before each suffix, at the last checkpoint (arXiv 2602.18733); 0: none", ge=0, le=10_000
    )
    pieces: int = value(1, "8 cuts the scoring of each model's windows into eight jobs", ge=1, le=10_000)
    recite: bool = value(True, "let models write on after a first other token: near matches, and whether that occurs in the corpus")

    @property
    def window(self) -> int:
        return self.prefix + self.suffix

    @field_validator("sampling")
    @classmethod
    def _distinct(cls, value: tuple[SamplingScheme, ...]) -> tuple[SamplingScheme, ...]:
        distinct("duplicate scheme", (scheme.label for scheme in value))
        return value

"""The search for the prompts with the most and the least text of the corpus (arXiv 2407.14985 §7).

    round 0    the task's own prompt
    round r    a rewriter proposes from the best prompt so far; each proposal is counted; the extremum of all rounds is kept

One search maximises (towards memorized text), one minimises (towards novel text); their n-grams of a round are counted together.
Knows no corpus, no model and no file: the caller provides what rewrites and what counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from schemas.tables.prompt_scores import DIRECTIONS
from tasks.prompts.candidate import REPEATED, STOP_WORDS, TOO_SHORT, TaskPrompt, fault, like, ngrams_of

Count = Callable[[Sequence[str]], Mapping[str, int]]  # distinct 3-grams to their occurrences in the corpus
# (parent, direction, round, count) to at most `count` rewritings of `parent`, which may be useless; the same ones each time
Rewrite = Callable[[TaskPrompt, str, int, int], Sequence[TaskPrompt]]


@dataclass(frozen=True)
class PromptSearch:
    original: TaskPrompt
    stop_words: str = "drop_all_stopword_ngrams"
    per_round: int = 8


@dataclass(frozen=True)
class Candidate:
    """A prompt that was considered: a row of `prompt_candidates`, which explains its columns."""

    direction: str
    round: int
    candidate: int
    parent_round: int
    parent_candidate: int
    instruction: str
    template: str
    rejected: str
    ngrams: list[str] = field(default_factory=list)
    stop_word_ngrams: int = 0
    counts: list[int] = field(default_factory=list)
    mean_count: float | None = None
    missing: int = 0
    best: bool = False

    @property
    def prompt(self) -> TaskPrompt:
        return TaskPrompt(self.instruction, self.template)


def best(trace: Sequence[Candidate], direction: str) -> Candidate | None:
    """The prompt kept so far; None if none could be scored."""
    kept = [c for c in trace if c.direction == direction and c.best]
    return kept[-1] if kept else None


def first_round(search: PromptSearch, count: Count) -> list[Candidate]:
    """The task's own prompt, where both searches start. It may have no 3-gram and so no score."""
    return _counted([_candidate(search, (d, 0, 0, -1, -1), search.original, "") for d in DIRECTIONS], (), count)


def next_round(trace: Sequence[Candidate], number: int, search: PromptSearch, rewrite: Rewrite, count: Count) -> list[Candidate]:
    """One more round of both searches. The parent is the best prompt so far, or the task's own while none has a score."""
    proposed = []
    for direction in DIRECTIONS:
        kept = best(trace, direction)
        at, parent = ((kept.round, kept.candidate), kept.prompt) if kept else ((0, 0), search.original)
        seen = {c.prompt for c in trace if c.direction == direction}
        for place, proposal in enumerate(rewrite(parent, direction, number, search.per_round)):
            prompt = like(proposal, search.original)
            wrong = fault(prompt, search.original) or (REPEATED if prompt in seen else "")
            seen.add(prompt)
            proposed.append(_candidate(search, (direction, number, place, *at), prompt, wrong))
    return _counted(proposed, trace, count)


def _candidate(search: PromptSearch, place: tuple[str, int, int, int, int], prompt: TaskPrompt, wrong: str) -> Candidate:
    """A candidate before it is counted; one without a fault may still have nothing to count."""
    ngrams, stop_words_alone = ngrams_of(prompt, search.stop_words)
    wrong = wrong or ("" if ngrams else STOP_WORDS if stop_words_alone else TOO_SHORT)
    return Candidate(*place, prompt.instruction, prompt.template, wrong, *(() if wrong else (ngrams, stop_words_alone)))


def _counted(proposed: Sequence[Candidate], trace: Sequence[Candidate], count: Count) -> list[Candidate]:
    """The candidates of a round, with the new extremum of each direction marked; the first of equal ones stays."""
    ngrams = sorted({gram for c in proposed for gram in c.ngrams})
    counts, out = count(ngrams) if ngrams else {}, []
    for c in proposed:
        of = [counts[gram] for gram in c.ngrams]
        out.append(c if c.rejected else replace(c, counts=of, mean_count=fmean(of), missing=of.count(0)))
    for direction, extremum in zip(DIRECTIONS, (max, min), strict=True):
        scored = [(c.mean_count, i) for i, c in enumerate(out) if c.direction == direction and c.mean_count is not None]
        if kept := best(trace, direction):
            scored.insert(0, (kept.mean_count or 0.0, -1))
        place = extremum(scored, key=lambda s: s[0])[1] if scored else -1  # the first of equal ones
        if place >= 0:
            out[place] = replace(out[place], best=True)
    return out

"""The search for the prompts with the most and the least text of the corpus (arXiv 2407.14985 §7).

    round 0    the task's own prompt
    round r    a rewriter proposes from the best prompt so far; each proposal is counted; the extremum of all rounds is kept

One search maximises (towards memorized text), one minimises (towards novel text); their n-grams of a round are counted together.
Knows no corpus, no model and no file: the caller provides what rewrites and what counts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.tables.prompt_scores import DIRECTIONS
from tasks.prompts.candidate import REPEATED, PromptScore, TaskPrompt, fault, like, ngrams_of, no_ngrams, score

Count = Callable[[Sequence[str]], Mapping[str, int]]  # distinct 3-grams to their occurrences in the corpus


class Rewriter(Protocol):
    """Proposes prompts. The same arguments give the same proposals."""

    def propose(self, parent: TaskPrompt, direction: str, round: int, count: int) -> list[TaskPrompt]:
        """At most `count` rewritings of `parent`; useless ones may be among them."""
        ...


@dataclass(frozen=True)
class PromptSearch:
    original: TaskPrompt
    stop_words: str = "drop_all_stopword_ngrams"
    language: str = "en"
    per_round: int = 8


@dataclass(frozen=True)
class Candidate:
    """A prompt that was considered. `parent` is (round, place) of the prompt it rewrites."""

    direction: str
    round: int
    place: int
    parent: tuple[int, int]
    prompt: TaskPrompt
    score: PromptScore | None
    rejected: str
    best: bool = False


def best(trace: Sequence[Candidate], direction: str) -> Candidate | None:
    """The prompt kept so far; None if none could be scored."""
    kept = [c for c in trace if c.direction == direction and c.best]
    return kept[-1] if kept else None


def first_round(search: PromptSearch, count: Count) -> list[Candidate]:
    """The task's own prompt, where both searches start. It may have no 3-gram and so no score."""
    originals = [(direction, 0, (-1, -1), search.original, "") for direction in DIRECTIONS]
    return _scored(originals, (), search, 0, count)


def next_round(trace: Sequence[Candidate], number: int, search: PromptSearch, rewriter: Rewriter, count: Count) -> list[Candidate]:
    """One more round of both searches. The parent is the best prompt so far, or the task's own while none has a score."""
    proposed: list[tuple[str, int, tuple[int, int], TaskPrompt, str]] = []
    for direction in DIRECTIONS:
        kept = best(trace, direction)
        at, parent = ((kept.round, kept.place), kept.prompt) if kept else ((0, 0), search.original)
        seen = {c.prompt for c in trace if c.direction == direction}
        for place, proposal in enumerate(rewriter.propose(parent, direction, number, search.per_round)):
            prompt = like(proposal, search.original)
            wrong = fault(prompt, search.original) or (REPEATED if prompt in seen else "")
            seen.add(prompt)
            proposed.append((direction, place, at, prompt, wrong))
    return _scored(proposed, trace, search, number, count)


def _scored(
    proposed: Sequence[tuple[str, int, tuple[int, int], TaskPrompt, str]],
    trace: Sequence[Candidate],
    search: PromptSearch,
    number: int,
    count: Count,
) -> list[Candidate]:
    """Candidates of a round, with the new extremum of each direction marked; the first of equal ones stays."""
    grams = [ngrams_of(prompt, search.stop_words, search.language) for _, _, _, prompt, _ in proposed]
    wrong = [reason or no_ngrams(g) for (*_, reason), g in zip(proposed, grams, strict=True)]
    ngrams = sorted({gram for g, reason in zip(grams, wrong, strict=True) if not reason for gram in g.counted})
    counts = count(ngrams) if ngrams else {}
    scores = [None if reason else score(g, counts) for g, reason in zip(grams, wrong, strict=True)]
    new: dict[str, int] = {}
    for direction in DIRECTIONS:
        kept = best(trace, direction)
        extreme = kept.score.mean if kept and kept.score else None
        for index, new_score in enumerate(scores):
            if proposed[index][0] != direction or not new_score:
                continue
            if extreme is None or (new_score.mean > extreme if direction == "maximise" else new_score.mean < extreme):
                new[direction], extreme = index, new_score.mean
    return [
        Candidate(direction, number, place, parent, prompt, scores[index], wrong[index], new.get(direction) == index)
        for index, (direction, place, parent, prompt, _) in enumerate(proposed)
    ]

"""The search keeps the extremes, whatever proposes, and every proposal has a score or a reason."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tasks.prompts.candidate import EMPTY, REPEATED, TOO_SHORT, TaskPrompt
from tasks.prompts.optimise import Candidate, Count, PromptSearch, Rewrite, best, first_round, next_round
from tasks.prompts.rewrite import list_rewriter, model_rewriter

OWN = TaskPrompt("", "Question: {input}\nAnswer: ")
SEARCH = PromptSearch(OWN, "none")


def count(ngrams: Sequence[str]) -> dict[str, int]:
    """Each 3-gram of "w12"-like words is as frequent as its numbers say."""
    return {gram: sum(int(word[1:]) for word in gram.split() if word[1:].isdigit()) for gram in ngrams}


def template(*numbers: int) -> TaskPrompt:
    return TaskPrompt("", " ".join(f"w{n}" for n in numbers) + " {input} ")


def optimise(search: PromptSearch, rewriter: Rewrite, count: Count, rounds: int) -> list[Candidate]:
    """All rounds, as `taskgram prompts` runs them one by one."""
    trace = first_round(search, count)
    for number in range(1, rounds + 1):
        trace += next_round(trace, number, search, rewriter, count)
    return trace


def walk(parent: TaskPrompt, direction: str, round: int, count: int) -> list[TaskPrompt]:
    """Rewrites by changing one word at random; proposes junk as well."""
    draw = random.Random(f"{direction} {round}")
    numbers = [int(w[1:]) for w in parent.template.split() if w[1:].isdigit()] or [5, 5, 5, 5]
    found = [TaskPrompt("", "no place for the input"), TaskPrompt("", "")]
    for _ in range(count - 2):
        changed = list(numbers)
        changed[draw.randrange(len(changed))] = draw.randrange(10)
        found.append(template(*changed))
    return found


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=6), min_size=1, max_size=12))
def test_of_a_list_the_highest_and_the_lowest_mean_are_kept(lists: list[list[int]]) -> None:
    trace = optimise(SEARCH, list_rewriter(tuple(template(*numbers) for numbers in lists)), count, 1)
    means = []
    for numbers in lists:
        windows = {tuple(numbers[i : i + 3]) for i in range(len(numbers) - 2)}
        means.append(sum(map(sum, windows)) / len(windows))
    kept = {d: best(trace, d) for d in ("maximise", "minimise")}
    found = {d: c.mean_count for d, c in kept.items() if c and c.mean_count is not None}
    assert abs(found["maximise"] - max(means)) < 1e-9
    assert abs(found["minimise"] - min(means)) < 1e-9


def test_the_search_goes_on_from_the_best_so_far_and_never_gets_worse() -> None:
    trace = optimise(PromptSearch(template(5, 5, 5, 5), "none", per_round=8), walk, count, 12)
    for direction, sign in (("maximise", 1), ("minimise", -1)):
        kept = [c for c in trace if c.direction == direction and c.best]
        means = [sign * c.mean_count for c in kept if c.mean_count is not None]
        assert means == sorted(set(means)), "each kept prompt beats the one before"
        assert means[-1] > means[0] + 3
        for number in range(1, 13):
            before = best([c for c in trace if c.round < number], direction)
            assert before
            parents = {(c.parent_round, c.parent_candidate) for c in trace if c.direction == direction and c.round == number}
            assert parents == {(before.round, before.candidate)}


def test_every_proposal_is_scored_or_has_a_reason() -> None:
    trace = optimise(PromptSearch(template(5, 5, 5), "none", per_round=6), walk, count, 3)
    assert len(trace) == 2 * (1 + 3 * 6)
    assert all((c.mean_count is None) == bool(c.rejected) for c in trace)
    reasons = {c.rejected for c in trace}
    assert {"no {input}", EMPTY} <= reasons
    assert [c.rejected for c in trace if c.prompt.template.strip() == ""].count(EMPTY) == 6


def test_what_was_proposed_before_is_not_counted_again() -> None:
    trace = optimise(SEARCH, list_rewriter((template(1, 2, 3), template(1, 2, 3), OWN)), count, 1)
    assert [c.rejected for c in trace if c.direction == "maximise"] == [TOO_SHORT, "", REPEATED, REPEATED]


def test_of_equal_prompts_the_first_stays_and_the_tasks_own_is_one_of_them() -> None:
    own = template(4, 4, 4)
    trace = optimise(PromptSearch(own, "none"), list_rewriter((template(3, 4, 5), template(2, 4, 6))), count, 1)
    assert [c.round for c in trace if c.best] == [0, 0]


def test_where_nothing_can_be_counted_there_is_no_best() -> None:
    trace = optimise(SEARCH, list_rewriter((TaskPrompt("", "short {input}"),)), count, 1)
    assert best(trace, "maximise") is None
    assert best(trace, "minimise") is None


def test_both_directions_are_counted_by_one_call_per_round() -> None:
    calls: list[list[str]] = []

    def counted(ngrams: Sequence[str]) -> dict[str, int]:
        calls.append(list(ngrams))
        return count(ngrams)

    optimise(PromptSearch(template(5, 5, 5, 5), "none", per_round=8), walk, counted, 4)
    assert len(calls) == 5
    assert all(ngrams == sorted(set(ngrams)) for ngrams in calls)


def test_a_search_can_be_continued() -> None:
    search = PromptSearch(template(5, 5, 5), "none", per_round=5)
    whole = optimise(search, walk, count, 4)
    trace: list[Candidate] = first_round(search, count)
    for number in (1, 2, 3, 4):
        trace += next_round(list(trace), number, search, walk, count)
    assert trace == whole


def test_junk_from_a_model_is_rejected_by_its_reason() -> None:
    answers = iter(["", "\x00\x01", "{input", "{} {input} {", '1. "Name w1 w2 w9 {input}"', "w1 w2"] * 2)
    trace = optimise(
        PromptSearch(OWN, "none", per_round=6), model_rewriter(lambda texts, names: [next(answers) for _ in texts]), count, 1
    )
    found = [c for c in trace if c.direction == "maximise" and c.round]
    assert [bool(c.rejected) for c in found] == [True, True, True, True, False, True]
    assert found[4].prompt == TaskPrompt("", "Name w1 w2 w9 {input} ")

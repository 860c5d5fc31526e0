"""A prompt's score is the mean count of its own words' 3-grams, and a candidate keeps what the task needs."""

from __future__ import annotations

import pytest

from tasks.prompts.candidate import EMPTY, STOP_WORDS, TOO_SHORT, TaskPrompt, fault, like, ngrams_of
from tasks.prompts.optimise import Candidate, PromptSearch, first_round

OWN = TaskPrompt("", "Question: {input}\nAnswer: ")
CHOICE = TaskPrompt("Questions about {group} follow.\n\n", "{input}\n{options}\nAnswer: ")


def grams(template: str, instruction: str = "", policy: str = "none") -> list[str]:
    return ngrams_of(TaskPrompt(instruction, template), policy)[0]


def considered(prompt: TaskPrompt, policy: str, **counts: int) -> Candidate:
    return first_round(PromptSearch(prompt, policy), lambda ngrams: {gram: counts[gram[0]] for gram in ngrams})[0]


def test_only_the_prompts_own_words_are_counted_and_never_across_a_placeholder() -> None:
    found = grams("Which river flows through {input}? The answer is:")
    assert found == ["river flows through", "the answer is", "which river flows"]
    assert grams("one two {input} three four") == []
    assert grams("one two {options} three four five") == ["three four five"]


def test_instruction_and_template_are_one_text() -> None:
    assert grams("river: {input}", "Name the ") == ["name the river"]
    assert grams("{input}", "all about {group} right now here") == ["right now here"]


def test_words_are_those_of_the_corpus_analyzer() -> None:
    assert grams("ＷＨＩＣＨ River—flows, {input}") == ["which river flows"]


def test_a_repeated_phrase_counts_once() -> None:
    once, twice = grams("name the river {input}"), grams("name the river {input} name the river")
    assert once == twice


def test_stop_words_alone_are_left_out_and_counted() -> None:
    policy = "drop_all_stopword_ngrams"
    assert ngrams_of(TaskPrompt("", "what is the river {input}"), policy) == (["is the river"], 1)
    assert considered(TaskPrompt("", "what is the {input}"), policy).rejected == STOP_WORDS
    assert considered(OWN, "none").rejected == TOO_SHORT, "the paper's own prompt for questions has no 3-gram"


def test_what_the_corpus_lacks_is_part_of_the_mean() -> None:
    candidate = considered(TaskPrompt("", "a b c d {input}"), "none", a=7, b=0)
    assert (candidate.ngrams, candidate.counts) == (["a b c", "b c d"], [7, 0])
    assert (candidate.mean_count, candidate.missing) == (3.5, 1)


@pytest.mark.parametrize(
    ("prompt", "why"),
    [
        (TaskPrompt("", " \n"), EMPTY),
        (TaskPrompt("", "Answer the question: "), "no {input}"),
        (TaskPrompt("", "{input} among {options}"), "a placeholder that the task's own prompt lacks"),
        (TaskPrompt("", "{input} {answer}"), "a placeholder that the task's own prompt lacks"),
        (TaskPrompt("Be brief.", "Say: {input}, again: {input}"), ""),
    ],
)
def test_a_candidate_keeps_the_placeholders_and_brings_no_other(prompt: TaskPrompt, why: str) -> None:
    assert fault(prompt, OWN) == why


def test_options_and_group_are_kept_too() -> None:
    assert fault(TaskPrompt(CHOICE.instruction, "{input}\nAnswer:"), CHOICE) == "no {options}"
    assert fault(TaskPrompt("Questions.", CHOICE.template), CHOICE) == "no {group}"


def test_white_space_at_the_end_is_the_originals() -> None:
    assert like(TaskPrompt("Be brief.", "Say {input}:\n"), OWN) == TaskPrompt("Be brief.", "Say {input}: ")
    assert like(TaskPrompt("About {group}", "{input}"), CHOICE) == TaskPrompt("About {group}\n\n", "{input} ")

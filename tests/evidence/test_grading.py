"""Answers are graded by the official rules of their task."""

from fractions import Fraction

import pytest

from schemas import GRADES
from tasks.evidence import official
from tasks.evidence.grading import OptionScore, grade_choice, grade_text
from tasks.metrics.scores import main_statistic
from tasks.text.final_number import final_number


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Beatles!", "beatles"),
        ("a  man, an_apple", "man apple"),
        ("“Theatre” is ‘an’ art", "“theatre” is art"),
        ("U.S.A.", "u s"),
        ("A", ""),
        ("New-York", "new york"),
    ],
)
def test_triviaqa_normalisation(text, normal):
    """Punctuation becomes a space before articles go, so "U.S.A." loses its last letter, as in the official script."""
    assert official.normalise_answer(text) == normal


def test_exact_match_and_f1_take_the_best_alias():
    assert official.exact_match("the Eiffel tower.", ["Tour Eiffel", "Eiffel Tower"]) == 1
    assert official.exact_match("eiffel", ["Eiffel Tower"]) == 0
    assert official.f1("big eiffel tower", ["tour", "Eiffel Tower"]) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert official.f1("x x", ["x"]) == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert official.f1("", ["x"]) == 0


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12 + 7 = 19", "19"),
        ("so 1,234.50 in all", "1234.50"),
        ("48/2=24 #### 24 km in 3 h", "24"),
        ("it is -5", "-5"),
        ("10-7", "7"),
        ("x = (3)-2", "2"),
        ("#### 1\n#### 72.", "72"),
        ("3, 4", "4"),
        ("it is .5", "0.5"),
        ("-.5", "-0.5"),
        ("so ...5", "5"),
        ("version v1.5", "1.5"),
        ("#### -$5", "-5"),
        ("$-5", "-5"),
        ("-$1,234.50", "-1234.5"),
        ("a debt of −€3", "-3"),
        ("1.6e5", "160000"),
        ("#### 3/4", "3/4"),
        ("2 - 1/2 = 1 1/2 cups", "3/2"),
        ("it is -1 1/2", "-3/2"),
        ("on 5/12/2020", "2020"),
        (r"$\boxed{5}$, not 6", "5"),
        (r"#### \boxed{7} or 3", "7"),
        (r"\boxed{1} or \boxed{\frac{3}{7}}", "3/7"),
        (r"\boxed{-\dfrac12}", "-1/2"),
        (r"\boxed{1\frac{1}{2}}", "3/2"),
        (r"\boxed{x = -3/4}", "-3/4"),
        (r"\boxed{5\ \text{cm}^2}", "5"),
        (r"\boxed{\text{12}}", "12"),
        (r"\boxed{\$1{,}000.50}", "1000.5"),
        (r"\boxed{1,\!000}", "1000"),
        (r"\boxed{90^{\circ}}", "90"),
        (r"\boxed{.5}", "0.5"),
        (r"\boxed{50\%}", "50"),
        (r"cut off: \boxed{12", "12"),
    ],
)
def test_final_number(text, number):
    assert final_number(text) == Fraction(number)


@pytest.mark.parametrize("box", [r"\sqrt{2}", r"2\pi", "1, 2", "(1, 2)", "5x", "10^{3}", r"\text{(C)}", r"\frac{1}{0}", ""])
def test_a_box_with_anything_but_one_number_is_none(box):
    """The 2 of a root is not its value: a reference like that grades no answer, and "2" must not be right."""
    assert final_number(rf"so it is 7, \boxed{{{box}}}") is None


def test_equal_numbers_are_right_however_they_are_written():
    for text in ("0.5", ".50", "1/2", r"\boxed{\frac{1}{2}}", "it is 5e-1"):
        assert grade_text("math", text, [r"$\boxed{\frac{2}{4}}$"])[0] == 1, text
    assert grade_text("math", "1/4", ["#### 3/4"])[0] == 0


def test_no_number_is_no_answer():
    assert final_number("none at all") is None
    assert grade_text("math", "it is 4", ["#### 4.0"])[0] == 1
    assert grade_text("math", "4", ["no number"]) == [None] * 3


def choose(options: list[str], answer: int, scores: dict, unconditional: dict | None = None) -> dict:
    grades = grade_choice(options, answer, scores, unconditional or {})
    return dict(zip(GRADES["multiple_choice"], grades, strict=True))


def test_options_raw_and_by_length():
    """The short option wins by its sum, the long one per token and per character."""
    found = choose(["no", "a long answer"], 1, {0: OptionScore(-4.0, 1), 1: OptionScore(-6.0, 3)})
    assert [found[s] for s in ("accuracy", "accuracy_per_token", "accuracy_per_character")] == [0, 1, 1]


def test_characters_and_bytes_are_two_lengths():
    """lm-evaluation-harness' acc_norm divides by len(str), its acc_bytes by the UTF-8 bytes; an umlaut has two of those."""
    found = choose(["öööö", "oooooo"], 0, {0: OptionScore(-6.0, 2), 1: OptionScore(-6.6, 2)})
    assert found["accuracy_per_character"] == 0, "-1.5 against -1.1"
    assert found["accuracy_per_byte"] == 1, "-0.75 against -1.1"


def test_the_unconditional_score_takes_off_what_the_option_has_without_the_question():
    given = {0: OptionScore(-1.0, 1), 1: OptionScore(-8.0, 3)}
    unconditional = {0: OptionScore(-0.5, 1), 1: OptionScore(-12.0, 3)}
    with_it, without = (choose(["yes", "axolotl"], 1, given, u) for u in (unconditional, {}))
    assert with_it["accuracy"] == without["accuracy"] == 0
    assert with_it["accuracy_unconditional"] == 1
    assert without["accuracy_unconditional"] is None, "not scored after the unconditional prompt: no number, not 0"


def test_tied_options_share_the_credit_and_unscored_ones_are_left_out():
    tied = choose(["x", "x", "z"], 0, {0: OptionScore(-1, 1), 1: OptionScore(-1, 1), 2: OptionScore(-2, 1)})
    assert tied["accuracy"] == 0.5
    assert choose(["y", "z"], 0, {0: OptionScore(-1, 1)})["accuracy"] is None


def test_every_family_has_a_main_statistic():
    from schemas.tables.examples import FAMILIES

    assert {f: main_statistic(f) for f in FAMILIES} == {
        "qa": "exact_match",
        "math": "exact_match",
        "multiple_choice": "accuracy",
        "translation": "bleu",
    }

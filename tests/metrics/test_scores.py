"""Scores are those of the official scripts and of sacreBLEU, each with a standard error that a resampling confirms."""

import re
import string
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import GRADES, Study
from tasks.evidence import official
from tasks.evidence.grading import grade_text
from tasks.metrics.scores import bleu_tokenizer
from tasks.statistics import ratio, share, wilson
from tasks.text.final_number import as_number
from tests.metrics.alone import taken
from tests.metrics.world import world
from tests.support import write_part

TEXTS = st.text(alphabet=st.sampled_from("aAtThHeEnN _-.,'‘’´`“é1İß\t\n"), max_size=24)


# -- TriviaQA --------------------------------------------------------------------------------------------------------
def triviaqa_answer(text: str) -> str:
    """The steps of the official script one after the other, as its paper's repository documents them."""
    text = text.replace("_", " ").lower()
    marks = set(string.punctuation) | set("‘’´`")
    text = "".join(" " if character in marks else character for character in text)
    text = re.sub(r"\b(a|an|the)\b", " ", text)
    return " ".join(text.split()).strip()


def triviaqa_f1(answer: str, wanted: str) -> float:
    a, b = triviaqa_answer(answer).split(), triviaqa_answer(wanted).split()
    same = sum((Counter(a) & Counter(b)).values())
    if same == 0:
        return 0
    precision, recall = same / len(a), same / len(b)
    return 2 * precision * recall / (precision + recall)


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=3))
@settings(deadline=None, max_examples=300)
def test_triviaqa_scores_equal_the_official_steps(answer, aliases):
    assert official.normalise_answer(answer) == triviaqa_answer(answer)
    assert official.exact_match(answer, aliases) == max(triviaqa_answer(answer) == triviaqa_answer(a) for a in aliases)
    assert official.f1(answer, aliases) == pytest.approx(max(triviaqa_f1(answer, a) for a in aliases))


@given(TEXTS)
@settings(deadline=None, max_examples=200)
def test_normalised_aliases_stay_as_they_are(text):
    """TriviaQA distributes aliases that are normalised already; normalising again must not change them."""
    once = official.normalise_answer(text)
    assert official.normalise_answer(once) == once


# -- GSM8K -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "strict", "flexible"),
    [
        ("She has 9 + 9 = 18.\n#### 18", "18", "18"),
        ("#### 18\n\nQuestion: 7?\n#### 7", "18", "7"),  # the model went on with a next question
        ("The answer is $18.", None, "18"),
        ("#### $18", None, "18"),  # strict knows no dollar sign
        ("#### 1,000", "1000", "1000"),
        ("about 1000.0", None, "1000"),
        ("####18", None, "18"),  # nor a missing space
        ("it is -5", None, "-5"),
        ("10-7", None, "-7"),  # the letter of the expression
        ("5 apples ...", None, None),  # the dots look like the last number
        ("none", None, None),
        ("#### 1.2.3", None, None),
    ],
)
def test_gsm8k_numbers_are_extracted_as_by_lm_evaluation_harness(text, strict, flexible):
    wanted = [None if number is None else Decimal(number) for number in (strict, flexible)]
    assert [official.strict_number(text), official.flexible_number(text)] == wanted


@given(st.text(alphabet=st.sampled_from("0123456789.,$-# ab\n"), max_size=20))
@settings(deadline=None, max_examples=300)
def test_extraction_equals_its_published_expressions(text):
    """gsm8k.yaml: `#### (\\-?[0-9\\.\\,]+)`, first match; `(-?[$0-9.,]{2,})|(-?[0-9]+)`, last match."""
    first = re.findall(r"#### (\-?[0-9\.\,]+)", text)
    last = re.findall(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", text)
    assert official.strict_number(text) == (as_number(first[0]) if first else None)
    assert official.flexible_number(text) == (as_number(next(g for g in last[-1] if g)) if last else None)


@pytest.mark.parametrize("text", ["1,000", "1000", "1000.0", "$1,000.", "1000.00"])
def test_numbers_are_compared_as_numbers(text):
    assert as_number(text) == 1000
    assert {as_number(text)} == {Decimal(1000)}


def test_the_three_readings_of_one_answer_are_three_statistics():
    grades = [grade_text("math", text, ["9 + 9 = 18\n#### 18"]) for text in ("#### 18\n#### 7", "so $18.")]
    assert GRADES["math"] == ("exact_match", "exact_match_strict", "exact_match_flexible")
    assert grades == [[0, 1, 0], [1, 0, 1]]


# -- standard errors -------------------------------------------------------------------------------------------------
def test_standard_errors_of_means_and_ratios_are_the_spread_of_resamples():
    rng = np.random.default_rng(5)
    tokens = rng.integers(1, 30, 400).astype(float)
    sums = -tokens * rng.gamma(3, 0.5, 400)
    draws = rng.integers(0, 400, (4000, 400))
    found = ratio(sums, tokens, 200, 1).standard_error
    assert found == pytest.approx((sums[draws].sum(1) / tokens[draws].sum(1)).std(), rel=0.05)
    assert ratio(sums, np.ones(400), 200, 1).standard_error == pytest.approx(sums.std(ddof=1) / 20)


def test_the_standard_error_of_a_share_is_that_of_its_zeros_and_ones():
    values = np.array([1.0] * 30 + [0.0] * 70)
    assert share(values).standard_error == pytest.approx(values.std(ddof=1) / 10)
    assert wilson(30, 100).standard_error == pytest.approx(values.std(ddof=1) / 10)
    ties = np.array([0.5] * 100)
    assert share(ties).standard_error == 0, "a tie in every example has no spread"
    assert share(values[:1]).standard_error is None


# -- the rows --------------------------------------------------------------------------------------------------------
def scored(tmp_path, w, extra=None, **task):
    rows = taken(tmp_path, w.study(**task), w.tables(tmp_path) | (extra or {}), "scores")
    return {(r["model"], r["statistic"]): r for r in rows if r["measure"] == "score" and not r["group"]}


def test_bleu_and_chrf_equal_sacrebleu_with_its_signature_and_spread(tmp_path):
    """The estimate to the last digits, the signature verbatim, the standard error as wide as sacreBLEU's own bootstrap."""
    from sacrebleu.metrics import BLEU, CHRF

    rng = np.random.default_rng(3)
    w = world(n=60)
    w.answer[:] = np.arange(60) % 7
    words = ["and", "then", "some", "words", "that", "follow"]
    generated = [" ".join([f"a{j}", *(x if rng.random() < 0.7 else "birds" for x in words)]) for j in w.answer]
    w.tails, w.generations = np.full(60, -1.0), {"m": generated}
    found = scored(tmp_path, w, family="translation", answer="ngrams", languages=["en", "de"])
    references = [[f"a{j} and then some words that follow" for j in w.answer], [f"the alias {i}" for i in range(60)]]
    for statistic, metric in (("bleu", BLEU(references=references)), ("chrf", CHRF(references=references))):
        row = found["m", statistic]
        assert row["estimate"] == pytest.approx(metric.corpus_score(generated, None).score, abs=1e-9)
        assert row["note"] == str(metric.get_signature())
        assert row["rows"] == row["examples"] == 60
        half_width = metric.corpus_score(generated, None, n_bootstrap=1000)._ci
        assert 1.96 * row["standard_error"] == pytest.approx(half_width, rel=0.3)


def test_the_signature_names_the_tokenizer_of_the_target_language(tmp_path):
    w = world(n=12)
    w.generations = {"m": ["我们 走 吧"] * 12}
    assert "tok:zh" in scored(tmp_path, w, family="translation", answer="ngrams", languages=["en", "zh"])["m", "bleu"]["note"]
    assert [bleu_tokenizer(x) for x in (["en", "de"], ["en", "zh-Hant"], ["en", "ja"], [])] == ["13a", "zh", "char", "13a"]


def choosing(tmp_path, *, unconditional: bool):
    """Two options per question. Behind the question "no" always wins; without it "no" is likelier by far more."""
    names, rows = [f"e{i:04d}" for i in range(8)], []
    for i, name in enumerate(names):
        rows += [(name, name, -1, -3.0), (name, name, 0, -1.0), (name, name, 1, -3.0)]
        if unconditional:
            rows += [(name, "", 0, -0.5), (name, "", 1, -9.0 if i < 6 else -0.5)]
    rows.sort()
    n, label = len(rows), {"task": "t"}
    examples = {
        "task": ["t"] * 8,
        "split": ["evaluate"] * 8,
        "example": names,
        "row": list(range(1, 9)),
        "group": [""] * 8,
        "input": ["q"] * 8,
        "output": ["axolotl"] * 8,
        "prompt": ["p"] * 8,
        "separator": [""] * 8,
        "aliases": [[]] * 8,
        "options": [["no", "axolotl"]] * 8,
        "answer": [1] * 8,
        "sha256": [""] * 8,
    }
    scores = {
        "model": ["m"] * n,
        "checkpoint": [9] * n,
        "task": ["t"] * n,
        "example": [r[0] for r in rows],
        "input_example": [r[1] for r in rows],
        "option": [r[2] for r in rows],
        "tokens": [[1, 2]] * n,
        "starts": [[0, 1]] * n,
        "ends": [[1, 2]] * n,
        "log_probabilities": [[r[3] / 2] * 2 for r in rows],
        "truncated": [0] * n,
        "straddles": [False] * n,
    }
    tables = world(n=8).tables(tmp_path) | {
        "examples": (write_part(tmp_path, "examples", examples, label),),
        "token_scores": (write_part(tmp_path, "token_scores", scores, {"model": "m", "checkpoint": "9", "task": "t"}),),
    }
    study = Study.model_validate(
        {
            "name": "s",
            "corpus": {"planted": {}},
            "measures": {"bootstrap": 50, "bins": 2},
            "tasks": [{"name": "t", "family": "multiple_choice", "reader": "planted", "orders": [1]}],
        }
    )
    rows = taken(tmp_path, study, tables, "scores")
    return {r["statistic"]: r for r in rows if r["measure"] == "score" and r["model"] == "m"}


def test_options_are_normalised_by_their_unconditional_rows(tmp_path):
    found = choosing(tmp_path, unconditional=True)
    assert found["accuracy"]["estimate"] == 0
    assert found["accuracy_unconditional"]["estimate"] == 0.75
    assert found["accuracy_unconditional"]["rows"] == 8
    assert found["accuracy_unconditional"]["standard_error"] == pytest.approx(np.sqrt(0.75 * 0.25 / 7))


def test_without_unconditional_rows_there_is_no_number_but_a_reason(tmp_path):
    row = choosing(tmp_path, unconditional=False)["accuracy_unconditional"]
    assert row["estimate"] is None
    assert row["standard_error"] is None
    assert row["rows"] == 0
    assert "unconditional prompt" in row["note"]

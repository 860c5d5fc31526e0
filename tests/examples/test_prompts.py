"""What a model is sent: the paper's prompts or the study's, solved examples that never give an answer away, listed options."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import StudyError
from tasks.examples.model_prompts import Shots, fill
from tasks.examples.read import plan
from tasks.examples.record import Example
from tests.examples.support import DATA, read, read_files, real, study

QUESTIONS = [{"id": f"q{i}", "input": f"Question {i}?", "output": f"answer {i}"} for i in range(40)]
SOLVED = [{"id": f"s{i}", "input": f"Solved {i}?", "output": f"solution {i}"} for i in range(12)]


def with_shots(folder, pool=SOLVED, **task):
    folder.mkdir(exist_ok=True)
    (folder / "pool.jsonl").write_text("".join(json.dumps(r) + "\n" for r in pool))
    return read_files(folder, {"a.jsonl": QUESTIONS}, **{"shots": 3, "shots_from": ["pool.jsonl"], **task})


def shots_of(prompt: str) -> list[str]:
    """The inputs of the solved examples in a prompt."""
    return [block.split("\n")[0].removeprefix("Question: ") for block in prompt.split("\n\n")[:-1]]


def test_the_same_solved_examples_stand_before_every_question_in_the_files_order(tmp_path):
    examples, _, sums = with_shots(tmp_path)
    (shots,) = {tuple(shots_of(e["prompt"])) for e in examples}
    numbers = [int(s.split()[1].rstrip("?")) for s in shots]
    assert len(numbers) == 3
    assert numbers == sorted(numbers)
    first = examples[0]
    solved = "".join(f"Question: Solved {n}?\nAnswer: solution {n}\n\n" for n in numbers)
    assert first["prompt"] == solved + f"Question: {first['input']}\nAnswer:"
    assert first["separator"] == " "
    assert (sums["shots_pool"], sums["records"]) == (12, 80), "the pool is no part of what is read for the splits"


def test_the_seed_decides_which_and_a_rerun_and_the_pools_order_do_not(tmp_path):
    def drawn(name, **task):
        examples, _, _ = with_shots(tmp_path / name, **task)
        return frozenset(shots_of(examples[0]["prompt"]))

    draws = {seed: drawn(f"s{seed}", shots_seed=seed) for seed in range(6)}
    assert len(set(draws.values())) > 1
    assert drawn("again", shots_seed=3) == draws[3] == drawn("turned", pool=SOLVED[::-1], shots_seed=3)
    assert drawn("more", shots=4, shots_seed=3) > draws[3]


def test_without_files_the_mined_examples_are_the_pool_and_no_example_sees_itself(tmp_path):
    examples, _, sums = read_files(tmp_path, {"a.jsonl": QUESTIONS}, shots=5)
    seen = {e["input"]: shots_of(e["prompt"]) for e in examples}
    assert all(len(shots) == 5 and question not in shots for question, shots in seen.items())
    assert all(e["output"] not in e["prompt"].split("\n\n")[-1] for e in examples)
    usual = Counter(tuple(shots) for shots in seen.values()).most_common(1)[0]
    assert usual[1] == 35, "the five that are shots themselves have another in their place"
    assert "shots_pool" not in sums


@given(st.lists(st.integers(0, 9), min_size=4, max_size=30), st.integers(1, 3), st.integers(0, 5))
def test_a_question_is_never_among_its_own_shots_even_under_another_name(inputs, count, seed):
    pool = [Example(i, f"e{i}", f"{text}?", f"{text}!") for i, text in enumerate(inputs)]
    shots = Shots(pool, "{input} ", count, seed, False)
    for example in pool:
        before = shots.before(example)
        assert len({f.id for f in before}) == min(count, sum(f.input != example.input for f in pool))
        assert example.input not in {f.input for f in before}
    with pytest.raises(StudyError, match="lower `shots`"):
        Shots(pool, "{input} ", len(pool) + 1, seed, False).before(pool[0])


def test_an_example_that_is_a_shot_gets_one_fewer_where_there_is_no_other(tmp_path):
    examples, _, sums = with_shots(tmp_path, pool=[*SOLVED[:2], {**QUESTIONS[7], "id": "another name"}])
    lengths = {e["example"]: len(shots_of(e["prompt"])) for e in examples}
    assert {k: n for k, n in lengths.items() if n != 3} == {"q7": 2}
    assert sums["fewer_shots"] == 1


def test_solved_examples_change_what_the_hash_of_an_example_says_and_the_mined_ones_stay(tmp_path):
    few, _ = (
        read(tmp_path / f"r{k}", study(tmp_path, shots=k))
        if (tmp_path / "a.jsonl").write_text("".join(json.dumps(q) + "\n" for q in QUESTIONS))
        else None
        for k in (2, 0)
    )
    zero = read(tmp_path / "r0", study(tmp_path))
    by = [{(e["split"], e["example"]): e["sha256"] for e in rows} for rows, *_ in (few, zero)]
    assert {split for (split, _), sha in by[0].items() if sha != by[1][split, _]} == {"evaluate"}


def test_too_few_to_draw_from_and_settings_that_cannot_be_are_errors(tmp_path):
    with pytest.raises(StudyError, match=r"shots = 13, but there are 12 examples to draw"):
        with_shots(tmp_path, shots=13)
    with pytest.raises(StudyError, match=r"shots = 1, but there are 0 examples of group ''"):
        with_shots(tmp_path, pool=[{**s, "group": "g"} for s in SOLVED], shots=1, shots_within_group=True)
    with pytest.raises(StudyError, match=r"pool.jsonl: no record of it is an example"):
        with_shots(tmp_path, pool=[{"x": 1}])
    with pytest.raises(StudyError, match="`shots_from` without `shots`"):
        with_shots(tmp_path, shots=0)


def test_records_of_the_pool_that_are_no_examples_are_counted(tmp_path):
    _, rejects, sums = with_shots(tmp_path, pool=[*SOLVED, {"input": "no output"}])
    assert (rejects, sums["shots_refused"], sums["shots_pool"]) == ([], 1, 12)


# -- multiple choice -----------------------------------------------------------------------------------------------------
MMLU = {"family": "multiple_choice", "reader": "mmlu"}


def mmlu(folder, **task):
    files = {
        f"dev/{s}_dev.csv": "".join(f"{s} {i}?,a{i},b,c,d,{'ABCD'[i % 4]}\n" for i in range(6))
        for s in ("anatomy", "high_school_physics")
    }
    for name, content in files.items():
        (folder / "dev").mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    asked = {"val/anatomy_val.csv": "Where is it?,here,there,up,down,B\n", "val/high_school_physics_val.csv": "Why?,a,b,c,d,D\n"}
    return read_files(folder, asked, **MMLU | task)


def test_mmlu_shots_are_of_the_examples_own_subject(tmp_path):
    examples, _, _ = mmlu(tmp_path, shots=5, shots_from=["dev/*.csv"])
    for example in examples:
        shots = shots_of(example["prompt"])
        assert len(shots) == 5
        assert {s.rsplit(" ", 1)[0] for s in shots} == {example["group"]}


def test_the_papers_prompt_has_no_options_and_a_setting_lists_them(tmp_path):
    plain, _, _ = mmlu(tmp_path / "a")
    listed, _, _ = mmlu(tmp_path / "b", prompt_options=True, shots=1, shots_from=["dev/*.csv"])
    assert plain[0]["prompt"] == "Question: Where is it?\nAnswer:"
    shot, asked = listed[0]["prompt"].split("\n\n")
    assert asked == "Question: Where is it?\nA. here\nB. there\nC. up\nD. down\nAnswer:"
    assert shot.startswith("Question: anatomy ")
    assert "\nB. b\nC. c\n" in shot
    assert listed[0]["options"] == ["here", "there", "up", "down"]


def test_a_prompt_as_lm_evaluation_harness_has_it(tmp_path):
    task = {
        "instruction": "The following are multiple choice questions (with answers) about {group}.\n\n",
        "prompt": "{input}\n{options}\nAnswer: ",
    }
    example = mmlu(tmp_path, **task)[0][1]
    assert example["prompt"] == (
        "The following are multiple choice questions (with answers) about high school physics.\n\n"
        "Why?\nA. a\nB. b\nC. c\nD. d\nAnswer:"
    )


def test_places_are_filled_once_and_not_in_what_was_filled_in():
    example = Example(1, "a", "what is {options} and {input}?", "x", options=("{input}", "x"), answer=1)
    assert fill("{input} {options} {y}", example) == "what is {options} and {input}? A. {input}\nB. x {y}"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"prompt_options": True}, 'only family "multiple_choice" has options'),
        ({"prompt": "{input} {options}"}, 'only family "multiple_choice" has options'),
        ({"prompt_options": True, "prompt": "{input}", "family": "multiple_choice"}, "its prompt has no {options}"),
        ({"reader": "planted", "shots": 1, "shots_from": ["a.jsonl"]}, "leave out `shots_from`"),
        ({"subjects": "knowledge"}, "`subjects` is for reader mmlu"),
        ({"translator": "A"}, "`translator` is for reader wmt_xml"),
        ({"templates": {"P36": "x"}}, "`templates` is for reader pararel"),
        ({"revision": "a" * 40}, "`revision` is for reader hf"),
        ({"fields": {"input": "q", "output": "a"}, "reader": "gsm8k"}, "`fields` is for reader jsonl or hf"),
    ],
)
def test_settings_that_would_do_nothing_are_errors(tmp_path, task, message):
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(StudyError, match=message):
        plan(study(tmp_path, **task), {"planted_files": ()})


@real
def test_five_shots_on_all_of_mmlu(tmp_path):
    examples, _, sums = read(
        tmp_path,
        study(
            DATA,
            evaluate=["tasks/mmlu/val/*.csv"],
            mine=["tasks/mmlu/dev/*.csv"],
            shots=5,
            shots_from=["tasks/mmlu/dev/*.csv"],
            **MMLU,
        ),
    )
    assert (sums["shots_pool"], sums["fewer_shots"]) == (285, 1), "one question of college physics is in dev and in val"
    assert Counter(e["prompt"].count("\nAnswer:") for e in examples if e["split"] == "evaluate") == {6: 1_540, 5: 1}

"""Questions in their official layouts: TriviaQA, ARC, ParaRel, MMLU's groups, and records with fields of any names."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.examples.readers import mmlu, triviaqa
from tasks.examples.record import NotAnExample, choice
from tests.examples.support import DATA, read, read_files, real, reasons, study


# -- TriviaQA ------------------------------------------------------------------------------------------------------------
def trivia(question: str, value: str, *aliases: str, **other) -> dict:
    answer = {
        "Aliases": [value, *aliases],
        "MatchedWikiEntityName": "",
        "NormalizedAliases": [a.lower() for a in aliases],
        "NormalizedValue": value.lower(),
        "Type": "WikipediaEntity",
        "Value": value,
    }
    pages = [{"DocSource": "TagMe", "Filename": "A.txt", "Title": 'A "quoted" ] } title'}]
    return {"Answer": answer, "EntityPages": pages, "Question": question, "QuestionId": f"tc_{question}", **other}


def whole(*records: object) -> str:
    return json.dumps({"Data": records, "Domain": "Wikipedia", "VerifiedEval": False, "Version": 1.0}, indent=4)


def test_triviaqa_takes_every_alias_the_official_evaluation_takes(tmp_path):
    human = trivia("B?", "Sinclair Lewis", "Harry Sinclair Lewis", QuestionSource="x")
    human["Answer"]["HumanAnswers"] = ["Lewis"]
    examples, rejects, sums = read_files(tmp_path, {"dev.json": whole(trivia("A?", "Saturn"), human)}, reader="triviaqa")
    assert [(e["example"], e["row"], e["input"], e["output"], e["aliases"]) for e in examples] == [
        ("tc_A?", 1, "A?", "Saturn", []),
        ("tc_B?", 2, "B?", "Sinclair Lewis", ["Harry Sinclair Lewis", "harry sinclair lewis", "Lewis"]),
    ]
    assert (rejects, sums["records"]) == ([], 4)


def test_triviaqa_records_that_are_no_examples_are_rejects(tmp_path):
    without, bare = trivia("C?", "x"), trivia("D?", "")
    del without["Answer"]
    odd = trivia("E?", "x")
    odd["Answer"]["Aliases"] = "x"
    content = whole(trivia("A?", "Saturn"), without, bare, odd, "text", {"Question": 5}, trivia("F?", "!?"))
    examples, rejects, _ = read_files(tmp_path, {"dev.json": content}, reader="triviaqa")
    assert [e["example"] for e in examples] == ["tc_A?"]
    expected = {2: "test set", 3: "'Value' is empty", 4: "'Aliases' is not a list", 5: "no object", 6: "a int", 7: "without words"}
    assert {row: part for row, part in expected.items() if part in reasons(rejects)[row]} == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"Domain": 1}', "row 1: .*no field 'Data'"),
        ("[1, 2]", "row 1: .*'\\[' where { is expected"),
        (whole(trivia("A?", "x"))[:-200], r"dev\.json: row \d+: not the JSON.* the file ends too early. Get the file again"),
        (whole(trivia("A?", "x"))[:-300], "Get the file again"),
        ('{"Data": [{"Question": }]}', "row 1: .*Expecting value.*: line.*Correct it there, or set"),
        ('{"Data": [{"Question": "A?"} 5]}', "where , or"),
        ('{"Data": {"a": 1}}', r"where \[ is"),
        ('{"Data": [\n{"a": tru}\n]}', "row 2: .*Expecting value"),
        ("", "ends too early"),
        ('{"Data": []}', "no record of it is an example.*it is empty"),
    ],
)
def test_a_file_that_is_not_triviaqas_is_an_error_with_row_and_remedy(tmp_path, content, message):
    with pytest.raises(StudyError, match=message):
        read_files(tmp_path, {"dev.json": content}, reader="triviaqa")


def test_triviaqa_in_another_encoding_and_torn_archives(tmp_path):
    content = whole(trivia("A?", "x"), trivia("B?", "Caf\u00e9")).replace("\\u00e9", "\u00e9").encode("latin-1")
    examples, rejects, _ = read_files(tmp_path / "a", {"dev.json": content}, reader="triviaqa")
    assert ([e["output"] for e in examples], "set the task's `encoding`" in reasons(rejects)[2]) == (["x"], True)
    examples, _, _ = read_files(tmp_path / "b", {"dev.json": content}, reader="triviaqa", encoding="latin-1")
    assert [e["output"] for e in examples] == ["x", "Café"]
    with pytest.raises(StudyError, match=r"dev\.json\.gz: cannot be read"):
        read_files(tmp_path / "c", {"dev.json.gz": gzip.compress(content)[:-9]}, reader="triviaqa")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.lists(VALUES, max_size=8),
    st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    st.sampled_from([None, 2]),
    st.integers(1, 40),
    st.booleans(),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_items_of_an_array_are_those_json_finds_however_the_file_is_cut(tmp_path, items, before, indent, chunk, ascii_only):
    path = tmp_path / "a.json"
    content = {k: v for k, v in before.items() if k != "Data"} | {"Data": items, "after": 1}
    path.write_text(json.dumps(content, indent=indent, ensure_ascii=ascii_only), encoding="utf-8", errors="surrogatepass")
    old, triviaqa.CHUNK = triviaqa.CHUNK, chunk
    try:
        found = list(triviaqa.array_items(path, "Data"))
    finally:
        triviaqa.CHUNK = old
    assert [n for n, _ in found] == list(range(1, len(items) + 1))
    if ascii_only:
        assert [v for _, v in found] == items


def test_a_large_file_is_held_one_record_at_a_time(tmp_path):
    path = tmp_path / "large.json"
    record = json.dumps(trivia("A?", "x", EvidenceText="word " * 2_000))
    path.write_text('{"Data": [' + ",\n".join([record] * 3_000) + "]}")
    assert path.stat().st_size > 30_000_000
    tracemalloc.start()
    assert sum(1 for _ in triviaqa.array_items(path, "Data")) == 3_000
    assert tracemalloc.get_traced_memory()[1] < 12_000_000
    tracemalloc.stop()


# -- ARC -----------------------------------------------------------------------------------------------------------------
def arc(key: str, *choices: tuple[str, str]) -> dict:
    return {
        "id": f"M_{key}_{len(choices)}",
        "answerKey": key,
        "question": {"stem": "Which?", "choices": [{"text": t, "label": label} for label, t in choices]},
    }


def test_arc_labels_are_letters_or_numbers_and_choices_three_to_five(tmp_path):
    records = [
        arc("B", ("A", "ice"), ("B", "air"), ("C", "rock")),
        arc("1", ("1", "ice"), ("2", "air"), ("3", "rock"), ("4", "sun")),
        arc("E", ("A", "ice"), ("B", "air"), ("C", "rock"), ("D", "sun"), ("E", "sea")),
        arc("F", ("A", "ice"), ("B", "air")),
        arc("A", ("A", "ice"), ("B", " ice")),
        {"question": {"stem": "Which?"}},
        {"id": "x", "answerKey": "A"},
    ]
    examples, rejects, _ = read_files(tmp_path, {"arc.jsonl": records}, family="multiple_choice", reader="arc")
    assert {e["example"]: (e["output"], e["answer"], len(e["options"])) for e in examples} == {
        "M_B_3": ("air", 1, 3),
        "M_1_4": ("ice", 0, 4),
        "M_E_5": ("sea", 4, 5),
    }
    expected = {
        4: "'F' names none of 2",
        5: "right option is equal to another: 'ice'",
        6: "no field 'question.choices.text'",
        7: "stem",
    }
    assert {row: part for row, part in expected.items() if part in reasons(rejects)[row]} == expected


@pytest.mark.parametrize(
    ("answer", "labels", "index"),
    [
        ("1", ["1", "2", "3"], 0),
        (1, ["1", "2", "3"], 0),
        ("3", [1, 2, 3], 2),
        (3.0, [1, 2, 3], 2),
        ("2.0", [1.0, 2.0, 3.0], 1),
        ("b", ["A", "B", "C"], 1),
        ("a", ["b", "a", "A"], 1),
        (True, [False, True, "maybe"], 1),
        (2, ["A", "B", "C"], 2),
        (1, [], 1),
        ("1", [], 1),
        (2.0, [], 2),
        ("0", [], 0),
        ("B", [], 1),
        (" b ", [], 1),
        ("a", [], 0),
        ("3", [], 2),
        (4, [], None),
        ("D", [], None),
        (0, [1, 2, 3], None),
        (-1, [], None),
        (1.5, [], None),
        (True, [], None),
        (None, [], None),
        (["B"], [], None),
        ("", ["", "B", "C"], None),
        ("B", ["1", "2", "3"], None),
        ("A", ["A", "A", "B"], None),
        ("B", ["A", "B"], None),
    ],
)
def test_an_answer_is_a_label_an_index_a_letter_or_the_options_text(answer, labels, index):
    """In this order, whatever its type; where labels are numbers, no other number is an index, and no letter a label."""
    options = ["a", "b", "3"]
    if index is None:
        with pytest.raises(NotAnExample, match="names (none|2) of 3 options|2 labels for 3 options"):
            choice(answer, options, labels)
    else:
        assert choice(answer, options, labels) == index


@pytest.mark.parametrize(
    ("records", "fields"),
    [
        ([{"c": list("wxyz"), "l": [1, 2, 3, 4], "a": i + 1} for i in range(4)], {"options": "c", "labels": "l"}),
        ([{"c": list("wxyz"), "a": str(i)} for i in range(4)], {"options": "c"}),
        ([{"c": list("wxyz"), "a": "abcd"[i]} for i in range(4)], {"options": "c"}),
        ([{"c": list("wxyz"), "a": "wxyz"[i]} for i in range(4)], {"options": "c"}),
        ([dict(zip("ABCD", "wxyz", strict=True)) | {"a": i} for i in range(4)], {"options": ["A", "B", "C", "D"]}),
        ([{"c": '["w", "x", "y", "z"]', "a": i} for i in range(4)], {"options": "c"}),
    ],
)
def test_the_right_option_of_each_record_is_the_one_that_its_file_means(tmp_path, records, fields):
    task = {"family": "multiple_choice", "fields": {"input": "q", "answer": "a", **fields}}
    examples, rejects, _ = read_files(tmp_path, {"a.jsonl": [{"q": f"{i}?", **r} for i, r in enumerate(records)]}, **task)
    assert (rejects, [(e["answer"], e["output"]) for e in examples]) == ([], list(enumerate("wxyz")))


def test_multiple_choice_needs_input_options_and_answer_and_no_fields(tmp_path):
    records = [
        {"input": "a?", "options": ["w", "x", "y"], "answer": 2},
        {"input": "b?", "options": ["w", "x", "y"], "labels": ["1", "2", "3"], "answer": "2"},
        {"input": "c?", "options": ["w", "x", "y"], "output": "w"},
        {"input": "d?", "options": ["w"], "answer": 0},
        {"input": "e?", "options": "w", "answer": 0},
        {"input": "f?", "options": ["w", "x"], "answer": True},
    ]
    examples, rejects, _ = read_files(tmp_path, {"a.jsonl": records}, family="multiple_choice")
    assert [(e["output"], e["answer"]) for e in examples] == [("y", 2), ("x", 1), ("w", 0)]
    expected = {4: "a question with one option", 5: "not a list of texts", 6: "true and false are no index"}
    assert {row: part for row, part in expected.items() if part in reasons(rejects)[row]} == expected


def test_answers_that_count_from_1_without_labels_are_an_error(tmp_path):
    """Three of four would be off by one, and the fourth a reject."""
    records = [{"input": f"{i}?", "options": list("wxyz"), "answer": i + 1} for i in range(4)]
    with pytest.raises(StudyError, match=r"a\.jsonl: its answers count the options from 1.*labels"):
        read_files(tmp_path, {"a.jsonl": records}, family="multiple_choice")


# -- ParaRel -------------------------------------------------------------------------------------------------------------
FACTS = [
    {"sub_label": "Flanders", "obj_label": "Brussels", "uuid": "u-1"},
    {"sub_label": "", "obj_label": "x"},
    {"sub_label": "Velm"},
    {"sub_label": "Velm", "obj_label": "Torin"},
]


def test_pararel_asks_a_cloze_up_to_the_answer(tmp_path):
    examples, rejects, _ = read_files(tmp_path, {"P36.jsonl": FACTS}, reader="pararel")
    assert [(e["example"], e["input"], e["output"], e["prompt"], e["separator"], e["group"]) for e in examples] == [
        ("P36.jsonl/0000004", "Velm", "Torin", "The capital of Velm is", " ", "P36"),
        ("u-1", "Flanders", "Brussels", "The capital of Flanders is", " ", "P36"),
    ]
    assert sorted(reasons(rejects)) == [2, 3]


def test_a_template_or_a_prompt_of_the_study_comes_first(tmp_path):
    task = {"reader": "pararel", "templates": {"P36": "[X]'s capital, [Y]."}}
    examples, _, _ = read_files(tmp_path, {"P36.jsonl": FACTS}, **task)
    assert {e["prompt"] for e in examples} == {"Velm's capital,", "Flanders's capital,"}
    examples, _, _ = read_files(tmp_path, {"P36.jsonl": FACTS}, reader="pararel", prompt="Capital of {input}? ")
    assert {e["prompt"] for e in examples} == {"Capital of Velm?", "Capital of Flanders?"}


@pytest.mark.parametrize(
    ("name", "templates", "message"),
    [
        ("P36.jsonl", {"P36": "[Y] is the capital of [X]."}, "must contain"),
        ("P36.jsonl", {"P36": "The capital is [Y]."}, "must"),
        ("P36.jsonl", {"P36": "In [X] it is [Y], they say."}, "must"),
        ("P999.jsonl", {}, "'P999'.* has no template; write templates"),
    ],
)
def test_a_template_that_is_no_cloze_is_an_error(tmp_path, name, templates, message):
    with pytest.raises(StudyError, match=message):
        read_files(tmp_path, {name: FACTS}, reader="pararel", templates=templates)


# -- MMLU's subjects -----------------------------------------------------------------------------------------------------
def test_the_papers_groups_are_34_and_22_of_57_subjects_and_formal_logic_is_in_neither():
    sizes = [len(s) for s in (mmlu.KNOWLEDGE, mmlu.REASONING, mmlu.SUBJECTS)]
    assert sizes == [34, 22, 57]
    assert not mmlu.KNOWLEDGE & mmlu.REASONING
    assert {"formal_logic"} == mmlu.SUBJECTS - mmlu.KNOWLEDGE - mmlu.REASONING


@real
@pytest.mark.parametrize(("group", "count"), [("knowledge", 34), ("reasoning", 22), (["astronomy", "formal_logic"], 2), ([], 57)])
def test_a_task_takes_the_subjects_it_names(tmp_path, group, count):
    task = {"family": "multiple_choice", "reader": "mmlu", "evaluate": ["tasks/mmlu/val/*.csv"], "subjects": group}
    examples, _, _ = read(tmp_path, study(DATA, mine=["tasks/mmlu/dev/*.csv"], **task))
    assert {len({e["group"] for e in examples if e["split"] == s}) for s in ("mine", "evaluate")} == {count}
    assert {e["group"] for e in examples} <= mmlu.SUBJECTS


@pytest.mark.parametrize(
    ("named", "message"), [(["astrology"], "no subject 'astrology'"), (["anatomy", "virology"], "no file of subject 'virology'")]
)
def test_subjects_that_are_not_there_are_errors(tmp_path, named, message):
    with pytest.raises(StudyError, match=message):
        read_files(tmp_path, {"anatomy_val.csv": "Q?,a,b,c,d,A\n"}, family="multiple_choice", reader="mmlu", subjects=named)


# -- fields of any names -------------------------------------------------------------------------------------------------
def test_fields_name_where_each_part_of_an_example_is(tmp_path):
    fields = {"input": "q.text", "output": "a.values", "aliases": "a.more", "id": "n", "group": "topic"}
    records = [
        {"n": 7, "q": {"text": "Who?"}, "a": {"values": ["Ann", "Annie"], "more": ["A.", "Ann"]}, "topic": "names"},
        {"n": 8, "q": {"text": "Who?"}, "a": {"values": [], "more": []}, "topic": ""},
        {"n": 9, "q": {}, "a": {"values": ["x"], "more": []}, "topic": ""},
        {"n": 10, "q": {"text": "Who?"}, "a": {"values": [{"v": 1}], "more": []}, "topic": ""},
    ]
    examples, rejects, _ = read_files(tmp_path, {"a.jsonl": records}, fields=fields)
    (example,) = examples
    assert (example["example"], example["group"], example["output"], example["aliases"]) == ("7", "names", "Ann", ["Annie", "A."])
    expected = {2: "without output", 3: "no field 'q.text'", 4: "neither a text nor"}
    assert {row: part for row, part in expected.items() if part in reasons(rejects)[row]} == expected


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": "q", "result": "a"}, "no 'result'; name fields for some of input"),
        ({"output": "a"}, "the field of the input"),
        ({"input": ["q", "r"], "output": "a"}, "'input' is one field"),
    ],
)
def test_fields_that_cannot_be_are_errors(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        study(tmp_path, fields=fields)


def test_optional_fields_may_be_missing_in_a_record_but_not_in_all(tmp_path):
    fields = {"input": "q", "output": "a", "aliases": "more", "id": "n", "group": "topic"}
    records = [{"q": "a?", "a": "x", "more": ["y", "x", "y", " "], "n": 7, "topic": "t"}, {"q": "b?", "a": "x", "more": None}]
    examples, rejects, _ = read_files(tmp_path / "some", {"a.jsonl": records}, fields=fields)
    assert not rejects
    assert [(e["example"], e["group"], e["aliases"]) for e in examples] == [("7", "t", ["y"]), ("a.jsonl/0000002", "", [])]
    with pytest.raises(StudyError, match=r"a\.jsonl: no record has a field 'alias'; correct `aliases` in `fields`"):
        read_files(tmp_path / "none", {"a.jsonl": records}, fields=fields | {"aliases": "alias"})


def test_gsm8ks_annotations_are_removed_whatever_the_reader(tmp_path):
    record = {"q": "How many?", "a": ["2*3=<<2*3=6>>6.\n#### 6", "<<6=6>>6"]}
    task = {"family": "math", "fields": {"input": "q", "output": "a"}}
    ((example,), _, _) = read_files(tmp_path, {"a.jsonl": [record]}, **task)
    assert (example["output"], example["aliases"]) == ("2*3=6.\n#### 6", ["6"])


# -- for every reader ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [["4", "4", "5"], ["4", " 4"], ["4", ""]])
def test_options_that_cannot_be_told_apart_are_rejects(tmp_path, options):
    good = {"input": "2+2?", "output": "4", "options": ["3", "4"], "answer": 1}
    records = [good, {"input": "2+2?", "output": "4", "options": options, "answer": 0}]
    examples, rejects, _ = read_files(tmp_path, {"a.jsonl": records}, family="multiple_choice")
    assert len(examples) == 1
    assert reasons(rejects)[2].startswith("an option without" if "" in options else "the right option is equal ")


def test_two_wrong_options_may_be_equal_as_in_mmlu(tmp_path):
    record = {"input": "|3+5|-|-4|?", "output": "4", "options": ["12", "-4", "4", "12"], "answer": 2}
    examples, rejects, _ = read_files(tmp_path, {"a.jsonl": [record]}, family="multiple_choice")
    assert (len(examples), rejects) == (1, [])


@pytest.mark.parametrize("output", ["—", "?!", "…", "$", "\u200b"])
def test_an_output_without_words_is_a_reject(tmp_path, output):
    records = [{"input": "i", "output": "½"}, {"input": "i", "output": output}]
    examples, rejects, _ = read_files(tmp_path, {"a.jsonl": records})
    assert [e["output"] for e in examples] == ["½"]
    assert reasons(rejects)[2].startswith("an output without words")


def test_every_example_says_its_file_row_and_version(tmp_path):
    files = {name: [{"question": "who", "answer": ["x"]}] * 2 for name in ("n/a.jsonl", "n/b.jsonl")}
    examples, _, _ = read_files(tmp_path, files, reader="nq_open", version=3)
    assert [(e["file"], e["row"], e["version"]) for e in examples] == [
        (name, row, "3/nq_open-2") for name in files for row in (1, 2)
    ]

"""Every record of a task file is an example, a reject with its reason, or beyond the limit (run_step checks the balance)."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from schemas import StudyError
from tasks.examples.read import plan
from tasks.examples.readers import takes_two_files
from tasks.storage.store import Store
from tests.examples.reader_files import GOOD, TEXT, WRONG
from tests.examples.support import read, study
from tests.support import write_part


def read_file(tmp_path: Path, content: bytes | str | list, name: str = "a.jsonl", splits=None, **task):
    """The same for one file; a list is written as JSON lines."""
    if isinstance(content, list):
        content = "".join(json.dumps(r) + "\n" for r in content)
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read(tmp_path / "root", study(tmp_path, splits, **task))


def evaluated(examples):
    return [e for e in examples if e["split"] == "evaluate"]


# -- readers ----------------------------------------------------------------------------------------------------------
def test_jsonl_takes_every_field_of_the_general_format(tmp_path):
    record = {
        "id": "q7",
        "input": "2 + 2 = ?",
        "output": "4",
        "aliases": ["four"],
        "options": ["3", "4"],
        "answer": 1,
        "group": "sums",
        "prompt": "Sum: {input} \n",
        "split": "evaluate",
    }
    ((example,), rejects, _) = read_file(tmp_path, [record], family="multiple_choice")
    assert not rejects
    kept = {k: example[k] for k in ("input", "output", "aliases", "options", "answer", "group", "split")}
    assert kept == {k: record[k] for k in kept}
    assert example["example"] == "q7"
    assert (example["prompt"], example["separator"]) == ("Sum: 2 + 2 = ?", " \n")


def test_gsm8k_loses_its_annotations_and_keeps_the_final_number(tmp_path):
    answer = "She has 2*3=<<2*3=6>>6 pears,\nand 6/4=<<6/4=1.5>>1.5 each.\n#### 1.5"
    records = [{"question": "How many?", "answer": answer}, {"question": "And now?", "answer": "no number"}]
    examples, rejects, _ = read_file(tmp_path, records, family="math", reader="gsm8k")
    assert evaluated(examples)[0]["output"] == "She has 2*3=6 pears,\nand 6/4=1.5 each.\n#### 1.5"
    assert evaluated(examples)[0]["prompt"] == "Question: How many?\nAnswer:"
    assert evaluated(examples)[0]["separator"] == " "
    assert {(r["row"], r["reason"]) for r in rejects} == {(2, "the answer has no final number after ####")}


def test_mmlu_rows_may_hold_line_breaks_and_the_file_is_the_subject(tmp_path):
    content = '"Which,\nof ""these""?",4,6,7,9,C\nA row?,1,2,3\nB?,1,2,3,4,E\n,1,2,3,4,A\n"torn"x,1,2,3,4,A\nLast?,1,2,3,4,D\n'
    examples, rejects, sums = read_file(tmp_path, content, "astronomy_val.csv", family="multiple_choice", reader="mmlu")
    first, last = evaluated(examples)
    assert (first["input"], first["output"], first["answer"]) == ('Which,\nof "these"?', "7", 2)
    assert (first["options"], first["group"], first["example"]) == (["4", "6", "7", "9"], "astronomy", "astronomy_val/00001")
    assert last["output"] == "4"
    reasons = {r["row"]: r["reason"] for r in rejects}
    assert sorted(reasons) == [2, 3, 4, 5]
    for row, part in {2: "4 cells", 3: "'E'", 4: "without text", 5: "not CSV"}.items():
        assert part in reasons[row]
    assert sums["records"] == 12


def test_mmlu_files_may_be_packed_marked_and_without_a_last_line_end(tmp_path):
    content = b'\xef\xbb\xbf"Which,\r\n of these?",4,6,7,9,C\r\nLast?,1,2,3,4,D'
    for name, packed in (("a.csv", content), ("b.csv.gz", gzip.compress(content)), ("c.csv.zst", zstandard.compress(content))):
        examples, rejects, _ = read_file(tmp_path / name, packed, name, evaluate=[name], family="multiple_choice", reader="mmlu")
        assert [(e["input"], e["output"]) for e in evaluated(examples)] == [("Which,\n of these?", "7"), ("Last?", "4")]
        assert not rejects
        assert {e["group"] for e in examples} == {name[0]}


def test_an_open_quotation_mark_costs_what_it_swallows_and_is_counted(tmp_path):
    content = 'First?,1,2,3,4,A\n"Open?,1,2,3,4,B\nLost?,1,2,3,4,C\n'
    examples, rejects, sums = read_file(tmp_path, content, "a.csv", family="multiple_choice", reader="mmlu")
    assert [e["input"] for e in evaluated(examples)] == ["First?"]
    assert {(r["row"], r["reason"][:7]) for r in rejects} == {(2, "not CSV")}
    assert sums["records"] == 4


def test_nq_open_takes_the_first_answer_and_the_others_as_aliases(tmp_path):
    examples, rejects, _ = read_file(
        tmp_path,
        [
            {"question": "who painted it", "answer": ["Rembrandt", "Rembrandt van Rijn"]},
            {"question": "who", "answer": []},
            {"question": "who", "answer": "Vermeer"},
            {"answer": ["x"]},
            {"question": "who", "answer": 5},
            {"question": "who", "answer": [" ", ""]},
            {"question": "who", "answer": ["x", None]},
        ],
        reader="nq_open",
    )
    assert [(e["output"], e["aliases"]) for e in evaluated(examples)] == [("Rembrandt", ["Rembrandt van Rijn"])]
    assert Counter(r["row"] for r in rejects) == dict.fromkeys(range(2, 8), 2), "one reject for each split the record would serve"


TRIVIA = """
#Q Which planet has
A ring, and more?
^ Saturn
A Mars
B Saturn

#Q Two answers?
^ One
^ Two
A One
B Two

#Q No choice is right
^ Three
A One
B Two
"""


def test_opentriviaqa_is_open_qa_or_multiple_choice(tmp_path):
    examples, rejects, _ = read_file(tmp_path, TRIVIA, "animals", evaluate=["animals"], reader="opentriviaqa")
    first, last = evaluated(examples)
    assert (first["input"], first["output"], first["options"]) == ("Which planet has A ring, and more?", "Saturn", [])
    assert (first["group"], first["row"], last["output"]) == ("animals", 2, "Three")
    assert {r["reason"] for r in rejects} == {"2 answers marked ^, not one"}
    examples, rejects, _ = read_file(
        tmp_path, TRIVIA, "animals", evaluate=["animals"], reader="opentriviaqa", family="multiple_choice"
    )
    assert [(e["options"], e["answer"]) for e in evaluated(examples)] == [(["Mars", "Saturn"], 1)]
    assert len(rejects) == 4


def test_bytes_of_another_encoding_cost_their_record_and_no_other(tmp_path):
    content = TRIVIA.encode().replace(b"Three", b"Caf\xe9")
    task = {"evaluate": ["animals"], "reader": "opentriviaqa"}
    examples, rejects, _ = read_file(tmp_path, content, "animals", **task)
    assert len(evaluated(examples)) == 1
    assert any("set the task's `encoding`" in r["reason"] for r in rejects)
    examples, _, _ = read_file(tmp_path, content, "animals", encoding="latin-1", **task)
    assert [e["output"] for e in evaluated(examples)] == ["Saturn", "Café"]


def test_parallel_reads_packed_files_and_two_of_their_languages(tmp_path):
    lines = b'{"page": "p", "en": "Disks fail.", "de": "Platten sterben."}\n{"page": "q", "en": "Only."}\n'
    examples, rejects, _ = read_file(
        tmp_path, zstandard.compress(lines), "a.jsonl.zst", family="translation", reader="parallel", languages=["en", "de"]
    )
    (example,) = evaluated(examples)
    assert (example["input"], example["output"], example["group"]) == ("Disks fail.", "Platten sterben.", "en-de")
    assert (example["prompt"], example["separator"]) == ("English text: Disks fail.\nGerman translation:", " ")
    assert {r["reason"] for r in rejects} == {"no field 'de'; there are page, en"}


def test_parallel_texts_may_be_lists_of_paragraphs(tmp_path):
    record = {"en": ["A game", "Of war."], "de": ["Ein Spiel", "Im Krieg."]}
    examples, _, _ = read_file(tmp_path, [record], family="translation", reader="parallel", languages=["en", "de"])
    assert [(e["input"], e["output"]) for e in evaluated(examples)] == [("A game\nOf war.", "Ein Spiel\nIm Krieg.")]


@pytest.mark.parametrize(
    ("prompt", "sent", "separator"),
    [
        ("", "Question: 2+2?\nAnswer:", " "),
        ("Q: {input} A:", "Q: 2+2? A:", ""),
        ("{input}\n\n", "2+2?", "\n\n"),
        ("{input} {input} is {y} \t", "2+2? 2+2? is {y}", " \t"),
    ],
)
def test_white_space_at_a_prompts_end_goes_to_the_continuation(tmp_path, prompt, sent, separator):
    examples, _, _ = read_file(tmp_path, [{"input": "2+2?", "output": "4"}], prompt=prompt)
    assert {(e["prompt"], e["separator"]) for e in examples} == {(sent, separator)}


def test_the_hash_of_an_example_says_all_that_a_model_sees(tmp_path):
    record = {"id": "a", "input": "i", "output": "o", "aliases": ["p"]}
    others = [
        record,
        {**record, "output": "O"},
        {**record, "aliases": []},
        {**record, "prompt": "{input}!"},
        {**record, "options": ["o"], "answer": 0},
        {**record, "input": "j"},
    ]
    lists = [{**other, "id": str(i)} for i, other in enumerate([*others, record])]
    examples, _, _ = read_file(tmp_path, lists)
    hashes = [e["sha256"] for e in evaluated(examples)]
    assert len(set(hashes)) == len(others)
    assert hashes[0] == hashes[-1]


def test_planted_tasks_are_read_from_the_folder_of_their_part(tmp_path):
    part = write_part(
        tmp_path,
        "planted_files",
        {"file": ["t.jsonl"], "kind": ["task"], "sha256": [""], "bytes": [1], "records": [2]},
        {"kind": "tasks"},
    )
    records = [{"id": "a", "split": split, "input": "x", "output": "y"} for split in ("evaluate", "mine")]
    path = Store(str(tmp_path)).folder("planted_files", part.key) / "t.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    examples, _, sums = read(tmp_path, study(tmp_path, reader="planted", evaluate=[]), (part,))
    assert [(e["split"], e["example"]) for e in examples] == [("evaluate", "a"), ("mine", "a")]
    assert sums["records"] == 2
    with pytest.raises(StudyError, match="no such task; it has t$"):
        read(tmp_path, study(tmp_path, reader="planted", evaluate=[], name="other"), (part,))


# -- what is mined, what is evaluated ---------------------------------------------------------------------------------
QUESTIONS = [{"id": f"q{i}", "input": f"Question {i}?", "output": f"answer {i}"} for i in range(100)]


def test_without_mining_files_the_evaluated_examples_are_mined(tmp_path):
    examples, _, sums = read_file(tmp_path, QUESTIONS)
    ids = {s: [e["example"] for e in examples if e["split"] == s] for s in ("mine", "evaluate")}
    assert ids["mine"] == ids["evaluate"] == sorted(q["id"] for q in QUESTIONS)
    assert sums["records"] == 200


def test_mining_files_are_mined_and_evaluated_files_are_not(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps({"input": "i", "output": "o"}))
    examples, _, _ = read_file(tmp_path, QUESTIONS, mine=["train.jsonl"])
    assert Counter(e["split"] for e in examples) == {"evaluate": 100, "mine": 1}


def test_a_split_evaluates_one_half_of_the_keys_and_mines_the_other(tmp_path):
    pages = [(i, code) for i in range(80) for code in ("en", "de")]
    records = [{"page": f"{code}/p{i}", "input": f"{code} {i}?", "output": "o"} for i, code in pages]
    examples, rejects, sums = read_file(
        tmp_path,
        [*records, {"input": "no page", "output": "o"}],
        splits={"pages": {"field": "page", "pattern": "/(.*)"}},
        split="pages",
    )
    numbers = {s: {e["input"].split()[1] for e in examples if e["split"] == s} for s in ("mine", "evaluate")}
    assert numbers["mine"].isdisjoint(numbers["evaluate"])
    assert 20 < len(numbers["evaluate"]) < 60
    assert (len(examples), sums["records"]) == (160, 161)
    assert [(r["row"], "finds no key" in r["reason"]) for r in rejects] == [(161, True)]


def test_a_limit_keeps_the_smallest_hashes_whatever_the_order_of_the_file(tmp_path):
    examples, _, sums = read_file(tmp_path, QUESTIONS, limit=10, mine_limit=30)
    kept = {s: {e["example"] for e in examples if e["split"] == s} for s in ("mine", "evaluate")}
    assert (len(kept["evaluate"]), len(kept["mine"]), sums["beyond_limit"]) == (10, 30, 160)
    assert kept["evaluate"] < kept["mine"], "one hash orders both splits"
    again, _, _ = read_file(tmp_path, QUESTIONS[::-1], limit=10, mine_limit=30)
    assert {e["example"] for e in evaluated(again)} == kept["evaluate"]
    fewer, _, _ = read_file(tmp_path, QUESTIONS[::-1], limit=9, mine_limit=30)
    assert {e["example"] for e in evaluated(fewer)} < kept["evaluate"]


def test_rows_of_several_files_have_different_ids(tmp_path):
    for name in ("a1.jsonl", "a2.jsonl"):
        (tmp_path / name).write_text('{"question": "who", "answer": ["x"]}\n')
    examples, rejects, _ = read(tmp_path / "root", study(tmp_path, reader="nq_open"))
    assert [e["example"] for e in evaluated(examples)] == ["a1.jsonl/0000001", "a2.jsonl/0000001"]
    assert not rejects


# -- bad input --------------------------------------------------------------------------------------------------------
BAD = {
    "an example without output|no field 'output'": {"id": "x", "input": "i"},
    "field 'output' is empty": {"id": "x", "input": "i", "output": " "},
    "no field 'input'": {"id": "x", "output": "o"},
    "field 'input' is a int": {"id": "x", "input": 4, "output": "o"},
    "duplicate id": {"id": "q5", "input": "i", "output": "o"},
    "surrogate": {"id": "x", "input": "i", "output": "o", "aliases": ["\ud800"]},
    "not a list of texts": {"id": "x", "input": "i", "output": "o", "options": "o"},
    "answer 1 names none of 1 options": {"id": "x", "input": "i", "output": "o", "options": ["o"], "answer": 1},
    "not the text of the right option": {"id": "x", "input": "i", "output": "o", "options": ["p"], "answer": 0},
    "neither 'mine' nor 'evaluate'": {"id": "x", "input": "i", "output": "o", "split": "test"},
    "fields 'id' and 'group' are": {"id": ["x"], "input": "i", "output": "o"},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_is_a_reject_and_its_neighbours_stay(tmp_path, reason):
    examples, rejects, _ = read_file(tmp_path, [*QUESTIONS[:9], BAD[reason], *QUESTIONS[9:]])
    assert len(evaluated(examples)) == 100
    assert {(r["row"], r["split"], r["file"]) for r in rejects} == {(10, "mine", "a.jsonl"), (10, "evaluate", "a.jsonl")}
    assert all(any(part in r["reason"] for part in reason.split("|")) for r in rejects)


def test_multiple_choice_without_a_right_option_is_a_reject(tmp_path):
    good = {"input": "i", "output": "o", "options": ["o", "p"], "answer": 0}
    _, rejects, _ = read_file(tmp_path, [good, {"input": "i", "output": "o"}], family="multiple_choice")
    assert {(r["row"], r["reason"][:15]) for r in rejects} == {(2, "no right option")}


HTML = b"<!DOCTYPE html>\n<html><body>\n<h1>404, not found</h1>\n</body></html>\n"
BINARY = bytes(range(256)) * 3


def read_any(folder: Path, reader: str, content: bytes | tuple[bytes, bytes], name: str):
    """A file, or two, read by any reader; one that takes two files reads one content as both."""
    folder.mkdir(exist_ok=True)
    names = [name, f"ref-{name}"] if takes_two_files(reader) else [name]
    for each, part in zip(names, content if isinstance(content, tuple) else (content, content), strict=False):
        (folder / each).write_bytes(part)
    task = {"reader": reader, "languages": ["en", "de"], "evaluate": names}
    task |= {"templates": {"a": "[X] is [Y]"}} if reader == "pararel" else {}
    task |= {"family": "multiple_choice"} if reader in ("mmlu", "arc") else {}
    return read(folder / "root", study(folder, **task))


@pytest.mark.parametrize("reader", WRONG)
@pytest.mark.parametrize("empty", [False, True])
def test_a_file_of_the_wrong_format_is_an_error_with_file_row_and_remedy(tmp_path, reader, empty):
    nothing = "it is empty|ends too early|no element found.*reader|no <seg> in it"
    wrong = r"row [12](: .*reader| begins a JSON array.*jq| has no counterpart.*get them again)|no <seg> in it; the second file"
    with pytest.raises(StudyError, match=rf"a\.x.*({nothing if empty else wrong})"):
        read_any(tmp_path, reader, b"" if empty else WRONG[reader], "a.x")


@pytest.mark.parametrize("reader", sorted(set(WRONG) - {"aligned"}))  # any text is a text aligned with itself
@pytest.mark.parametrize("content", [HTML, BINARY, b"\x00" * 40, b"\n\n\n"], ids=["html", "binary", "zeros", "blank"])
def test_html_and_bytes_are_errors_for_every_reader(tmp_path, reader, content):
    with pytest.raises(StudyError, match=r"a\.x: no record of it is an example|a\.x: .*row \d|a\.x: no <seg> in it"):
        read_any(tmp_path, reader, content, "a.x")


@pytest.mark.parametrize("reader", ["jsonl", "parallel", "nq_open", "gsm8k", "arc", "pararel"])
def test_a_json_array_is_an_error_though_its_last_line_looks_like_a_record(tmp_path, reader):
    content = b"[\n" + b",\n".join([TEXT.strip()] * 5) + b"\n]\n"
    with pytest.raises(StudyError, match=r"a\.x: row 1 begins a JSON array"):
        read_any(tmp_path, reader, content, "a.x")


NUMBERED = {
    "triviaqa": ('{"Data": [', '{"Question": "q%d?", "Answer": {"Value": "a"}}', "]}"),
    "sgm": ("<srcset>", '<doc docid="%d"><seg id="1">e</seg></doc>\n', "</srcset>"),
    "wmt_xml": (
        "<dataset>",
        '<doc id="%d"><src lang="en"><seg id="1">e</seg></src><ref lang="de"><seg id="1">d</seg>\n</ref></doc>',
        "</dataset>",
    ),
}


def fifty(reader: str) -> bytes:
    """A good file of fifty records."""
    if reader not in NUMBERED:
        return GOOD[reader][0] * 50
    begin, record, end = NUMBERED[reader]
    return (begin + ("," if reader == "triviaqa" else "").join(record % i for i in range(50)) + end).encode()


@pytest.mark.parametrize("reader", WRONG)
@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_a_packed_file_that_breaks_off_is_an_error_for_every_reader(tmp_path, reader, kind):
    packed = (gzip.compress if kind == "gz" else zstandard.compress)(fifty(reader))
    examples, rejects, _ = read_any(tmp_path / "whole", reader, packed, f"a.{kind}")
    assert examples and len(examples) + len(rejects) == 100
    with pytest.raises(StudyError, match=rf"a\.{kind}: cannot be read"):
        read_any(tmp_path / "torn", reader, packed[:-5], f"a.{kind}")


def test_one_file_of_the_wrong_format_among_good_ones_is_an_error(tmp_path):
    (tmp_path / "a2.jsonl").write_text("[]\n")
    with pytest.raises(StudyError, match="a2.jsonl"):
        read_file(tmp_path, QUESTIONS, "a1.jsonl")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"evaluate": ["absent.jsonl"]}, "absent.jsonl"),
        ({"evaluate": []}, "names no file"),
        ({"prompt": "no place"}, "{input}"),
        ({"encoding": "utf-99"}, "utf-99"),
        ({"encoding": "utf-16"}, "utf-16"),
        ({"reader": "planted"}, "corpus.planted"),
        ({"split": "p", "mine": ["a.jsonl"]}, "both decide"),
        ({"mine": ["gone*"]}, "gone"),
    ],
)
def test_settings_that_cannot_be_right_are_errors_before_anything_runs(tmp_path, task, message):
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(StudyError, match=message):
        plan(study(tmp_path, {"p": {}}, **task), {"planted_files": ()})

"""Data sets of the `datasets` library, from folders (no network here), and what a hub that is out of reach gives."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.examples.fields import OWN
from tasks.examples.read import plan
from tasks.examples.readers import reader_module
from tasks.examples.record import Example, TaskFile, checked
from tasks.step import keyed
from tests.examples.support import json_lines, read, read_files, reasons, study

datasets = pytest.importorskip("datasets", reason="the hub reader needs the extra `hf`: pip install -e '.[hf]'")

ARC = [
    {"id": f"m{i}", "question": f"Which {i}?", "choices": {"text": ["ice", "air", "sun"], "label": labels}, "answerKey": key}
    for i, (labels, key) in enumerate(
        [(["A", "B", "C"], "B"), (["1", "2", "3"], "1"), (["A", "B", "C"], "D"), (["A", "B", "C"], "C")]
    )
]
FIELDS = {"input": "question", "options": "choices.text", "labels": "choices.label", "answer": "answerKey", "id": "id"}
TASK = {"family": "multiple_choice", "fields": FIELDS, "evaluate": ["test"], "mine": ["train"]}


@pytest.fixture(scope="module", autouse=True)
def _quiet():
    datasets.disable_progress_bars()


def saved(folder: Path, kind: str, records: list = ARC) -> str:
    """The data set as a folder of this kind; returns the reader's name."""
    both = datasets.DatasetDict({s: datasets.Dataset.from_list(records) for s in ("train", "test")})
    if kind == "save_to_disk":
        both.save_to_disk(str(folder / kind))
    else:
        (folder / kind / "data").mkdir(parents=True)
        for split, data in both.items():
            path = str(folder / kind / "data" / f"{split}-00000-of-00001.{kind}")
            data.to_parquet(path) if kind == "parquet" else data.to_json(path)
    return f"hf:{kind}"


@pytest.mark.parametrize("kind", ["save_to_disk", "parquet", "json"])
def test_a_data_set_in_a_folder_is_read_by_its_fields(tmp_path, kind):
    examples, rejects, _ = read(tmp_path / "root", study(tmp_path, reader=saved(tmp_path, kind), **TASK))
    found = [
        (e["example"], e["input"], e["output"], e["answer"], e["file"], e["row"]) for e in examples if e["split"] == "evaluate"
    ]
    assert found == [
        ("m0", "Which 0?", "air", 1, "test", 1),
        ("m1", "Which 1?", "ice", 0, "test", 2),
        ("m3", "Which 3?", "sun", 2, "test", 4),
    ]
    assert {e["version"] for e in examples} == {"1/hf-2"}
    assert {(r["split"], r["row"]) for r in rejects} == {("evaluate", 3), ("mine", 3)}
    assert "'D' names none of 3 options, A, B, C" in reasons(rejects)[3]


def test_one_split_saved_alone_is_called_train(tmp_path):
    datasets.Dataset.from_list(ARC).save_to_disk(str(tmp_path / "one"))
    examples, _, _ = read(tmp_path / "root", study(tmp_path, reader="hf:one", **TASK | {"evaluate": ["train"], "mine": []}))
    assert len(examples) == 6


def test_the_key_follows_the_folders_bytes_and_the_hubs_commit(tmp_path):
    from tasks.examples.read import READ

    def key(**task):
        (job,) = plan(study(tmp_path, **TASK | task), {"planted_files": ()})
        assert str(tmp_path) not in str(dict(job.settings)), "no path of this machine is in the key"
        return keyed(READ, 0, job).key

    name = saved(tmp_path, "json")
    before = key(reader=name)
    assert key(reader=name) == before
    path = tmp_path / "json" / "data" / "test-00000-of-00001.json"
    path.write_text(path.read_text().replace("ice", "snow"))
    assert key(reader=name) != before
    commits = [key(reader="hf:a/b:c", revision=c * 40) for c in "ab"] + [key(reader="hf:a/b", revision="a" * 40)]
    assert len(set(commits)) == 3


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"reader": "hf:a/b"}, r"'' is no commit.*40 hex digits"),
        ({"reader": "hf:a/b", "revision": "main"}, "'main' is no commit"),
        ({"reader": "hf:empty"}, "has no file"),
        ({"reader": "hf:a/b", "evaluate": []}, "`evaluate` names no split"),
    ],
)
def test_what_no_rerun_could_read_again_is_an_error_before_anything_is_loaded(tmp_path, task, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match=message):
        plan(study(tmp_path, **TASK | task), {"planted_files": ()})


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"fields": {}, "reader": "hf:odd/json"}, "needs fields = .*its columns are stem, key"),
        ({"evaluate": ["dev"]}, "no split 'dev'; it has train, test"),
        ({"fields": {"input": "stem", "output": "id"}}, "no record of it is an example.*no field 'stem'; there are id, question"),
    ],
)
def test_wrong_fields_and_splits_are_errors_that_name_the_right_ones(tmp_path, task, message):
    task = {"reader": saved(tmp_path, "save_to_disk")} | task
    saved(tmp_path / "odd", "json", [{"stem": "Who?", "key": "Ann"}])
    with pytest.raises(StudyError, match=message):
        read(tmp_path / "root", study(tmp_path, **TASK | task))


def test_a_torn_folder_is_an_error_with_a_remedy(tmp_path):
    saved(tmp_path / "a[1]", "parquet")
    with pytest.raises(StudyError, match=r"a\[1\].*Remedy: rename the folder: the library takes \["):
        read(tmp_path / "root", study(tmp_path, reader="hf:a[1]/parquet", **TASK))
    name = saved(tmp_path, "parquet")
    path = tmp_path / "parquet" / "data" / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StudyError, match=r"data set .*parquet: .*Remedy: save the data set again"):
        read(tmp_path / "root", study(tmp_path, reader=name, **TASK))


# -- the same record, the same example ------------------------------------------------------------------------------------
TRICKY = [
    "007",
    "1e5",
    "None",
    "nan",
    "true",
    "2020-01-01",
    "2020-01-01T00:00:00Z",
    "1.0",
    '"',
    "a,b;c\td",
    "x\ny",
    "[1]",
    "½ ",
    "B",
]
TEXTS = st.sampled_from(TRICKY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=9
)
OPTIONS = TEXTS.filter(str.strip)
NAMINGS = {  # how a file writes its right options, and the labels of its options
    "index": (int, None),
    "index as text": (str, None),
    "index as a float": (float, None),
    "letter": ("ABCD".__getitem__, None),
    "small letter": ("abcd".__getitem__, None),
    "label": ("wxyz".__getitem__, "wxyz"),
    "label in the other case": ("WXYZ".__getitem__, "wxyz"),
    "number from 1": (lambda i: i + 1, [1, 2, 3, 4]),
    "number from 1 as text": (lambda i: str(i + 1), [1, 2, 3, 4]),
    "truth": (lambda i: i == 1, [False, True]),
}


@st.composite
def files_of_records(draw):
    """Records of one file: as in real ones, each field has one type."""
    name, labels = NAMINGS[draw(st.sampled_from(sorted(NAMINGS)))]
    ids, records = draw(st.sampled_from([TEXTS, st.integers(-(2**63), 2**63 - 1), st.none()])), []
    for _ in range(draw(st.integers(1, 5))):
        options = draw(st.lists(OPTIONS, min_size=1, max_size=len(labels or "abcd")))
        right = draw(st.integers(0, len(options) - 1))
        record = {"id": draw(ids), "input": draw(TEXTS), "options": options, "answer": name(right)}
        record |= {"labels": list(labels[: len(options)])} if labels else {}
        record |= {"aliases": draw(st.lists(TEXTS, max_size=2)), "group": draw(st.none() | TEXTS)}
        record["output"] = draw(st.sampled_from([None, options[right], options[0]]))
        records.append(record)
    return records


def written(folder: Path, records: list[dict]) -> Iterator[tuple[str, TaskFile, dict]]:
    """(reader, file, fields) of each way to write these records."""
    used = [f for f in OWN if any(r.get(f) not in (None, []) for r in records)]
    json_lines, nested = folder / "own" / "train.jsonl", folder / "nested.jsonl"
    json_lines.parent.mkdir()
    json_lines.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    yield "jsonl", TaskFile("train", json_lines), {}
    yield "hf", TaskFile("train", json_lines.parent), {}
    nested.write_text("".join(json.dumps({"q": {"of": r}}) + "\n" for r in records), encoding="utf-8")
    yield "jsonl", TaskFile("train", nested), {f: f"q.of.{f}" for f in used}
    data = datasets.Dataset.from_list([{f: r.get(f) for f in used} for r in records])
    data.save_to_disk(str(folder / "disk"))
    yield "hf", TaskFile("train", folder / "disk"), {f: f for f in used}
    (folder / "parquet").mkdir()
    data.to_parquet(str(folder / "parquet" / "train.parquet"))
    yield "hf", TaskFile("train", folder / "parquet"), {f: f for f in used}
    widths = {f: max(len(r.get(f) or []) for r in records) for f in used if f in ("options", "labels", "aliases")}
    fields = {f: [f"{f}{i}" for i in range(widths[f])] if f in widths else f for f in used}
    (folder / "csv").mkdir()
    with (folder / "csv" / "train.csv").open("w", encoding="utf-8", newline="") as target:
        table = csv.writer(target, lineterminator="\n")
        table.writerow([c for columns in fields.values() for c in ([columns] if isinstance(columns, str) else columns)])
        for r in records:
            cells = {f: (r.get(f) or []) + [None] * (widths[f] - len(r.get(f) or [])) if f in widths else [r[f]] for f in used}
            table.writerow([cell for f in used for cell in cells[f]])
    yield "hf", TaskFile("train", folder / "csv"), fields


@given(files_of_records(), st.sampled_from(["multiple_choice", "qa", "math"]))
@settings(max_examples=12, deadline=None)
def test_the_same_record_gives_the_same_example_by_every_reader(records, family):
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for reader, file, fields in written(Path(folder), records):
            options = {"reader": reader, "fields": fields, "encoding": "utf-8", "family": family, "hub": {"name": "", "config": ""}}
            items = [checked(item, family) for item in reader_module(reader).read(file, options)]
            results.append([replace(i, record={}) if isinstance(i, Example) else i.row for i in items])
    assert all(result == results[0] for result in results)
    for item, record in zip(results[0], records, strict=True):
        if isinstance(item, Example):
            assert (item.input, item.options) == (record["input"], tuple(record["options"]))
            assert item.answer < 0 or item.options[item.answer] == item.output


GSM8K = [{"question": "How many?", "answer": f"2*{i}=<<2*{i}={2 * i}>>{2 * i}.\n#### {2 * i}"} for i in (2, 3)]
NQ = [{"question": "who painted it", "answer": ["Rembrandt", "Rembrandt van Rijn", "Rembrandt"]}]
LABELLED = [("M1", ["1", "2"], "2"), ("M2", ["A", "B"], "b")]
ARC_FILE = [
    {"id": i, "question": {"stem": "Gas?", "choices": [{"text": f"gas {n}", "label": n} for n in labels]}, "answerKey": key}
    for i, labels, key in LABELLED
]
ARC_HUB = [
    {"id": i, "question": "Gas?", "choices": {"text": [f"gas {n}" for n in labels], "label": labels}, "answerKey": key}
    for i, labels, key in LABELLED
]
VALUE = {"Value": "Rembrandt", "Aliases": ["Rembrandt", "R. van Rijn"], "NormalizedAliases": ["rembrandt"]}
TRIVIA_HUB = {"value": "Rembrandt", "aliases": ["Rembrandt", "R. van Rijn"], "normalized_aliases": ["rembrandt"]}
OFFICIAL = {  # (family, the official file, the records on the hub)
    "gsm8k": ("math", json_lines(GSM8K), GSM8K),
    "nq_open": ("qa", json_lines(NQ), NQ),
    "arc": ("multiple_choice", json_lines(ARC_FILE), ARC_HUB),
    "mmlu": (
        "multiple_choice",
        'Prime?,4,6,7,"9, or 3",C\nSum?,1,2,3,4,a\n',
        [
            {"question": "Prime?", "subject": "anatomy", "choices": ["4", "6", "7", "9, or 3"], "answer": 2},
            {"question": "Sum?", "subject": "anatomy", "choices": ["1", "2", "3", "4"], "answer": 0},
        ],
    ),
    "triviaqa": (
        "qa",
        json.dumps({"Data": [{"Question": "Who?", "QuestionId": "tc_1", "Answer": VALUE}]}),
        [{"question": "Who?", "question_id": "tc_1", "answer": TRIVIA_HUB}],
    ),
}


@pytest.mark.parametrize("reader", OFFICIAL)
def test_a_data_set_of_the_hub_gives_what_the_reader_of_its_official_file_gives(tmp_path, reader):
    family, official, records = OFFICIAL[reader]
    found, rejects, _ = read_files(tmp_path / "official", {"anatomy_test.csv": official}, family=family, reader=reader)
    name = saved(tmp_path, "parquet", records)
    by_hub, hub_rejects, _ = read(tmp_path / "root", study(tmp_path, family=family, reader=name, evaluate=["test"]))
    assert not rejects + hub_rejects
    compared = ("input", "output", "aliases", "options", "answer", "group")
    expected = sorted(([e[c] for c in compared] for e in found), key=str)
    assert expected == sorted(([e[c] for c in compared] for e in by_hub if e["split"] == "evaluate"), key=str)
    assert "<<" not in str(expected)


def test_hellaswag_needs_no_fields(tmp_path):
    """Its labels are "0" to "3", as texts."""
    records = [{"ind": i, "ctx": f"He {i}", "endings": ["a", "b", "c", "d"], "label": str(i)} for i in range(4)]
    name = saved(tmp_path, "parquet", records)
    task = {"family": "multiple_choice", "reader": name, "evaluate": ["test"]}
    examples, _, _ = read(tmp_path / "root", study(tmp_path, **task))
    assert [e["answer"] for e in examples if e["split"] == "evaluate"] == [0, 1, 2, 3]


def test_files_of_a_split_may_differ_in_what_is_empty(tmp_path):
    """The library takes the types of the first file: there `aliases` is a list of nothing."""
    (tmp_path / "two").mkdir()
    for name, aliases in (("a", []), ("b", ["x y"])):
        record = {"question": f"{name}?", "answer": "z", "aliases": aliases}
        (tmp_path / "two" / f"{name}-train.jsonl").write_text(json.dumps(record) + "\n")
    fields = {"input": "question", "output": "answer", "aliases": "aliases"}
    examples, _, _ = read(tmp_path / "root", study(tmp_path, reader="hf:two", fields=fields, evaluate=["train"]))
    assert [(e["input"], e["aliases"]) for e in examples if e["split"] == "evaluate"] == [("a?", []), ("b?", ["x y"])]


def test_json_arrays_tabs_and_rows_of_other_lengths(tmp_path):
    fields = {"input": "q", "output": "a"}
    files = {"train.json": '[{"q": "a?", "a": "007"}, 5]', "train.tsv": "q\ta\na?\t007\nb?\nc?\t\n\n"}
    for name, content in files.items():
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        (folder / name).write_text(content)
        examples, rejects, _ = read(
            tmp_path / f"root-{name}", study(tmp_path, reader=f"hf:{folder.name}", fields=fields, evaluate=["train"])
        )
        assert {(e["input"], e["output"]) for e in examples} == {("a?", "007")}
        assert sorted(reasons(rejects)) == ([2] if name.endswith("json") else [2, 3])


OUT_OF_REACH = """
import sys
from pathlib import Path
from tests.examples.support import read, study
task = dict(reader="hf:nobody/nothing", revision="0" * 40, evaluate=["test"], fields={"input": "q", "output": "a"})
try:
    read(Path(sys.argv[1]) / "root", study(Path(sys.argv[1]), **task))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_hub_out_of_reach_is_an_error_with_a_remedy(tmp_path):
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}  # read when the library is imported
    ran = subprocess.run(
        [sys.executable, "-c", OUT_OF_REACH, str(tmp_path)],
        env=settings,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert ran.stdout.startswith("StudyError data set nobody/nothing: "), ran.stderr
    assert "without a network, give a folder that the data set's save_to_disk wrote" in ran.stdout

"""Data sets of the `datasets` library, from folders (no network here), and what a hub that is out of reach gives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas import StudyError
from tasks.examples.task_files import plan
from tasks.step import keyed
from tests.examples.support import read, reasons, study

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
    assert {e["version"] for e in examples} == {"1/hf-1"}
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
        ({"fields": {}}, "its columns are id, question, choices, answerKey"),
        ({"evaluate": ["dev"]}, "no split 'dev'; it has train, test"),
        ({"fields": {"input": "stem", "output": "id"}}, "no record of it is an example.*no field 'stem'; there are id, question"),
    ],
)
def test_wrong_fields_and_splits_are_errors_that_name_the_right_ones(tmp_path, task, message):
    with pytest.raises(StudyError, match=message):
        read(tmp_path / "root", study(tmp_path, reader=saved(tmp_path, "save_to_disk"), **TASK | task))


def test_a_torn_folder_is_an_error_with_a_remedy(tmp_path):
    name = saved(tmp_path, "parquet")
    path = tmp_path / "parquet" / "data" / "test-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StudyError, match=r"data set .*parquet: .*Remedy: save the data set again"):
        read(tmp_path / "root", study(tmp_path, reader=name, **TASK))


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

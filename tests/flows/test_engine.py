"""The machinery: exactly what is missing is made, nothing that is finished is lost, nothing broken is seen downstream.

Two small real steps represent all: `letters` writes one part per letter of the study's title, `join` sums them up.
"""

from __future__ import annotations

import gc
import hashlib
import os
import random
import shlex
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.engine import Reports, StepFailed, run_step
from flows.manifests import is_finished, read_again
from flows.plan import PlannedStep, lay_out
from flows.session import Session
from flows.study_files import _replace_folder
from flows.study_records import kept, recorded_step, recorded_steps
from schemas import NGRAM_VOCABULARY, REPORT_FILES, Study, StudyError
from tasks.cluster.cluster import Cluster
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.leases import sweep
from tasks.storage.store import Part, Store


def plan_letters(study: Study, inputs: Inputs) -> list[Job]:
    return [Job({"source": letter}, {"letter": letter}) for letter in study.title]


def write_letter(work: Work) -> None:
    letter = work.settings["letter"]
    if letter == "!":
        raise StudyError("file a.txt, row 3: no letter; remove it")
    if letter == "?":
        raise ZeroDivisionError("a bug")
    work.passes = 3 if letter == "3" else 1
    work.note("letters take long")
    size = -1 if letter == "-" else random.randrange(2**40) + 1 if letter == "~" else ord(letter)
    work.write("report_files", {"file": [letter], "sha256": [hashlib.sha256(letter.encode()).hexdigest()], "bytes": [size]})
    (work.folder() / "side.txt").write_text(letter * 100)


def plan_join(study: Study, inputs: Inputs) -> list[Job]:
    return [Job({"study": study.name}, {}, {"report_files": inputs["report_files"]})]


def write_join(work: Work) -> None:
    names = work.read("report_files", "file").column("file").to_pylist()
    ones = [1] * len(names)
    rows = {"id": list(range(len(names))), "word": names, "occurrences": ones, "documents": ones}
    work.write("ngram_vocabulary", rows)


LETTERS = Step("letters", 1, "one part per letter", (), (Stage((REPORT_FILES,), plan_letters, write_letter),))
JOIN = Step("join", 1, "all letters", ("report_files",), (Stage((NGRAM_VOCABULARY,), plan_join, write_join),))
STEPS = (LETTERS, JOIN)


def study(title: str, seed: int = 0) -> Study:
    return Study.model_validate({"name": "letters", "title": title, "seed": seed, "corpus": {"planted": {}}})


class Runner:
    """Runs both steps and counts the parts each computed."""

    def __init__(self, root: Path, workers: int = 0) -> None:
        self.store = Store(str(root))
        self.cluster = Cluster(workers, "1GB", str(root / ".dask"), address="")
        self.again: dict[str, str] = {}
        self.logged: list[str] = []

    def __call__(self, title: str, *, force: set[str] | None = None, verify: bool = False, until: str = "join") -> dict[str, int]:
        settings, computed = study(title), {}
        session = Session(settings, "letters.toml", self.store, self.cluster, set(force or ()), verify, STEPS)
        for planned in lay_out(STEPS, settings):
            outcome = run_step(planned, session, Reports(log=self.logged.append))
            self.changed = outcome.changed
            self.again[planned.step.name] = read_again(outcome.manifests)
            computed[planned.step.name] = outcome.computed
            if planned.step.name == until:
                break
        session.leases.close()
        return computed

    def plan(self, title: str) -> list[PlannedStep]:
        return lay_out(STEPS, study(title))

    def part(self, title: str, letter: str) -> Path:
        part = next(p for p in self.plan(title)[0].outputs["report_files"] if p.labels["source"] == letter)
        return Path(self.store.part_path(part))


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "root")


def bytes_below(root: str) -> dict[str, str]:
    """All parts and their hashes."""
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in Path(root).glob("*/parts/*")}


def test_what_every_job_notes_is_one_line_of_the_log_and_not_in_the_manifest(run: Runner) -> None:
    run("abc")
    assert run.logged == ["letters take long"]
    manifest = run.store.manifest("report_files", run.plan("abc")[0].fingerprints["report_files"])
    assert not any("notes" in entry for entry in manifest["parts"])


def test_a_second_run_computes_nothing_and_starts_no_cluster(tmp_path: Path) -> None:
    assert Runner(tmp_path)("abc") == {"letters": 3, "join": 1}
    again = Runner(tmp_path, workers=2)
    assert again("abc") == {"letters": 0, "join": 0}
    assert not again.cluster.started


def test_a_new_part_is_computed_alone_and_what_depends_on_it_follows(run: Runner) -> None:
    run("abc")
    assert run("abcd") == {"letters": 1, "join": 1}
    assert run("abc") == {"letters": 0, "join": 0}, "the smaller study is still there"
    assert run("bc") == {"letters": 0, "join": 1}


def _delete(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_delete, _truncate, _flip])
def test_a_damaged_part_is_made_again_with_the_same_bytes(run: Runner, damage: Callable[[Path], None]) -> None:
    run("abc")
    before = bytes_below(run.store.root)
    damage(run.part("abc", "b"))
    assert bytes_below(run.store.root) != before
    assert not is_finished(run.store, run.plan("abc")[0])
    assert run("abc") == {"letters": 1, "join": 0}
    assert bytes_below(run.store.root) == before
    assert run("abc") == {"letters": 0, "join": 0}


def test_a_byte_flipped_behind_the_clock_is_found_by_verify(run: Runner) -> None:
    run("abc")
    path = run.part("abc", "b")
    stat = path.stat()
    _flip(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run("abc") == {"letters": 0, "join": 0}, "size and time are as they were"
    assert run("abc", verify=True) == {"letters": 1, "join": 0}


def test_a_missing_file_beside_a_part_is_made_again(run: Runner) -> None:
    run("abc")
    part = run.plan("abc")[0].outputs["report_files"][1]
    (run.store.folder(part.table, part.key) / "side.txt").unlink()
    assert run("abc") == {"letters": 1, "join": 0}


def test_a_failing_part_loses_no_other_and_names_the_command(run: Runner) -> None:
    with pytest.raises(StepFailed) as error:
        run("ab!c")
    assert "file a.txt, row 3: no letter; remove it" in str(error.value)
    assert "taskgram run letters.toml --from letters" in str(error.value)
    assert len(bytes_below(run.store.root)) == 3, "a, b and c are finished"
    assert recorded_step(run.store, "letters", "letters")["state"] == "failed"
    assert run("abc") == {"letters": 0, "join": 1}


def test_a_defect_of_ours_leaves_its_traceback_in_a_file(run: Runner) -> None:
    with pytest.raises(StepFailed, match="internal error, please report it") as error:
        run("a?")
    log = Path(str(error.value).split("its traceback is in ")[1].split(")")[0])
    assert "ZeroDivisionError: a bug" in log.read_text(encoding="utf-8")


def test_a_table_that_breaks_its_contract_has_no_manifest(run: Runner) -> None:
    with pytest.raises(StepFailed, match="report_files breaks its contract") as error:
        run("ab-")
    assert "bytes lies in [1, None]: 1 rows, e.g. -1" in str(error.value)
    assert not list(Path(run.store.root).glob("report_files/manifests/*"))
    assert not list(Path(run.store.root).glob("ngram_vocabulary/parts/*")), "nothing downstream can see it"


def test_validation_results_are_in_the_manifest(run: Runner) -> None:
    run("abc")
    planned = run.plan("abc")[0]
    manifest = run.store.manifest("report_files", planned.fingerprints["report_files"])
    assert manifest is not None
    assert manifest["validation"]["success"]
    checks = [c["check"] for c in manifest["validation"]["checks"]]
    assert "report_files: sha256 is never missing" in checks
    assert manifest["rows"] == 3
    assert {e["labels"]["source"] for e in manifest["parts"]} == set("abc")


def test_a_part_that_was_read_more_than_once_is_named_then_and_later(run: Runner) -> None:
    run("ab3")
    message = "1 of 3 parts were read up to 3 times, because their queries do not fit into counting.memory"
    assert run.again == {"letters": message, "join": ""}
    run("ab3c")
    assert run.again["letters"].startswith("1 of 4 parts"), "what is recorded of a finished part stays"


def test_force_computes_again_and_tells_equal_bytes_from_others(run: Runner) -> None:
    run("ab")
    assert run("ab", force={"letters"}) == {"letters": 2, "join": 0}
    assert run.changed == ()
    run("a~")
    assert run("a~", force={"letters"}) == {"letters": 2, "join": 1}, "other bytes: what depends on them follows"


def test_what_depends_on_a_part_that_was_removed_follows_where_it_comes_back_with_other_bytes(run: Runner) -> None:
    run("a~")
    run.part("a~", "a").unlink()
    assert run("a~") == {"letters": 1, "join": 0}
    run.part("a~", "~").unlink()
    assert run("a~") == {"letters": 1, "join": 1}
    assert run("a~") == {"letters": 0, "join": 0}


def test_other_bytes_are_followed_by_a_later_run_where_this_one_was_killed_behind_them(run: Runner) -> None:
    run("a~")
    assert run("a~", force={"letters"}, until="letters") == {"letters": 2}
    assert recorded_step(run.store, "letters", "join")["void"]
    assert run("a~") == {"letters": 0, "join": 1}
    assert run("a~") == {"letters": 0, "join": 0}


def test_workers_do_not_change_a_byte(tmp_path: Path) -> None:
    found = {}
    for workers in (0, 1, 2):
        runner = Runner(tmp_path / str(workers), workers)
        try:
            assert runner("abcdef") == {"letters": 6, "join": 1}
        finally:
            runner.cluster.close()
        found[workers] = bytes_below(runner.store.root)
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 7


def test_a_scheduler_that_is_already_there_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as existing:
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", existing.scheduler_address)
        runner = Runner(tmp_path / "there")
        runner.cluster = Cluster(0, "1GB", str(tmp_path / ".dask"))
        assert runner("abc") == {"letters": 3, "join": 1}
        assert runner.cluster.started
        runner.cluster.close()
        assert existing.scheduler.workers, "it is not ours to stop"
    here = Runner(tmp_path / "here")
    here("abc")
    assert bytes_below(here.store.root) == bytes_below(runner.store.root)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))

    def killed() -> None:
        with store.writing({"report_files": REPORT_FILES}, "k", {"sums": {}}) as writer:
            writer.write("report_files", REPORT_FILES.schema.empty_table())
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        killed()
    assert not list((tmp_path / "report_files" / "parts").iterdir())
    assert not store.is_whole(Part("report_files", "k"), None)


def test_temporary_files_of_killed_processes_are_swept_and_those_of_a_run_that_lives_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "report_files" / "parts"
    folder.mkdir(parents=True)
    dead, living = folder / ".k.1.tmp", folder / ".m.2.tmp"
    dead.touch()
    living.touch()
    assert sweep(Store(str(tmp_path)), "report_files", lambda key: key != "m") == 1
    assert living.exists()
    assert not dead.exists()


@pytest.mark.parametrize("name", ["a b", "it's", "per%20cent", "ünï→", "br[1]ack", "st*r", "bytes=1", "a::b", "#1", "$HOME"])
def test_a_root_may_have_any_name(name: str, tmp_path: Path) -> None:
    """Neither fsspec nor DuckDB take a part of it for a pattern, an address or a column."""
    Runner(tmp_path / "star")("wxyz")  # what one of the names would match if it were a pattern
    run = Runner(tmp_path / name)
    assert run("abc") == {"letters": 3, "join": 1}
    assert run("abcd") == {"letters": 1, "join": 1}
    assert list(run.store.entries("report_files", run.plan("abcd")[0].outputs["report_files"])) != []
    assert set(recorded_steps(run.store, "letters")) == {"letters", "join"}
    assert len(kept(run.store)) == 4 + 1 + 2, "parts and fingerprints of the newest run"
    assert len(bytes_below(str(tmp_path / name))) == 4 + 2
    with pytest.raises(StepFailed, match="bytes lies in"):
        run("abcd-")


def test_the_command_that_runs_a_step_again_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    run = Runner(tmp_path / "my results; rm x")
    session = Session(study("a"), "it's mine.toml", run.store, run.cluster)
    words = ["taskgram", "run", "it's mine.toml", "--from", "letters", "--root", run.store.root]
    assert shlex.split(session.command("letters")) == words


def test_a_report_is_published_beside_that_of_a_study_with_a_longer_name(tmp_path: Path) -> None:
    """Whose own is just being copied by another run; what a killed run of this study left is removed."""
    source, reports = tmp_path / "source", tmp_path / "reports"
    source.mkdir()
    (source / "index.html").write_text("<p>")
    copying, left = (reports / f".sample.v2.{'0' * 32}", [reports / f".sample.{'1' * 32}", reports / f".sample.{'2' * 32}.old"])
    for folder in (copying, *left):
        folder.mkdir(parents=True)
    _replace_folder([source], reports / "sample")
    assert sorted(p.name for p in reports.iterdir()) == [copying.name, "sample"]


class _Knot:
    """What only the garbage collector can give back: it holds itself."""

    def __init__(self, size: int) -> None:
        self.content, self.itself = bytearray(b"x") * size, self


def test_a_restored_root_is_hashed_once_and_then_known_by_its_times(run: Runner) -> None:
    run("abc")
    parts = sorted(Path(run.store.base).glob("*/parts/*.parquet"))
    times = [p.stat().st_mtime_ns for p in parts]
    for path in parts:
        os.utime(path, ns=(0, 0))  # as a copy or a backup leaves them
    assert run("abc") == {"letters": 0, "join": 0}
    assert [p.stat().st_mtime_ns for p in parts] == times


def test_memory_that_a_job_held_is_given_back(tmp_path: Path) -> None:
    held: list[weakref.ref[_Knot]] = []

    def hold(work: Work) -> None:
        held.append(weakref.ref(_Knot(200_000_000)))
        work.write("report_files", {"file": ["a"], "sha256": ["0" * 64], "bytes": [1]})

    step = Step("hold", 1, "holds much memory", (), (Stage((REPORT_FILES,), lambda study, inputs: [Job({})], hold),))
    study = Study.model_validate({"name": "held", "corpus": {"planted": {}}})
    session = Session(study, "held.toml", Store(str(tmp_path)), Cluster(0, "1GB", "", address=""))
    gc.disable()  # it would perhaps look by itself
    try:
        run_step(lay_out((step,), study)[0], session)
    finally:
        gc.enable()
        session.close()
    assert [h() for h in held] == [None]


def test_the_seconds_of_a_step_are_those_of_its_own_jobs(run: Runner) -> None:
    """Not those in which it waited for a worker that another step used."""
    busy = threading.Event()

    def other_step() -> None:
        list(run.cluster.run(lambda: busy.set() or time.sleep(1.5), [()], "other"))  # type: ignore[func-returns-value]

    waiting = threading.Thread(target=other_step)
    waiting.start()
    busy.wait()
    session = Session(study("abc"), "letters.toml", run.store, run.cluster, steps=STEPS)
    began = time.monotonic()
    outcome = run_step(run.plan("abc")[0], session)
    took = time.monotonic() - began
    waiting.join()
    assert took > 1.0
    assert 0 < outcome.part_seconds <= outcome.wall_seconds < took - 1.0
    skipped = run_step(run.plan("abc")[0], session)
    assert skipped.part_seconds == skipped.wall_seconds == 0.0

"""Workers that were not started here: processes of their own, on ports or in networks of their own, some of them wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.engine import Session, StepFailed, run_step
from flows.plan import lay_out
from flows.study import STEPS
from schemas import Study, StudyError, load_study
from tasks.cluster import Cluster
from tasks.dataset import Store
from tasks.workers import devices
from tests.support import NOTES, write_corpus

REPOSITORY = Path(__file__).resolve().parent.parent
COUNTING = ("ingest", "tokenizer", "tokens", "words", "count")
FILES = 8
STUDY = (
    """
name = "counting"
workers = 0
"""
    + NOTES
    + """[counting]
all_orders = [1, 2]
buckets = 3
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight small files."""
    path = tmp_path_factory.mktemp("cluster")
    write_corpus(path, [30] * FILES, words=200, length=40, seed=3)
    (path / "counting.toml").write_text(STUDY)
    return path


def count(
    folder: Path, root: Path, cluster: Cluster, progress: Callable[[str, int], None] = lambda step, done: None
) -> None:
    """Bring the counts up to date."""
    study = load_study(folder / "counting.toml")
    session = Session(study, "counting.toml", Store(str(root)), cluster)
    try:
        for planned in lay_out(STEPS, study):
            if planned.step.name in COUNTING:
                run_step(planned, session, lambda done, total, step=planned.step.name: progress(step, done))  # type: ignore[misc]
    finally:
        session.close()


def state(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.glob("*/parts/*"))}


@pytest.fixture(scope="module")
def inline(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every part, computed in one process."""
    root = tmp_path_factory.mktemp("inline")
    count(folder, root, Cluster(0, "1GB", "", address=""))
    return state(root)


# -- schedulers and workers as processes of their own ------------------------------------------------------------------
class Processes:
    """A scheduler and workers; each may run within something else, e.g. a network of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.running: list[subprocess.Popen[bytes]] = []

    def _start(
        self, name: str, words: list[str], within: tuple[str, ...], first: tuple[Path, ...]
    ) -> subprocess.Popen[bytes]:
        paths = os.pathsep.join(str(p) for p in (*first, REPOSITORY))
        environment = os.environ | {"PYTHONPATH": paths, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "20s"}
        with open(self.folder / f"{name}.log", "wb") as log:
            process = subprocess.Popen([*within, sys.executable, "-m", *words], env=environment, cwd=self.folder,
                                       stdout=log, stderr=log)  # fmt: skip
        self.running.append(process)
        return process

    def scheduler(self, host: str = "127.0.0.1", within: tuple[str, ...] = ()) -> str:
        words = ["distributed.cli.dask_scheduler", "--host", host, "--port", "0", "--no-dashboard", "--scheduler-file",
                 str(self.file)]  # fmt: skip
        self._start("scheduler", words, within, ())
        until = time.monotonic() + 60
        while not self.file.exists() or not self.file.read_text().endswith("}"):
            assert time.monotonic() < until, (self.folder / "scheduler.log").read_text()
            time.sleep(0.1)
        self.address = str(json.loads(self.file.read_text())["address"])
        return self.address

    def worker(
        self, name: str, *words: str, host: str = "127.0.0.1", within: tuple[str, ...] = (), first: tuple[Path, ...] = ()
    ) -> int:
        """Start a worker; its process number. `first`: folders in which it finds packages before all others."""
        command = ["distributed.cli.dask_worker", self.address, "--name", name, "--host", host, "--no-nanny", "--no-dashboard",
                   "--local-directory", str(self.folder), *(words or ("--nthreads", "1"))]  # fmt: skip
        return self._start(name, command, within, first).pid

    def stop(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    (tmp_path / "dask").mkdir()
    started = Processes(tmp_path / "dask")
    yield started
    started.stop()


def wait_for(cluster: Cluster, workers: int) -> None:
    cluster._open().wait_for_workers(workers, timeout=60)


def count_and_kill(folder: str, root: str, address: str, victim: str) -> None:
    """Count on a scheduler; the worker of that process number is killed when two parts of `words` are there."""
    cluster, killed = Cluster(0, "1GB", f"{root}/.dask", address=address, store=Store(root)), []

    def progress(step: str, done: int) -> None:
        if step == "words" and done == 2 and not killed:
            os.kill(int(victim), signal.SIGKILL)
            killed.append(len(list(Path(root).glob("words/parts/*.parquet"))))

    wait_for(cluster, 2)
    count(Path(folder), Path(root), cluster, progress)
    print(json.dumps({"then": killed}))


def program(folder: Path, root: Path, address: str, victim: int, within: tuple[str, ...] = ()) -> dict[str, list[int]]:
    """The above, in a process of its own."""
    words = "import sys; from tests.test_cluster import count_and_kill; count_and_kill(*sys.argv[1:])"
    run = subprocess.run([*within, sys.executable, "-c", words, str(folder), str(root), address, str(victim)],
                         capture_output=True, text=True, timeout=240, cwd=REPOSITORY,
                         env=os.environ | {"PYTHONPATH": str(REPOSITORY)})  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout.strip().splitlines()[-1])  # type: ignore[no-any-return]


def test_one_of_two_workers_is_killed_in_the_middle_and_not_a_byte_differs(
    folder: Path, inline: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    address = processes.scheduler()
    victim = processes.worker("one")
    processes.worker("two")
    said = program(folder, tmp_path / "root", address, victim)
    assert 2 <= said["then"][0] < FILES, "it was in the middle"
    assert processes.running[1].wait(10) == -signal.SIGKILL
    assert state(tmp_path / "root") == inline
    assert not list((tmp_path / "root").glob(".probes/*")), "what was written to be looked for is gone"


@contextmanager
def networks(*names: str) -> Iterator[dict[str, tuple[str, ...]]]:
    """Network namespaces that reach each other over a bridge in the first: 10.213.77.1, .2, … Skips where none can be made."""
    mark = f"tg{os.getpid() % 100_000}"
    spaces = {name: f"{mark}{name}" for name in names}

    def ip(*words: str) -> None:
        done = subprocess.run(["ip", *words], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"networks cannot be made here: ip {' '.join(words)}: {done.stderr.strip()}")

    if not shutil.which("ip") or os.geteuid():
        pytest.skip("networks are made by root, with the command ip")
    hub = spaces[names[0]]
    try:
        for number, space in enumerate(spaces.values(), 1):
            ip("netns", "add", space)
            ip("-n", space, "link", "set", "lo", "up")
            if space == hub:
                ip("-n", hub, "link", "add", "bridge", "type", "bridge")
                ip("-n", hub, "addr", "add", f"10.213.77.{number}/24", "dev", "bridge")
                ip("-n", hub, "link", "set", "bridge", "up")
            else:
                ip("-n", space, "link", "add", "wire", "type", "veth", "peer", "name", f"to{number}", "netns", hub)
                ip("-n", hub, "link", "set", f"to{number}", "master", "bridge", "up")
                ip("-n", space, "addr", "add", f"10.213.77.{number}/24", "dev", "wire")
                ip("-n", space, "link", "set", "wire", "up")
        yield {name: ("ip", "netns", "exec", space) for name, space in spaces.items()}
    finally:
        for space in spaces.values():
            subprocess.run(["ip", "netns", "del", space], capture_output=True)


def test_scheduler_workers_and_flow_on_machines_of_their_own(
    folder: Path, inline: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    """Network namespaces: nothing is at 127.0.0.1 for the others. One worker is killed."""
    with networks("hub", "one", "two", "flow") as spaces:
        try:
            address = processes.scheduler(host="10.213.77.1", within=spaces["hub"])
            assert address.startswith("tcp://10.213.77.1:")
            victim = processes.worker(
                "one", host="10.213.77.2", within=spaces["one"]
            )  # `ip netns exec` becomes what it runs
            processes.worker("two", host="10.213.77.3", within=spaces["two"])
            said = program(folder, tmp_path / "root", address, victim, within=spaces["flow"])
            assert 2 <= said["then"][0] < FILES
            assert state(tmp_path / "root") == inline
        finally:
            processes.stop()


# -- workers that cannot compute a study -------------------------------------------------------------------------------
def refusal(folder: Path, root: Path, address: str, workers: int = 1) -> str:
    """What a person reads when a step is run there."""
    cluster = Cluster(0, "1GB", str(root / ".dask"), address=address, store=Store(str(root)))
    try:
        wait_for(cluster, workers)
        with pytest.raises(StepFailed) as failed:
            count(folder, root, cluster)
        return str(failed.value)
    finally:
        cluster.close()


def test_workers_with_other_versions_are_named(folder: Path, processes: Processes, tmp_path: Path) -> None:
    """One says it has another NumPy, one has other code: each could write other bytes under the same key."""
    other = tmp_path / "other"
    (other / "numpy-0.0.1.dist-info").mkdir(parents=True)
    (other / "numpy-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    code = tmp_path / "code"
    for package in ("schemas", "tasks"):
        shutil.copytree(REPOSITORY / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (code / "tasks" / "disk.py").open("a") as out:
        out.write("\n# changed\n")
    address = processes.scheduler()
    processes.worker("same")
    processes.worker("numpy", first=(other,))
    processes.worker("code", first=(code,))
    words = refusal(folder, tmp_path / "root", address, workers=3)
    assert "2 of 3 workers have other versions than this process" in words
    assert "numpy 0.0.1 (here " in words and "taskgram's code " in words
    assert "constraints.txt" in words and "--from ingest" in words


def test_a_worker_that_joins_in_the_middle_with_other_versions_computes_nothing(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the workers, too."""
    monkeypatch.setattr("tasks.cluster.SECONDS_BETWEEN_LOOKS", 3600.0)
    (tmp_path / "numpy-0.0.1.dist-info").mkdir()
    (tmp_path / "numpy-0.0.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n")
    address = processes.scheduler()
    same = processes.worker("same")
    cluster = Cluster(0, "1GB", "", address=address, store=Store(str(tmp_path / "root")))
    try:
        wait_for(cluster, 1)
        found = cluster.run(device, [()] * 12, "device")
        done = [next(found)]
        processes.worker("other", first=(tmp_path,))
        wait_for(cluster, 2)
        os.kill(same, signal.SIGKILL)
        done += list(found)
    finally:
        cluster.close()
    assert {f.value[0] for f in done if not f.error} == {same}
    refused = [str(f.error) for f in done if f.error]
    assert len(done) == 12 and refused and all("numpy 0.0.1 (here " in words for words in refused)


def test_a_worker_without_taskgram_or_with_threads_is_named(folder: Path, processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "tasks.py").touch()  # somebody else's module of that common name
    address = processes.scheduler()
    processes.worker("strange", first=(tmp_path / "strange",))
    words = refusal(folder, tmp_path / "root", address)
    assert "1 of 1 workers have no taskgram" in words and "No module named 'tasks." in words
    processes.running[-1].kill()
    processes.running[-1].wait()
    processes.worker("threads", "--nthreads", "2")
    time.sleep(0.5)
    words = refusal(folder, tmp_path / "root", address)
    assert "runs 2 calls at a time" in words and "--nthreads 1" in words


def test_a_worker_that_does_not_see_the_root_is_named(folder: Path, processes: Processes, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    within = ("unshare", "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs none "{root}" && exec "$@"', "-")
    probe = subprocess.run([*within, "true"], capture_output=True, text=True) if sys.platform == "linux" else None
    if probe is None or probe.returncode:
        pytest.skip(f"a disk of its own cannot be given to a worker here: {probe.stderr.strip() if probe else sys.platform}")
    address = processes.scheduler()
    processes.worker("here")
    processes.worker("elsewhere", within=within)
    words = refusal(folder, root, address, workers=2)
    assert "1 of 2 workers cannot use the root" in words
    assert f"does not see what was just written to {root}" in words and "a folder that all machines share" in words


def test_a_scheduler_without_workers_is_named_once_the_wait_is_over(
    folder: Path, processes: Processes, tmp_path: Path
) -> None:
    study = planned(cluster={"address": processes.scheduler(), "wait": 1.0})
    cluster = Cluster.of(study, Store(str(tmp_path / "root")))
    with pytest.raises(StepFailed, match="has no worker after 1 s"):
        count(folder, tmp_path / "root", cluster)


def test_a_scheduler_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        cluster = Cluster(0, "1GB", str(tmp_path / ".dask"), address="tcp://127.0.0.1:1")
        with pytest.raises(StepFailed, match=r"no Dask scheduler answers at tcp://127.0.0.1:1.*DASK_SCHEDULER_ADDRESS"):
            count(folder, tmp_path / "root", cluster)


# -- workers that have what a job asks for -----------------------------------------------------------------------------
def device() -> tuple[int, str]:
    """The process and the GPUs that a call sees."""
    time.sleep(0.2)
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", "none said")


def places(cluster: Cluster, **needed: int) -> set[tuple[int, str]]:
    found = list(cluster.run(device, [()] * 12, "device", lambda call: needed))
    assert not [f.error for f in found if f.error]
    return {f.value for f in found}


def test_calls_that_need_a_gpu_run_where_one_is_declared(processes: Processes, tmp_path: Path) -> None:
    address = processes.scheduler()
    plain = processes.worker("plain")
    cluster = Cluster(0, "1GB", str(tmp_path / ".dask"), address=address)
    try:
        wait_for(cluster, 1)
        assert {pid for pid, _ in places(cluster, GPU=1)} == {plain}, "nobody declares one: as ever"
        able = processes.worker("able", "--nthreads", "1", "--resources", "GPU=1")
        wait_for(cluster, 2)
        assert {pid for pid, _ in places(cluster, GPU=1)} == {able}
        assert {pid for pid, _ in places(cluster)} == {plain, able}
    finally:
        cluster.close()


def test_each_local_worker_has_a_device_for_itself(tmp_path: Path) -> None:
    cluster = Cluster(3, "1GB", str(tmp_path / ".dask"), address="", devices=("4", "7"), models=1)
    try:
        assert {name for _, name in places(cluster, GPU=1)} == {"4", "7"}
        assert {name for _, name in places(cluster, GPU=1, model=1)} == {"4"}, "one of them may hold a model"
        assert {name for _, name in places(cluster)} == {"4", "7", ""}
        assert len(places(cluster)) == 3
    finally:
        cluster.close()


def test_devices_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5,GPU-8a")
    assert devices() == ("2", "5", "GPU-8a")
    assert devices(2) == ("2", "5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices(4) == ()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices(3) == ("0", "1", "2")


def planned(**settings: object) -> Study:
    planted = {"tokens": 50_000}
    tasks = [{"name": "facts", "family": "qa", "reader": "planted", "orders": [1]}]
    models = [{"name": "tiny", "pretrain": {"hidden": 16, "layers": 1, "heads": 1, "tokens": 10_000}}]
    return Study.model_validate({"name": "s", "corpus": {"planted": planted}, "tasks": tasks, "models": models} | settings)


def test_steps_that_use_a_gpu_ask_for_one_and_no_key_says_so() -> None:
    asked = {
        p.step.name: [j.job.resources for s in p.stages for j in s.jobs if j.job.resources]
        for p in lay_out(STEPS, planned(scoring={"device": "cuda"}))
    }
    assert {name for name, found in asked.items() if found} == {"models", "score", "generate"}
    assert all(r == {"GPU": 1, "model": 1} for found in asked.values() for r in found)

    plain = [p.fingerprint for p in lay_out(STEPS, planned())]
    elsewhere = {"cluster_class": "dask_jobqueue.SLURMCluster", "workers": 40, "resource": "A100"}
    assert plain == [p.fingerprint for p in lay_out(STEPS, planned(cluster=elsewhere, scoring={"models_at_once": 1}))]


# -- classes that start a cluster --------------------------------------------------------------------------------------
def test_a_class_starts_the_cluster_and_not_a_byte_differs(folder: Path, inline: dict[str, str], tmp_path: Path) -> None:
    settings = planned(
        cluster={
            "cluster_class": "distributed.LocalCluster", "workers": 2,
            "cluster_kwargs": {"n_workers": 0, "threads_per_worker": 1, "host": "127.0.0.1",
                               "dashboard_address": "127.0.0.1:0", "local_directory": str(tmp_path / "dask")},
        }
    )  # fmt: skip
    cluster = Cluster.of(settings, Store(str(tmp_path / "root")))
    assert not cluster.inline
    count(folder, tmp_path / "root", cluster)
    assert state(tmp_path / "root") == inline


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("dask_jobqueue.nowhere.SLURMCluster", {}, "pip install dask-jobqueue"),
        ("no_such_package.Cluster", {}, "No module named 'no_such_package'"),
        ("distributed.NoSuchCluster", {}, "NoSuchCluster"),
        ("distributed.Client", {}, "is no class of a Dask cluster"),
        ("distributed.LocalCluster", {"worker_class": 1, "n_workers": 1}, "could not be started with cluster_kwargs = "),
    ],
)
def test_a_class_that_starts_no_cluster_is_named(
    folder: Path, tmp_path: Path, name: str, arguments: dict[str, object], words: str
) -> None:
    settings = planned(cluster={"cluster_class": name, "cluster_kwargs": arguments})
    with pytest.raises(StepFailed) as failed:
        count(folder, tmp_path / "root", Cluster.of(settings, Store(str(tmp_path / "root"))))
    assert words in str(failed.value)


def test_where_a_study_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    store, study = Store(str(tmp_path)), planned(cluster={"address": "tcp://there:8786"})
    assert Cluster.of(study, store).address == "tcp://there:8786"
    assert Cluster.of(study.with_workers(0), store).inline, "--workers 0 is in this process"
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://nearer:8786")
    assert Cluster.of(study, store).address == "tcp://nearer:8786"


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({"cluster_class": "SLURMCluster"}, "name a module and a class in it"),
        ({"cluster_class": "a.B", "address": "tcp://there:1"}, "either the address"),
        ({"workers": 4}, "are for a cluster_class"),
        ({"cluster_class": "a.B", "workers": 4, "most_workers": 2}, "less than workers = 4"),
    ],
)
def test_a_wrong_section_is_an_error(cluster: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        planned(cluster=cluster)


def test_no_record_of_a_study_holds_how_its_cluster_is_started(folder: Path, tmp_path: Path) -> None:
    study = load_study(folder / "counting.toml").model_copy(
        update={"cluster": planned(cluster={"cluster_class": "a.B", "cluster_kwargs": {"token": "hush"}}).cluster}
    )
    session = Session(study, "counting.toml", Store(str(tmp_path)), Cluster(0, "1GB", "", address=""))
    run_step(lay_out(STEPS, study)[0], session)
    run_step(next(p for p in lay_out(STEPS, study) if p.step.name == "ingest"), session)
    session.close()
    texts = [p.read_text() for p in tmp_path.rglob("*.json")]
    assert texts and not [t for t in texts if "hush" in t]


# -- scratch -----------------------------------------------------------------------------------------------------------
def test_scratch_of_killed_workers_is_swept_and_that_of_living_ones_stays(tmp_path: Path) -> None:
    space = tmp_path / "dask-scratch-space"
    program = "import os, sys, time; from distributed import diskutils as d; x = d.WorkSpace(sys.argv[1]).new_work_dir(name={!r}); "
    words = [sys.executable, "-c", program.format("worker-living") + "print(flush=True); time.sleep(99)", str(space)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as living:
        assert living.stdout is not None and living.stdout.readline()
        subprocess.run([sys.executable, "-c", program.format("worker-killed") + "os._exit(9)", str(space)], check=False)
        assert (space / "worker-killed").is_dir()
        (tmp_path / "a file").touch()  # is not ours, and in nobody's way
        Cluster(1, "1GB", str(tmp_path), address="").sweep()
        assert sorted(p.name for p in space.glob("*-*")) == ["worker-living", "worker-living.dirlock"]
        living.kill()


def test_where_nothing_was_killed_nothing_is_swept(tmp_path: Path) -> None:
    Cluster(1, "1GB", str(tmp_path / "nowhere"), address="").sweep()
    assert not (tmp_path / "nowhere").exists()


def test_a_scheduler_that_is_killed_in_the_middle_is_named(processes: Processes, tmp_path: Path) -> None:
    import dask

    address = processes.scheduler()
    processes.worker("one")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        cluster = Cluster(0, "1GB", "", address=address, store=Store(str(tmp_path / "root")))
        wait_for(cluster, 1)
        found = cluster.run(device, [()] * 40, "device")
        assert not next(found).error
        processes.running[0].kill()
        with pytest.raises(StudyError, match="does not answer any more. What was finished is kept"):
            list(found)

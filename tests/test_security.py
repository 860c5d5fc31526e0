"""What docs/security.md promises: no code in data, nothing outside the root, no secret stored, no service for other machines."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from flows.environment import check_root
from schemas import Study, StudyError
from schemas.settings.base import is_hub_name
from schemas.settings.model_settings import Model
from tasks.report.figures.report_figure import csv_text
from tasks.text.display import brief, json_text, printable
from tests.studies import taskgram
from tests.support import NOTES, RIVERS
from tests.test_architecture import imports, modules, name_of

# -- code in data ------------------------------------------------------------------------------------------------------
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "telnetlib"}
EXCEPTIONS = {
    # A model's .bin file is a pickle; a study must allow it, and torch takes nothing but tensors from it.
    ("tasks.models.load", "torch.load"): {"weights_only": True},
    # Arrays of the index, which this project wrote; memory-mapped, and never a pickle.
    ("tasks.ngrams.index", "np.load"): {"allow_pickle": False},
    ("tasks.models.ensemble", "np.load"): {"allow_pickle": False},
    ("tasks.models.capacity_grid", "np.load"): {"allow_pickle": False},
}


def calls(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """(name, constant keywords) of every call in a file: "np.load", {"allow_pickle": False}."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            known = {k.arg: k.value.value for k in node.keywords if k.arg and isinstance(k.value, ast.Constant)}
            yield ast.unparse(node.func), known


def is_dangerous(name: str) -> bool:
    """Whether a call by this name may run what it is given."""
    last = name.split(".")[-1]
    return name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen") or (
        last in ("load", "save", "load_module", "read_pickle", "to_pickle") and name.split(".")[0] in ("torch", "np", "numpy", "pd")
    )


def test_no_code_is_taken_from_data() -> None:
    seen = set()
    for path in modules():
        assert not FORBIDDEN_MODULES & {m.split(".")[0] for m in imports(path)}, path
        for name, keywords in calls(path):
            assert keywords.get("shell") is not True, f"{path}: a shell reads what it is given"
            assert keywords.get("trust_remote_code") is not True, path
            assert keywords.get("allow_pickle") is not True, path
            if is_dangerous(name):
                wanted = EXCEPTIONS.get((name_of(path), name))
                assert wanted is not None, f"{name_of(path)} calls {name}"
                assert wanted.items() <= keywords.items(), f"{name_of(path)} calls {name} without {wanted}"
                seen.add((name_of(path), name))
    assert seen == set(EXCEPTIONS), "an exception that nothing needs"


def test_the_walk_finds_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import torch\ntorch.load(x)\neval('1')\nsubprocess.run('a', shell=True)\n")
    found = dict(calls(tmp_path / "a.py"))
    assert is_dangerous("torch.load") and is_dangerous("eval") and found["subprocess.run"] == {"shell": True}


def test_code_and_pickles_of_a_model_are_taken_only_where_the_study_says_so() -> None:
    model = Model(name="m", hub="a/b")
    assert (model.trust_remote_code, model.allow_pickle_weights) == (False, False)


# -- paths and names ---------------------------------------------------------------------------------------------------
WAYS_OUT = ["../x", "/etc/x", "a/b", "a\\b", "..", ".", "", "a\n", "a\x00", "~", "-a", ".hidden", "a" * 65, "é"]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_no_name_that_becomes_a_path_leads_out_of_the_root(name: str) -> None:
    """Names of studies, tasks, models, sources and variants become folders, labels and files of reports and traces."""
    task = {"name": "t", "family": "qa", "evaluate": ["t.jsonl"]}
    good = {
        "name": "s",
        "corpus": {"sources": [{"name": "c", "files": ["*"]}]},
        "tasks": [task],
        "models": [{"name": "m", "hub": "a"}],
        "variants": [{"name": "v", "stop_words": "none"}],
    }
    assert Study.model_validate(good)
    for key in (None, "tasks", "models", "variants", "corpus"):
        bad = json.loads(json.dumps(good))
        place = bad if key is None else bad["corpus"]["sources"][0] if key == "corpus" else bad[key][0]
        place["name"] = name
        with pytest.raises(ValidationError, match="pattern"):
            Study.model_validate(bad)


@pytest.mark.parametrize("name", ["../../x", "a/../b", "a/b/c", "/a", "a/", "", "a\nb", "https://x/y", ".a/b", "a/..", "é/b"])
def test_what_is_asked_of_a_hub_is_no_path(name: str) -> None:
    assert not is_hub_name(name)
    if name:
        with pytest.raises(ValidationError):
            Model(name="m", hub=name)
    assert Model(name="m", hub="EleutherAI/pythia-70m", revision="refs/pr/1").hub and is_hub_name("gpt2")


@pytest.mark.parametrize("revision", ["..", "../../x", "a/../b", "/a", "a//b", "a b", "a\x00", "a\\b", "é" * 300])
def test_a_revision_is_no_path(revision: str) -> None:
    with pytest.raises(ValidationError, match="not a revision"):
        Model(name="m", hub="a/b", revision=revision)


def test_a_link_under_the_root_is_replaced_and_not_followed(tmp_path: Path) -> None:
    from flows.study_files import _replace_folder

    outside, source = tmp_path / "outside", tmp_path / "source"
    outside.mkdir()
    (outside / "mine").write_text("kept")
    source.mkdir()
    (source / "index.html").write_text("new")
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "s").symlink_to(outside)
    _replace_folder([source], tmp_path / "reports" / "s")
    assert [p.name for p in outside.iterdir()] == ["mine"] and (outside / "mine").read_text() == "kept"
    assert (tmp_path / "reports" / "s" / "index.html").read_text() == "new"


# -- untrusted text ----------------------------------------------------------------------------------------------------
def test_text_of_others_does_not_command_a_terminal() -> None:
    hostile = "\x1b]0;title\x07\x9b31m\x1b[2J\u202etxt\u2066\r\x00\x7f\ud800 漢字\n\tend"
    shown = printable(hostile)
    assert not {c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160} - {"\n", "\t"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069") and shown.endswith(" 漢字\n\tend")
    assert json.loads(json_text({hostile: hostile})) == {hostile: hostile} and printable(json_text(hostile)) == json_text(hostile)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    assert len(brief(deep)) < 100


def test_no_cell_of_a_csv_is_a_formula() -> None:
    rows = [{"a": text, "b": -1.5} for text in ("=cmd()", "+1", "-1", "@x", "\t=x", "\r=x", "plain", "a=b")]
    found = list(csv.reader(io.StringIO(csv_text(rows, ("a", "b")), newline="")))[1:]
    assert [r[0] for r in found] == ["'=cmd()", "'+1", "'-1", "'@x", "'\t=x", "' =x", "plain", "a=b"]
    assert {r[1] for r in found} == {"-1.5"}, "numbers stay numbers"


# -- secrets -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("root", ["s3://key:sentinel@bucket/a", "https://h/a?sig=sentinel", "simplecache::s3://k:sentinel@b/a"])
def test_an_address_with_a_secret_is_refused_without_telling_it(root: str) -> None:
    with pytest.raises(StudyError, match="must not contain a password or token|cannot use this address") as raised:
        check_root(root)
    assert "sentinel" not in str(raised.value)


def test_the_address_of_a_server_is_printed_without_its_password() -> None:
    from flows.servers.serve import _without_password

    assert _without_password("https://me:sentinel@host:4200/api") == "https://host:4200"


def test_what_a_cluster_is_called_with_is_not_recorded() -> None:
    from flows.study_records import _recorded

    settings = {"name": "s", "cluster": {"cluster_class": "a.B", "cluster_kwargs": {"token": "sentinel"}}}
    assert _recorded(settings) == {"name": "s", "cluster": {"cluster_class": "a.B"}}


SECRETS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "HF_TOKEN",
    "PREFECT_API_KEY",
    "PREFECT_API_AUTH_STRING",
    "DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY",
)
HOSTILE = (
    "<script>alert(1)</script></script><img src=x onerror=alert(1)> javascript:alert(1) \x1b[2J\x1b]0;owned\x07 \u202eevil\u2066 "
    '=cmd()|" onmouseover="alert(1)" \x9b31m the river of Velm is Torin'
)
STUDY = f"""
name = "hostile"
title = "<script>alert(2)</script>"
workers = 0
{NOTES}[counting]
all_orders = [1]
min_count = 1
{RIVERS}"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A whole study over a hostile corpus, with secrets in the environment; its folder, and all it printed."""
    folder = tmp_path_factory.mktemp("hostile")
    documents = [{"id": f"=d{i} {HOSTILE}", "text": f"{HOSTILE} {i}"} for i in range(8)]
    (folder / "corpus").mkdir()
    (folder / "corpus" / "notes.jsonl").write_text(
        "".join(json.dumps(d) + "\n" for d in documents) + HOSTILE.replace("\n", " ") + "\n"
    )
    questions = [
        {
            "id": f"q{i} {HOSTILE}",
            "input": f"What is the river of Velm? {HOSTILE} {i}",
            "output": "Torin",
            "group": HOSTILE,
            "aliases": [HOSTILE],
        }
        for i in range(4)
    ]
    (folder / "rivers.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions) + json.dumps({"input": HOSTILE}) + "\n")
    (folder / "hostile.toml").write_text(STUDY)
    printed = ""
    secrets = {name: f"sentinel-{i}" for i, name in enumerate(SECRETS)}
    commands = (
        ["run", "-v"],
        ["trace", "torin 1"],
        ["trace", "torin 1", "--json"],
        ["count", "river", "Torin"],
        ["report"],
        ["status", "--json"],
        ["trace", "river of velm"],
    )
    for command, *words in commands:
        several = words == ["river of velm"]
        output = taskgram(command, str(folder / "hostile.toml"), *words, root=folder / "root", code=several, environment=secrets)
        assert not several or "4 examples match" in output
        printed += output
    return folder, printed


@pytest.mark.slow
def test_no_secret_of_the_environment_is_written_or_printed(hostile: tuple[Path, str]) -> None:
    folder, printed = hostile
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert len(files) > 60 and any(p.suffix == ".db" for p in files) and any(p.suffix == ".parquet" for p in files)
    assert "sentinel-" not in printed
    for path in files:
        assert b"sentinel-" not in path.read_bytes(), path


@pytest.mark.slow
def test_nothing_of_a_corpus_commands_the_terminal(hostile: tuple[Path, str]) -> None:
    _, printed = hostile
    assert "Torin" in printed and "evil" in printed
    assert not {c for c in printed if ord(c) < 32 or 127 <= ord(c) < 160} - {"\n", "\t"}
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", printed)


@pytest.mark.slow
def test_nothing_of_a_corpus_becomes_part_of_a_page(hostile: tuple[Path, str]) -> None:
    from html.parser import HTMLParser

    folder, _ = hostile
    pages = folder / "root" / "reports" / "hostile"
    tags: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append((tag, dict(attrs)))

    for page, scripts in (("index.html", 0), ("trace/index.html", 2)):
        tags.clear()
        text = (pages / page).read_text(encoding="utf-8")
        assert page != "index.html" or "alert(1)" in text, "the hostile text is shown, as text"
        Reader().feed(text)
        assert [t for t, _ in tags].count("script") <= scripts
        assert not [a for _, attributes in tags for a in attributes if a.startswith("on")], "no handler of an event"
        assert not [v for _, a in tags for v in (a.get("href"), a.get("src")) if v and v.strip().lower().startswith("javascript:")]
        assert not {a.get("src") for t, a in tags if t == "img"} & {"x"}
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    chunks = list((pages / "trace" / "tasks").rglob("*.js"))
    assert chunks
    for chunk in chunks:
        assert not re.search("[<>\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", chunk.read_text(encoding="utf-8")), chunk
    for data in pages.rglob("*.csv"):
        for row in csv.reader(data.open(encoding="utf-8", newline="")):
            assert not [c for c in row if c.startswith(("=", "@")) or (c[:1] in "+-" and not _number(c) and c)], data
    outside = [p for p in folder.iterdir() if p.name not in ("corpus", "rivers.jsonl", "hostile.toml", "root")]
    assert not outside, "what is written lies under the root"


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


# -- services ----------------------------------------------------------------------------------------------------------
def listening(process: psutil.Process) -> set[str]:
    """Addresses at which a process and its children listen."""
    family = [process, *process.children(recursive=True)]
    return {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}


@pytest.mark.slow
def test_a_cluster_listens_to_this_machine_alone(tmp_path: Path) -> None:
    from tasks.cluster.cluster import Cluster

    before = listening(psutil.Process())
    cluster = Cluster(1, "1GB", str(tmp_path), address="")
    try:
        assert [f.value for f in cluster.run(abs, [(-1,)], "abs")] == [1]
        found = listening(psutil.Process()) - before
        assert "127.0.0.1" in listening(psutil.Process()), "scheduler, dashboard, nanny and worker"
        assert found <= {"127.0.0.1", "::1"}
    finally:
        cluster.close()


@pytest.mark.slow
def test_a_server_listens_to_this_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.servers.processes import api, end, server_command, server_environment, wait_until_up

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            server_command(port), stdout=out, stderr=out, env=server_environment(port), start_new_session=True
        )
    try:
        wait_until_up(api(port), server, log)
        assert listening(psutil.Process(server.pid)) == {"127.0.0.1"}
    finally:
        end(server.pid)

"""`taskgram prompts` on a small study: exact counts, both extremes, their scores, and nothing computed twice."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows import manifests
from flows.commands.prompt_choice import STEPS_FOR_PROMPTS, PromptSession, choose
from flows.engine import run_step
from flows.plan import PlannedStep, lay_out
from flows.session import Session
from flows.study import STEPS
from flows.study_records import recorded_steps
from schemas import CONTRACTS, Contract, Study, StudyError, load_study
from tasks.cluster.cluster import Cluster
from tasks.prompts.question import PromptQuestion
from tasks.storage.store import Part, Store, fingerprint
from tasks.storage.validation import validate
from tasks.text.words.analyzer import normalise
from tests.models.small import save_random
from tests.rules import check_rules
from tests.studies import REPOSITORY, TASKGRAM
from tests.support import NOTES

STUDY = (
    """
name = "{name}"
workers = 0
"""
    + NOTES
    + """[[tasks]]
name = "rivers"
family = "qa"
evaluate = ["rivers.jsonl"]
prompt = "Which river flows through {{input}}?\\nAnswer: "
max_new_tokens = 4
[[tasks]]
name = "other"
family = "qa"
evaluate = ["rivers.jsonl"]
[[models]]
name = "tiny"
[models.pretrain]
hidden = 16
layers = 1
heads = 2
tokens = 2_000
batch = 4
context = 32
[[models]]
name = "given"
path = "given"
[counting]
index = {index}
stop_words = "none"
[scoring]
other_inputs = 2
[measures]
bootstrap = 50
"""
)
PLACES = ("Velm", "Maron", "Iska", "Torin", "Belado", "Mirek")
TEMPLATES = [
    "Which river flows through {input}?\\nAnswer:",  # the task's own
    "The river of {input}, as everybody knows, is",
    "Zorp quux blarg {input} gnarl",
    "It is true that the river of {input} is",
    "Name it",
    "{input}:",
]
TEXTS = [
    *(f"Which river flows through {p}? The river of {p} is long, as everybody knows." for p in PLACES),
    *("As everybody knows, it is true that nothing is cold. " * n for n in (1, 2, 3)),
    "Which river flows? As everybody knows. Is true that the river flows.",
] * 4


def write_study(folder: Path, name: str, index: str = "false") -> Path:
    """A study of two corpus files, six questions, a model to be trained and one that is there."""
    if not (folder / "corpus").exists():
        (folder / "corpus").mkdir(parents=True)
        for half in (0, 1):
            lines = (json.dumps({"id": f"{half}-{i}", "text": text}) for i, text in enumerate(TEXTS[half::2]))
            (folder / "corpus" / f"{half}.jsonl").write_text("\n".join(lines))
        rows = ({"id": p, "input": p, "output": q} for p, q in zip(PLACES, PLACES[::-1], strict=True))
        (folder / "rivers.jsonl").write_text("\n".join(map(json.dumps, rows)))
        (folder / "prompts.txt").write_text("\n".join(TEMPLATES))
        save_random(folder / "given", context=64)
    path = folder / f"{name}.toml"
    path.write_text(STUDY.format(name=name, index=index))
    return path


class World:
    """A folder with a study and a root, and answers to questions about it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, Store(str(folder / "root"))
        self.cluster = Cluster(0, "1GB", str(folder / ".dask"), address="")
        self.ran: Counter[str] = Counter()

    def study(self, name: str = "rivers", index: str = "false") -> Study:
        return load_study(write_study(self.folder, name, index))

    def run(self, study: Study, *steps: str) -> None:
        session = Session(study, f"{study.name}.toml", self.store, self.cluster)
        for planned in lay_out(STEPS, study):
            if planned.step.name in steps:
                run_step(planned, session)

    def ask(self, study: Study, before: Callable[[PlannedStep], Any] = lambda p: None, **options: Any) -> dict[str, Any]:
        """The answer; `before` is called before each step, and `ran` says how many parts of each were computed."""
        self.ran = Counter()

        def run(planned: Sequence[PlannedStep], session: Session) -> None:
            for step in planned:
                before(step)
                self.ran += Counter({step.step.name: run_step(step, session).computed})

        session = PromptSession(study, f"{study.name}.toml", self.store, self.cluster)
        try:
            return choose(PromptQuestion(study, **{"task": "rivers", **options}), session, run)
        finally:
            session.close()

    def listed(self, study: Study, **options: Any) -> dict[str, Any]:
        return self.ask(study, candidates=str(self.folder / "prompts.txt"), **options)

    def rows(self, answer: dict[str, Any], table: str) -> list[dict[str, Any]]:
        parts = [Part(table, Path(file).stem) for file in answer["files"][table]]
        return self.store.read(parts, CONTRACTS[table].schema).to_pylist()


@pytest.fixture(scope="module", autouse=True)
def quick_checks() -> Iterator[None]:
    """The conditions of the contracts without Great Expectations, which takes seconds a table; see `tests.support`."""

    def check(store: Store, contract: Contract, tables: Any, contracts: Any) -> dict[str, Any]:
        problems = check_rules(store, contract, tables, contracts)
        checks = [{"check": p, "success": False, "unexpected": 1, "examples": []} for p in problems]
        return {"success": not problems, "checks": checks}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifests, "validate", check)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("prompts"))


@pytest.fixture(scope="module")
def answer(world: World) -> dict[str, Any]:
    """The answer to a list of prompts, on a study that has been scored before."""
    study = world.study()
    world.run(study, "ingest", "read", "tokenizer", "tokens", "models", "score", "generate")
    return world.listed(study) | {"computed": world.ran}


def brute_force(phrase: str) -> int:
    """Occurrences, by walking through every text."""
    wanted, found = phrase.split(), 0
    for text in TEXTS:
        words = normalise(text).split()
        found += sum(words[i : i + len(wanted)] == wanted for i in range(len(words)))
    return found


def mean_count(template: str) -> float:
    pieces = [normalise(p).split() for p in template.replace("\\n", "\n").split("{input}")]
    grams = {" ".join(words[i : i + 3]) for words in pieces for i in range(len(words) - 2)}
    return sum(map(brute_force, grams)) / len(grams)


def test_mean_counts_equal_brute_force(world: World, answer: dict[str, Any]) -> None:
    rows = [r for r in world.rows(answer, "prompt_candidates") if r["mean_count"] is not None]
    assert len(rows) == 2 * 4
    for row in rows:
        assert row["counts"] == [brute_force(gram) for gram in row["ngrams"]]
        assert row["mean_count"] == pytest.approx(mean_count(row["template"]), rel=1e-12)
        assert row["missing"] == row["counts"].count(0)


def test_both_extremes_are_found_and_the_rejected_are_counted(answer: dict[str, Any]) -> None:
    means = {t: mean_count(t) for t in TEMPLATES[:4]}
    prompts = answer["prompts"]
    assert prompts["maximise"]["template"].strip() == max(means, key=means.__getitem__)
    assert prompts["minimise"]["template"].strip() == min(means, key=means.__getitem__) == TEMPLATES[2]
    assert prompts["minimise"]["mean_count"] == 0 < prompts["original"]["mean_count"] < prompts["maximise"]["mean_count"]
    assert answer["proposed"] == {"maximise": 6, "minimise": 6}
    why = {"fewer than 3 words in a row": 1, "no {input}": 1, "proposed before": 1}
    assert answer["rejected"] == {"maximise": why, "minimise": why}


def test_each_model_is_scored_under_each_prompt(world: World, answer: dict[str, Any]) -> None:
    rows = world.rows(answer, "prompt_scores")
    assert {(r["direction"], r["model"]) for r in rows} == {
        (d, m) for d in ("original", "maximise", "minimise") for m in ("tiny", "given")
    }
    assert all(r["examples"] == len(PLACES) and r["estimate"] is not None for r in rows)
    assert {r["statistic"] for r in rows if r["main"]} == {"exact_match"}
    likelihoods = {(r["model"], r["direction"]): r["estimate"] for r in rows if r["statistic"] == "log_likelihood"}
    assert len(set(likelihoods.values())) == 6, "other prompts, other probabilities"


def test_scores_are_those_of_a_study_that_asks_with_that_prompt(world: World, answer: dict[str, Any]) -> None:
    study = world.study()
    task = study.task("rivers").model_copy(update={"prompt": answer["prompts"]["maximise"]["template"]})
    same = study.model_copy(update={"name": "same", "tasks": (task,)})
    world.run(same, "read", "score", "generate")
    plan = {p.step.name: p for p in lay_out(STEPS_FOR_PROMPTS, same)}
    for step in ("evidence", "measure"):
        run_step(plan[step], Session(same, "same.toml", world.store, world.cluster))
    metrics = world.store.read(plan["measure"].outputs["metrics"], CONTRACTS["metrics"].schema).to_pylist()
    wanted = {(m["model"], m["statistic"]): m["estimate"] for m in metrics if m["measure"] == "score" and not m["group"]}
    rows = [r for r in world.rows(answer, "prompt_scores") if r["direction"] == "maximise"]
    assert {(r["model"], r["statistic"]): r["estimate"] for r in rows} == pytest.approx(wanted, abs=1e-5)


def test_what_the_study_has_done_is_not_done_again(world: World, answer: dict[str, Any]) -> None:
    assert answer["computed"] == {
        "words": 2,
        "prompts": 2,
        "read": 2,
        "score": 4,
        "generate": 4,
        "evidence": 6,
        "measure": 3,
        "evaluate": 1,
    }
    study = world.study()
    own = next(p for p in lay_out(STEPS, study) if p.step.name == "measure")
    score = next(p for p in own.outputs["metrics"] if p.labels["measure"] == "scores" and p.labels["task"] == "rivers")
    assert world.store.is_whole(score, None), "the study's own score of the task's own prompt is reused"


def test_a_second_question_computes_nothing_and_says_the_same(world: World, answer: dict[str, Any]) -> None:
    again = world.listed(world.study())
    assert not world.ran
    assert again == {k: v for k, v in answer.items() if k != "computed"}


def test_fewer_models_train_and_score_no_other(world: World, answer: dict[str, Any]) -> None:
    found = world.listed(world.study(), models=("given",))
    assert world.ran == {"measure": 3, "evaluate": 1}
    assert {r["model"] for r in found["scores"]} == {"given"}


def test_the_study_itself_is_recorded_as_before(world: World, answer: dict[str, Any]) -> None:
    from flows.commands.status import clean

    answer = world.listed(world.study())  # the last answer is kept
    assert set(recorded_steps(world.store, "rivers")) == {"ingest", "read", "tokenizer", "tokens", "models", "score", "generate"}
    kept = {f for files in answer["files"].values() for f in files}
    assert not kept & set(clean(str(world.folder / "rivers.toml"), world.store.root, dry_run=True)), "no answer is deleted"


def test_tables_keep_their_contracts_as_great_expectations_sees_them(world: World, answer: dict[str, Any]) -> None:
    for table, files in answer["files"].items():
        parts = [Part(table, Path(file).stem) for file in files]
        assert world.store.manifest(table, fingerprint(parts)), "a manifest is written last"
        found = validate(world.store, CONTRACTS[table], {table: parts}, CONTRACTS)
        assert found["success"], [c for c in found["checks"] if not c["success"]]
        assert len(found["checks"]) > 10


def test_a_kept_prompt_that_is_not_an_extremum_breaks_the_contract(world: World, answer: dict[str, Any]) -> None:
    """The contract that a wrong search would break."""
    rows = world.rows(answer, "prompt_candidates")
    kept = next(r for r in rows if r["direction"] == "maximise" and r["best"] and r["round"])
    kept["best"] = False
    schema = CONTRACTS["prompt_candidates"].schema
    rows.sort(key=lambda r: (r["direction"], r["round"], r["candidate"]))
    with world.store.writing(
        {"prompt_candidates": CONTRACTS["prompt_candidates"]}, "wrong", {"sums": {"proposed": len(rows)}}
    ) as w:
        w.write("prompt_candidates", pa.Table.from_pylist(rows, schema))
    part = Part("prompt_candidates", "wrong")
    problems = check_rules(world.store, CONTRACTS["prompt_candidates"], {"prompt_candidates": [part]}, CONTRACTS)
    assert len(problems) == 1 and "the prompt that is kept to maximise is the extremum" in problems[0]


def test_index_and_scan_choose_the_same(world: World, answer: dict[str, Any]) -> None:
    study = world.study("indexed", "true")
    world.run(study, "index")
    found = world.listed(study.model_copy(update={"models": ()}))
    assert (found["read"], answer["read"]) == ("index", "scan")
    assert not world.ran, "the counts are those of the scan, and so are the parts"
    fresh = study.model_copy(update={"models": (), "counting": study.counting.model_copy(update={"stop_words": "authors"})})
    assert world.listed(fresh)["read"] == "index"
    assert world.ran["prompts"] == 2


def test_a_model_rewrites_in_rounds_and_its_junk_is_counted(world: World, answer: dict[str, Any]) -> None:
    study = world.study().model_copy(update={"models": world.study().models[1:]})
    options: dict[str, Any] = {"rewriter": "given", "rounds": 2, "per_round": 4, "seed": 3}
    found = world.ask(study, **options)
    assert found["proposed"] == {"maximise": 8, "minimise": 8}
    assert world.ran["prompts"] == 2, "round 0 was there"
    rejected = found["rejected"]["maximise"]
    assert sum(rejected.values()) == 8, "random weights write nothing that holds {input}"
    assert found["prompts"]["maximise"] == found["prompts"]["original"], "so the task's own prompt stays"
    rows = world.rows(found, "prompt_candidates")
    assert len({r["template"] for r in rows}) > 3
    assert world.ask(study, **options) == found
    assert not world.ran
    world.ask(study, **options | {"rounds": 3})
    assert world.ran["prompts"] == 1, "one more round starts after those that exist"
    other = world.rows(world.ask(study, **options | {"seed": 4}), "prompt_candidates")
    assert {r["template"] for r in other} != {r["template"] for r in rows}


def test_a_folder_can_rewrite_as_well(world: World, answer: dict[str, Any]) -> None:
    study = world.study().model_copy(update={"models": ()})
    found = world.ask(study, rewriter=str(world.folder / "given"), rounds=1, per_round=2)
    assert found["scores"] == []
    assert found["proposed"] == {"maximise": 2, "minimise": 2}


def test_an_interrupted_search_goes_on_where_it_was(world: World, answer: dict[str, Any]) -> None:
    study = world.study().model_copy(update={"models": world.study().models[1:]})
    options: dict[str, Any] = {"rewriter": "given", "rounds": 3, "per_round": 2, "seed": 11}

    def killed(planned: PlannedStep) -> None:
        if planned.step.name == "prompts" and len(planned.stages[0].jobs) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.ask(study, killed, **options)
    found = world.ask(study, **options)
    assert world.ran["prompts"] == 2, "rounds 2 and 3"
    files = [Path(f) for f in found["files"]["prompt_candidates"]]
    before = [f.read_bytes() for f in files]
    for file in files:
        file.unlink()
    assert world.ask(study, **options) == found
    assert world.ran["prompts"] == 4
    assert [f.read_bytes() for f in files] == before, "the bytes of a search that was not interrupted"


def test_examples_that_bring_a_prompt_are_asked_with_the_chosen_one(world: World, answer: dict[str, Any]) -> None:
    rows = [{"id": p, "input": p, "output": p, "prompt": "Say {input}: "} for p in PLACES[:2]]
    (world.folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    study = world.study()
    task = study.task("rivers").model_copy(update={"evaluate": ("own.jsonl",)})
    before = set(Path(world.store.base, "examples", "parts").glob("*.parquet"))
    study = study.model_copy(update={"name": "own", "tasks": (task,), "models": study.models[1:]})
    found = world.listed(study)
    assert found["examples_with_own_prompt"] == 2
    prompts = set()
    for part in set(Path(world.store.base, "examples", "parts").glob("*.parquet")) - before:
        table = world.store.read([Part("examples", part.stem)], CONTRACTS["examples"].schema)
        prompts |= {r["prompt"].replace(r["input"], "{input}") for r in table.to_pylist() if r["split"] == "evaluate"}
    assert prompts == {"Say {input}:", *(found["prompts"][d]["template"].rstrip() for d in ("maximise", "minimise"))}


def test_a_user_reads_prompts_counts_and_scores(answer: dict[str, Any]) -> None:
    from tasks.prompts.prompt_answer import show

    lines = show(answer).splitlines()
    assert lines[0].startswith("rivers of rivers: 6 prompts proposed, 3 rejected (1 × fewer than 3 words in a row, 1 × no {input}")
    best = next(line for line in lines if line.startswith("maximise"))
    assert f"{answer['prompts']['maximise']['mean_count']:,.2f}" in best
    assert answer["prompts"]["maximise"]["template"].rstrip() in best
    assert [line.split()[:2] for line in lines if "exact_match" in line] == [["tiny", "exact_match"], ["given", "exact_match"]]
    assert "by a scan of all words" in lines[-1]


def test_a_user_reads_that_nothing_could_be_counted(world: World, answer: dict[str, Any]) -> None:
    from tasks.prompts.prompt_answer import show

    path = world.folder / "short.txt"
    path.write_text("{input}:\n")
    study = world.study()
    task = study.task("rivers").model_copy(update={"prompt": ""})
    study = study.model_copy(update={"name": "short", "tasks": (task,), "models": study.models[1:]})
    found = world.ask(study, candidates=str(path))
    assert found["prompts"]["maximise"] is None
    assert {r["estimate"] for r in found["scores"] if r["direction"] != "original"} == {None}
    text = show(found)
    assert "no prompt could be counted" in text
    assert "- : no prompt of this direction could be scored" in text


@pytest.mark.slow
def test_the_command_runs_the_flow(world: World, answer: dict[str, Any]) -> None:
    words = [
        "prompts",
        str(world.folder / "rivers.toml"),
        "--task",
        "rivers",
        "--candidates",
        str(world.folder / "prompts.txt"),
        "--root",
        str(world.folder / "typed"),
        "--models",
        "given",
        "--json",
    ]
    for _ in range(2):
        run = subprocess.run([*TASKGRAM, *words], capture_output=True, text=True, cwd=REPOSITORY, timeout=600)
        assert run.returncode == 0, run.stdout + run.stderr
        assert json.loads(run.stdout)["prompts"] == answer["prompts"]
    assert "computed" not in run.stderr, "the second time nothing is"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"task": "lakes"}, "no such task; it has rivers, other"),
        ({"models": ("large",)}, "no such model; it has tiny, given"),
        ({"candidates": ""}, "--candidates FILE"),
        ({"rewriter": "given"}, "--candidates FILE"),
        ({"candidates": "", "rewriter": "nobody"}, "neither a folder nor a model"),
        ({"candidates": "gone.txt"}, "gone.txt: cannot be read"),
        ({"rounds": 0}, "at least 1"),
    ],
)
def test_a_wrong_question_names_the_remedy(world: World, answer: dict[str, Any], change: dict[str, Any], words: str) -> None:
    options = {"candidates": str(world.folder / "prompts.txt")} | change
    with pytest.raises(StudyError, match=words):
        world.ask(world.study(), **options)

"""Settings of inference: pieces, sampling, pickles; and what bad input becomes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas import CONTRACTS, Study, StudyError
from tasks.models import load as loading
from tasks.models import score as scoring
from tasks.models.generate import GENERATE, generate
from tasks.models.language_model import SavedModel
from tasks.models.load import load, load_once, repeatable
from tasks.models.pretrain import MODELS
from tasks.models.sampling import Sampling
from tasks.models.score import SCORE
from tasks.step import keyed, run_job
from tasks.storage.store import Store
from tests.models import small
from tests.support import read_rows, run_step, span_sums

QA = {"name": "qa", "family": "qa", "max_new_tokens": 6}


def prepared(root: Path, rows: list[dict], **scoring: object) -> tuple[Study, dict]:
    folder = small.save_random(root / "saved", context=96)
    study = small.study([{"name": "o", "path": str(folder)}], [QA], scoring=scoring)
    tables = run_step(MODELS, study, root, {"tokens": (), "tokenizer": ()})
    return study, tables | {"examples": (small.examples(root, "qa", rows),)}


def test_a_killed_run_goes_on_inside_its_part_and_ends_with_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "EXAMPLES_AT_ONCE", 3)
    study, tables = prepared(tmp_path, small.questions(10), other_inputs=2)
    stage = SCORE.stages[0]
    (job,) = [keyed(SCORE, 0, j) for j in stage.plan(study, tables)]
    store, slices, real = Store(str(tmp_path)), [], scoring._score

    def killed(work: object, model: object, examples: list, others: list, rows: range) -> object:
        slices.append(rows)
        if len(slices) == 3:
            raise KeyboardInterrupt
        return real(work, model, examples, others, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(scoring, "_score", killed)
    with pytest.raises(KeyboardInterrupt):
        run_job(store, job, stage, CONTRACTS)
    assert "error" not in run_job(store, job, stage, CONTRACTS)
    assert [r.start for r in slices] == [0, 3, 6, 6, 9], "finished slices are not computed again"
    part = job.parts(stage)[0]
    path = Path(store.part_path(part))
    resumed = path.read_bytes()
    path.unlink()
    assert "error" not in run_job(store, job, stage, CONTRACTS)
    assert path.read_bytes() == resumed
    assert store.footer(part)["sums"]["requests"] == 30
    assert not list(store.folder("token_scores", part.key).iterdir())


def test_pieces_hold_together_what_one_part_holds(tmp_path: Path) -> None:
    whole, cut = [], []
    for found, more in ((whole, {}), (cut, {"pieces": 3})):
        study, tables = prepared(tmp_path, small.questions(8), other_inputs=2, **more)
        for step in (SCORE, GENERATE):
            found.append(run_step(step, study, tmp_path, tables)[step.writes[0].name])
    assert [[p.labels.get("piece") for p in t] for t in cut] == [["1/3", "2/3", "3/3"]] * 2
    for one, many in zip(whole, cut, strict=True):
        rows, others = read_rows(tmp_path, one), read_rows(tmp_path, many)
        for a, b in zip(rows, others, strict=True):
            assert a.pop("log_probabilities", [0]) == pytest.approx(b.pop("log_probabilities", [0]), abs=1e-5)
            assert a == b


def test_equal_options_score_equally(tmp_path: Path) -> None:
    rows = [small.questions(1)[0] | {"options": ["Torin", "Belado", "Torin"], "answer": 0, "output": "Torin"}]
    study, tables = prepared(tmp_path, rows, other_inputs=0)
    found = {
        r["option"]: r["log_probabilities"] for r in read_rows(tmp_path, run_step(SCORE, study, tmp_path, tables)["token_scores"])
    }
    assert found[0] == found[2] == found[-1] != found[1]


def test_an_output_without_a_token_is_an_error_that_names_the_example(tmp_path: Path) -> None:
    study, tables = prepared(tmp_path, [{"prompt": "Where?", "output": "", "separator": ""}], other_inputs=0)
    with pytest.raises(StudyError, match="example 'e000': the tokenizer of model 'o' makes no token of the output"):
        run_step(SCORE, study, tmp_path, tables)


def test_logits_that_are_not_numbers_are_an_error(tmp_path: Path) -> None:
    import torch

    from tasks.models.model_inputs import requests

    with repeatable("cpu"):
        model = load(SavedModel(small.save_random(tmp_path / "m")), "o")
        with torch.no_grad():
            model.network.get_output_embeddings().weight[7] = float("nan")
        with pytest.raises(StudyError, match="log-probabilities that are not finite"):
            scoring.score(model, requests(model, [("Where", " ", "Torin")], ["it"]), 512)
        for sampling in (Sampling(), Sampling(1.0, 0.9)):
            with pytest.raises(StudyError, match="logits that are not finite"):
                generate(model, [("Where", " ")], 3, (), 512, sampling)


def test_sampled_answers_do_not_depend_on_the_batch(tmp_path: Path) -> None:
    prompts = [(q["prompt"], " ") for q in small.questions(9)] + [("Torin " * 12, " ")]
    names = [str(i) for i in range(len(prompts))]
    with repeatable("cpu"):
        model = load(SavedModel(small.save_random(tmp_path / "m", context=96)), "o")
        answers = {
            (batch, seed): [a.tokens for a in generate(model, prompts, 8, (), batch, Sampling(1.0, 0.9, seed), names)[0]]
            for batch, seed in ((64, 0), (8192, 0), (8192, 1))
        }
        greedy = [a.tokens for a in generate(model, prompts, 8, (), 8192)[0]]
        cold = [a.tokens for a in generate(model, prompts, 8, (), 8192, Sampling(1e-4, 1.0), names)[0]]
    assert answers[64, 0] == answers[8192, 0] != answers[8192, 1]
    assert cold == greedy


def test_draws_follow_the_nucleus() -> None:
    import torch

    logits = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()[None].repeat(20_000, 1)
    names = [str(i) for i in range(len(logits))]
    for top_p, expected in ((1.0, [0.1, 0.5, 0.15, 0.25]), (0.7, [0, 2 / 3, 0, 1 / 3]), (0.3, [0, 1, 0, 0])):
        drawn = Sampling(1.0, top_p).choose(logits, names, [0] * len(names))[0].numpy()
        assert np.bincount(drawn, minlength=4) / len(drawn) == pytest.approx(expected, abs=0.015)


def test_hundreds_of_spans_equal_a_slow_sum_and_a_sum_to_the_end_does_not(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    rows = [q | {"output": " ".join(draw.choice(small.PLACES, 6)) + " né 東"} for q in small.questions(8)]
    study, tables = prepared(tmp_path, rows, other_inputs=0)
    found = read_rows(tmp_path, run_step(SCORE, study, tmp_path, tables)["token_scores"])
    import torch

    model = load(SavedModel(tmp_path / "saved"), "o")
    off = 0
    for row, example in zip(found, rows, strict=True):
        text = example["prompt"] + " " + example["output"]
        encoding, origin = model.tokenizer.encode(text, add_special_tokens=False), len(example["prompt"]) + 1
        ids = [0, *encoding.ids]
        starts = draw.integers(0, len(example["output"]), 40)
        ends = starts + draw.integers(1, 12, 40)
        arrays = (np.array(row[n]) for n in ("starts", "ends", "log_probabilities"))
        sums = span_sums(*arrays, starts, ends)
        slow = []
        for at in range(1, len(ids)):
            with torch.no_grad():
                slow.append(float(model.network(torch.tensor([ids[:at]])).logits[0, -1].double().log_softmax(0)[ids[at]]))
        for start, end, value in zip(starts, ends, sums, strict=True):
            inside = [i for i, (a, b) in enumerate(encoding.offsets) if a - origin < end and b - origin > start]
            assert value == pytest.approx(sum(slow[i] for i in inside), abs=1e-4)
            off += abs(sum(slow[inside[0] :]) - value) > 1e-3
    assert off > 200, "a sum that does not stop at the span's end would be seen"


def test_a_model_is_loaded_once_for_jobs_in_a_row(tmp_path: Path) -> None:
    first, second = (SavedModel(small.save_random(tmp_path / n, seed=i)) for i, n in enumerate("ab"))
    a = load_once(first, "x")
    assert load_once(first, "y").network is a.network and load_once(first, "y").name == "y"
    assert load_once(SavedModel(first.folder, key="other"), "x").network is not a.network
    load_once(second, "x")
    assert list(loading._LAST) == [second], "one model at a time is held"


def test_pickled_weights_are_opened_only_if_the_model_says_so(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = small.save_random(tmp_path / "saved", context=96)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    expected = load(SavedModel(folder), "o").network.state_dict()
    (folder / "model.safetensors").unlink()
    model = {"name": "o", "path": str(folder)}
    with pytest.raises(StudyError, match="allow_pickle_weights = true"):
        run_step(MODELS, small.study([model]), tmp_path, {"tokens": (), "tokenizer": ()})
    study = small.study([model | {"allow_pickle_weights": True}], [QA])
    tables = run_step(MODELS, study, tmp_path, {"tokens": (), "tokenizer": ()})
    tables |= {"examples": (small.examples(tmp_path, "qa", small.questions(2)),)}
    assert len(read_rows(tmp_path, run_step(SCORE, study, tmp_path, tables)["token_scores"])) == 4
    found = load(SavedModel(folder, allow_pickle_weights=True), "o").network.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in expected.items())


@pytest.mark.parametrize(("revision", "step"), [("step3000", 3000), ("step1000-tokens4B", 1000), ("main", 0), ("v1", 0)])
def test_a_revision_says_its_training_step(revision: str, step: int) -> None:
    model = small.study([{"name": "o", "hub": "a/b", "revision": revision}]).models[0]
    assert model.training_step == step
    assert model.model_copy(update={"checkpoint": 7}).training_step == 7


def test_prompts_with_a_shared_beginning_are_answered_as_alone(tmp_path: Path) -> None:
    shots = "Question: Where is Torin?\nAnswer: Belado\n" * 2
    prompts = [(shots + q["prompt"], " ") for q in small.questions(9)]
    with repeatable("cpu"):
        for family in small.FAMILIES:
            model = load(SavedModel(small.save_random(tmp_path / family, family, context=128)), "o")
            together = [a.tokens for a in generate(model, prompts, 8, (), 8192)[0]]
            assert together == [generate(model, [p], 8, (), 8192)[0][0].tokens for p in prompts]

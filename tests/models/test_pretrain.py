"""A ladder is deterministic, resumes to the same bytes, and sees equal tokens in equal order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from schemas import StudyError
from tasks.models.ladder import checkpoint_steps
from tasks.models.packing import PackedTokens
from tasks.models.pretrain import MODELS
from tests.models import small
from tests.support import read_rows, run_step


def train(root: Path, *models: dict, **more: object) -> dict:
    return run_step(MODELS, small.study(models, **more), root, small.corpus(root))


def ladder_model(name: str = "m", **changes: object) -> dict:
    return {"name": name, "pretrain": small.SHAPE | changes}


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    root = tmp_path_factory.mktemp("once")
    return read_rows(root, train(root, ladder_model())["models"])


def test_two_trainings_give_the_same_bytes(once: list[dict], tmp_path: Path) -> None:
    again = read_rows(tmp_path, train(tmp_path, ladder_model())["models"])
    assert [r["sha256"] for r in again] == [r["sha256"] for r in once]
    other = read_rows(tmp_path, train(tmp_path, ladder_model(seed=1))["models"])
    assert other[-1]["sha256"] != once[-1]["sha256"]


def test_checkpoints_are_at_the_shares_of_training_known_beforehand(once: list[dict]) -> None:
    planned = checkpoint_steps(small.study([ladder_model()]).models[0].pretrain)
    assert tuple(r["checkpoint"] for r in once) == planned == (16, 31)
    assert once[0]["sha256"] != once[1]["sha256"]


@pytest.mark.parametrize("killed_at", [7, 20])
def test_a_killed_training_resumes_to_the_same_bytes(
    killed_at: int, once: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ladder_model(save_every=1e-6)
    inputs = small.corpus(tmp_path)
    steps = small.count_steps(monkeypatch, killed_at)
    with pytest.raises(KeyboardInterrupt):
        run_step(MODELS, small.study([model]), tmp_path, inputs)
    tables = run_step(MODELS, small.study([model]), tmp_path, inputs)
    rows = read_rows(tmp_path, tables["models"])
    assert [(r["sha256"], r["loss"]) for r in rows] == [(r["sha256"], r["loss"]) for r in once]
    assert steps[0] < 31 + killed_at, "it began from the start"
    names = sorted(p.name for p in (tmp_path / "models" / "files" / tables["models"][0].key).iterdir())
    assert names == ["step-000016", "step-000031", "training.json"]
    assert sorted(os.listdir(tmp_path / rows[0]["path"])) == ["config.json", "model.safetensors", "tokenizer.json"]


def test_a_finished_training_is_reused_unless_its_weights_have_changed(tmp_path: Path) -> None:
    study, inputs = small.study([ladder_model()]), small.corpus(tmp_path)
    weights = tmp_path / read_rows(tmp_path, run_step(MODELS, study, tmp_path, inputs)["models"])[1]["path"] / "model.safetensors"
    good, time = weights.read_bytes(), weights.stat().st_mtime_ns
    run_step(MODELS, study, tmp_path, inputs)
    assert weights.stat().st_mtime_ns == time, "trained again"
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    run_step(MODELS, study, tmp_path, inputs)
    assert weights.read_bytes() == good


def test_every_size_sees_equal_tokens_and_learns(tmp_path: Path) -> None:
    tables = train(tmp_path, ladder_model("a", tokens=12_000), ladder_model("b", tokens=12_000, hidden=32, layers=2))
    small_one, large = (read_rows(tmp_path, (p,)) for p in tables["models"])
    assert [r["tokens_seen"] for r in small_one] == [r["tokens_seen"] for r in large]
    assert small_one[0]["parameters"] < large[0]["parameters"]
    assert large[0]["parameters"] - large[0]["parameters_non_embedding"] == 32 * 300  # tied embeddings count once
    assert small_one[0]["membership"] == large[0]["membership"] != ""
    for part in tables["training_log"]:
        log = read_rows(tmp_path, (part,))
        assert log[0]["loss"] == pytest.approx(np.log(300), abs=1)
        assert log[-1]["loss"] < log[0]["loss"] - 1
        assert log[-1]["tokens"] == small_one[-1]["tokens_seen"]
        assert log[-1]["step"] == small_one[-1]["checkpoint"]


def test_packing_shows_every_document_once_an_epoch_after_a_separator(tmp_path: Path) -> None:
    documents = [[1], [], [2, 3, 4], [5] * 9, [6, 7]]
    batch = pa.record_batch({"ids": pa.array(documents, pa.list_(pa.int32()))})
    data = PackedTokens([batch.slice(0, 2), batch.slice(2)], 300, 0, 3, tmp_path)
    length = sum(map(len, documents)) + len(documents)
    stream = data.read(0, 1 + 4 * length).tolist()
    epochs = [stream[1 + e * length : 1 + (e + 1) * length] for e in range(4)]
    assert stream[0] == 0
    for epoch in epochs:
        assert epoch[-1] == 0
        assert sorted(_split(epoch)) == sorted(documents)
    assert len({tuple(e) for e in epochs}) > 1, "every epoch has its own order"
    for start in range(0, 3 * length, 7):
        assert data.read(start, 11).tolist() == stream[start : start + 11]
    windows = data.windows(2, 2, 4)
    assert windows.tolist() == [stream[16:21], stream[20:25]]


def _split(ids: list[int]) -> list[list[int]]:
    found: list[list[int]] = [[]]
    for token in ids[:-1]:
        found.append([]) if token == 0 else found[-1].append(token)
    return found


def test_a_loss_that_is_not_finite_is_an_error_that_says_what_to_change(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="lower learning_rate"):
        train(tmp_path, ladder_model(learning_rate=1e30))


@pytest.mark.parametrize(("changes", "says"), [({"heads": 3}, "heads = 3"), ({"tokens": 1000, "batch": 64}, "less than one step")])
def test_a_shape_that_cannot_be_trained_is_an_error_before_anything_runs(changes: dict, says: str) -> None:
    with pytest.raises((StudyError, ValidationError), match=says):
        MODELS.stages[0].plan(small.study([ladder_model(**changes)]), {"tokens": (), "tokenizer": ()})


# -- models from elsewhere ---------------------------------------------------------------------------------------------
def outside(root: Path, folder: Path) -> dict:
    return run_step(
        MODELS, small.study([{"name": "o", "path": str(folder), "checkpoint": 7}]), root, {"tokens": (), "tokenizer": ()}
    )


@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_a_folder_gives_one_row(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = small.save_random(tmp_path / "saved", family)
    rows = read_rows(tmp_path, outside(tmp_path, folder)["models"])
    network = AutoModelForCausalLM.from_pretrained(folder)
    assert [(r["checkpoint"], r["source"], r["path"], r["loss"]) for r in rows] == [(7, "folder", str(folder), None)]
    assert rows[0]["parameters"] == sum(p.numel() for p in network.parameters())
    assert rows[0]["parameters"] - rows[0]["parameters_non_embedding"] == 2 * 300 * 16  # untied: both ends


def test_what_is_missing_from_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="there is no folder"):
        outside(tmp_path, tmp_path / "nowhere")
    for missing in ("config.json", "tokenizer.json", "model.safetensors"):
        folder = small.save_random(tmp_path / missing)
        (folder / missing).rename(folder / "pytorch_model.bin")
        with pytest.raises(StudyError, match="safetensors" if "model" in missing else missing):
            outside(tmp_path, folder)


def test_weights_that_are_broken_or_not_finite_are_never_published(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = small.save_random(tmp_path / "saved")
    tensors = load_file(folder / "model.safetensors")
    tensors["gpt_neox.final_layer_norm.bias"][3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StudyError, match="final_layer_norm.bias has values that are not finite"):
        outside(tmp_path, folder)
    (folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(StudyError, match="cannot be read"):
        outside(tmp_path, folder)
    small.save_random(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "unheard of"}))
    with pytest.raises(StudyError, match=r"config.json"):
        outside(tmp_path, folder)


def test_a_hub_model_out_of_reach_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "from tasks.models.pretrain import hub_commit, hub_folder\nfrom schemas import StudyError\n"
        "for ask in (lambda: hub_commit('a/b', 'main'), lambda: hub_folder('a/b', '0' * 40)):\n"
        "    try: ask()\n    except StudyError as error: print(error)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    ).stdout
    assert [line.startswith("hub model 'a/b'") and line.endswith("as `path`") for line in output.splitlines()] == [True, True]

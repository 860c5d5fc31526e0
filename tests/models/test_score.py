"""Span scores are those of a plain forward pass of transformers over one example at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schemas import StudyError
from tasks.models.language_model import SavedModel
from tasks.models.load import load, repeatable
from tasks.models.model_inputs import requests, windows
from tasks.models.pretrain import MODELS
from tasks.models.score import SCORE, choose_others, score
from tests.models import small
from tests.support import read_rows, run_step

QA = {"name": "qa", "family": "qa"}
CHOICE = {"name": "mc", "family": "multiple_choice"}


def scored(root: Path, folder: Path, rows: list[dict], task: dict = QA, **scoring: object) -> list[dict]:
    study = small.study([{"name": "o", "path": str(folder), "checkpoint": 7}], [task], scoring=scoring)
    tables = run_step(MODELS, study, root, {"tokens": (), "tokenizer": ()})
    tables |= {"examples": (small.examples(root, task["name"], rows),)}
    return read_rows(root, run_step(SCORE, study, root, tables)["token_scores"])


def reference(folder: Path, prompt: str, separator: str, output: str, context: int) -> tuple[list[int], list[float]]:
    """Continuation tokens and their log-probabilities, slowly: one pass per token, over the tokens before it."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    whole = tokenizer.encode(prompt + separator + output, add_special_tokens=False).ids
    for count in range(len(whole) + 1):  # the shortest run of tokens that says the prompt and more
        if len(tokenizer.decode(whole[:count])) > len(prompt):
            break
    first, ids, values = count - 1, [0, *whole], []
    for at in range(first + 1, len(ids)):
        with torch.no_grad():
            logits = network(torch.tensor([ids[:at][-context:]])).logits[0, -1]
        values.append(float(logits.double().log_softmax(0)[ids[at]]))
    return whole[first:], values


@pytest.mark.parametrize("family", small.FAMILIES)
def test_scores_equal_a_slow_reference(family: str, tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved", family, context=64)
    rows = small.questions(6) + [{"prompt": "Größe: 日本 é\nAnswer:", "output": "naïve 東京!", "separator": "\n "}]
    found = scored(tmp_path, folder, rows, other_inputs=2)
    assert len(found) == 7 * 3
    assert {(r["model"], r["checkpoint"], r["option"]) for r in found} == {("o", 7, -1)}
    for row in found:
        by, mine = rows[int(row["input_example"][1:])], rows[int(row["example"][1:])]
        tokens, values = reference(folder, by["prompt"], mine.get("separator", " "), mine["output"], 64)
        assert row["tokens"] == tokens
        assert row["log_probabilities"] == pytest.approx(values, abs=1e-4)
        assert row["truncated"] == 0
        assert not row["straddles"]


def test_offsets_count_code_points_of_the_output_and_cover_it(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved", context=64)
    rows = [{"prompt": "Größe?\nAnswer:", "output": "Torin Belado, née 東"}, small.questions(1)[0]]
    row = scored(tmp_path, folder, rows, other_inputs=0)[0]
    assert row["starts"][0] == -1, "the separator belongs to the continuation"
    assert row["ends"][-1] == len(rows[0]["output"])
    assert all(a < b for a, b in zip(row["starts"], row["ends"], strict=True))
    covered = {i for a, b in zip(row["starts"], row["ends"], strict=True) for i in range(a, b)}
    assert covered == set(range(-1, len(rows[0]["output"])))


def test_a_token_that_covers_prompt_and_continuation_is_flagged(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved")
    row = scored(tmp_path, folder, [{"prompt": "Question: Whe", "separator": "", "output": "re is"}], other_inputs=0)[0]
    assert row["straddles"]
    assert row["starts"][0] < 0


def test_every_option_is_scored_after_its_own_prompt(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved")
    rows = [r | {"options": ["Torin", r["output"], "Miek"], "answer": 1} for r in small.questions(3)]
    found = scored(tmp_path, folder, rows, CHOICE, other_inputs=1)
    own = [r for r in found if r["example"] == r["input_example"]]
    assert sorted((r["example"], r["option"]) for r in own) == [(f"e00{i}", o) for i in range(3) for o in (-1, 0, 1, 2)]
    for row in own:
        text = rows[int(row["example"][1:])]["options"][row["option"] if row["option"] >= 0 else 1]
        tokens, values = reference(folder, rows[int(row["example"][1:])]["prompt"], " ", text, 32)
        assert row["tokens"] == tokens
        assert row["log_probabilities"] == pytest.approx(values, abs=1e-4)
    bare = [r for r in found if not r["input_example"]]
    assert sorted((r["example"], r["option"]) for r in bare) == [(f"e00{i}", o) for i in range(3) for o in (0, 1, 2)]
    for row in bare:
        tokens, values = reference(folder, "Answer:", " ", rows[int(row["example"][1:])]["options"][row["option"]], 32)
        assert row["tokens"] == tokens and row["log_probabilities"] == pytest.approx(values, abs=1e-4)


def test_other_inputs_are_never_the_own_and_do_not_depend_on_the_order(tmp_path: Path) -> None:
    examples = [{"example": f"e{i}", "prompt": f"p{i % 20}"} for i in range(40)]
    chosen = choose_others(examples, 8, seed=3)
    by_name = {e["example"]: {examples[j]["example"] for j in c} for e, c in zip(examples, chosen, strict=True)}
    for index, others in enumerate(chosen):
        assert len(set(others)) == 8
        assert all(examples[o]["prompt"] != examples[index]["prompt"] for o in others)
    back = examples[::-1]
    for example, others in zip(back, choose_others(back, 8, seed=3), strict=True):
        assert {back[o]["example"] for o in others} == by_name[example["example"]]
    assert choose_others(examples, 8, seed=4) != chosen
    assert [len(c) for c in choose_others(examples[:3], 8, seed=3)] == [2, 2, 2]
    times = np.bincount(
        np.concatenate(choose_others([{"example": str(i), "prompt": str(i)} for i in range(300)], 8, 0)), minlength=300
    )
    assert times.max() < 30, "no example is everybody's other"


def test_mining_examples_are_not_put_to_a_model(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved")
    rows = small.questions(4)
    rows[2]["split"] = "mine"
    assert {r["example"] for r in scored(tmp_path, folder, rows)} == {"e000", "e001", "e003"}


def test_scores_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    model_folder = small.save_random(tmp_path / "saved")
    rows = [
        {"prompt": "Question: " + "Where is Torin? " * (i % 5) + "Answer:", "output": small.PLACES[i] * (1 + i % 3)}
        for i in range(12)
    ]
    one, many = (scored(tmp_path / str(size), model_folder, rows, batch_tokens=size) for size in (64, 8192))
    assert [{k: v for k, v in r.items() if k != "log_probabilities"} for r in one] == [
        {k: v for k, v in r.items() if k != "log_probabilities"} for r in many
    ]
    difference = max(
        np.abs(np.subtract(a["log_probabilities"], b["log_probabilities"])).max() for a, b in zip(one, many, strict=True)
    )
    assert difference < 1e-5


def test_what_does_not_fit_the_context_is_cut_at_the_left_and_counted(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved", context=32)
    prompt, output = "Question: " + "Where is Belado? " * 9 + "Answer:", "Miek"
    row = scored(tmp_path, folder, [{"prompt": prompt, "output": output}], other_inputs=0)[0]
    tokens, values = reference(folder, prompt, " ", output, 1_000)
    from tokenizers import Tokenizer

    whole = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(f"{prompt} {output}", add_special_tokens=False).ids
    assert row["truncated"] == len(whole) + 1 - 1 - 32 > 0
    import torch
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        logits = network(torch.tensor([whole[-33:-1]])).logits[0].double().log_softmax(-1)
    expected = [float(logits[i - 1, whole[-33:][i]]) for i in range(33 - len(tokens), 33)]
    assert row["log_probabilities"] == pytest.approx(expected, abs=1e-4)
    assert row["log_probabilities"] != pytest.approx(values, abs=1e-4), "the cut must matter for this test to say something"


def test_an_output_longer_than_the_context_is_scored_token_by_token_with_half_of_it_before(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved", context=16)
    with repeatable("cpu"):
        model = load(SavedModel(folder), "o")
        request = requests(model, [("Where", " ", "Torin Belado " * 20)], ["it"])[0]
        pieces = list(windows(0, request, 16))
        values = score(model, [request], 512)[0]
    scored_tokens = [i for w in pieces for i in range(w.first, w.end)]
    assert scored_tokens == list(range(request.first, len(request.ids)))
    assert all(w.end - w.start - 1 <= 16 and w.first - w.start >= min(w.first, 8) for w in pieces)
    assert len(pieces) > 3
    assert len(values) == len(request.ids) - request.first
    assert np.isfinite(values).all()
    assert (values < 0).all()


def test_weights_that_do_not_fit_their_configuration_are_an_error_not_random_numbers(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = small.save_random(tmp_path / "saved")
    tensors = load_file(folder / "model.safetensors")
    del tensors["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StudyError, match="do not fit config.json: gpt_neox.layers.1.mlp.dense_h_to_4h.weight"):
        load(SavedModel(folder), "o")


def test_a_pretrained_ladder_is_scored_at_every_checkpoint(tmp_path: Path) -> None:
    study = small.study([{"name": "m", "pretrain": small.SHAPE | {"tokens": 12_000}}], [QA])
    tables = run_step(MODELS, study, tmp_path, small.corpus(tmp_path))
    tables |= {"examples": (small.examples(tmp_path, "qa", small.questions(4)),)}
    parts = run_step(SCORE, study, tmp_path, tables)["token_scores"]
    assert [p.labels["checkpoint"] for p in parts] == ["46", "93"]
    early, late = (np.mean([sum(r["log_probabilities"]) for r in read_rows(tmp_path, (p,))]) for p in parts)
    assert late > early, "places of the corpus become likelier while it is learnt"

"""What a model writes after its first other token is what transformers' own greedy decoding writes from the prefix."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.models import recite
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.models.load import load, repeatable
from tasks.models.pretrain import MODELS
from tasks.models.recite import RECITE, missed_windows, write_on
from tasks.models.score_sequences import SCORE_SEQUENCES, score_windows
from tasks.storage.store import Store
from tests.models import small
from tests.models.test_score_sequences import decoded, models, sequences  # noqa: F401 - a fixture
from tests.support import read_rows, run_step

PREFIX, SUFFIX = 6, 8


def written_by_transformers(folder: Path, windows: np.ndarray) -> list[list[int]]:
    """What `generate` writes from the prefixes, up to and with a token that ends the document."""
    import torch

    with repeatable("cpu"):
        model = load(SavedModel(folder), "o")
    starts = np.full((len(windows), 1), model.start)
    prompts = torch.from_numpy(np.concatenate([starts, windows[:, :PREFIX]], axis=1))
    same = {"attention_mask": torch.ones_like(prompts), "pad_token_id": 0, "eos_token_id": sorted(model.ends), "do_sample": False}
    rows = model.network.generate(prompts, max_new_tokens=SUFFIX, **same)[:, prompts.shape[1] :].tolist()
    ends = [next((i + 1 for i, token in enumerate(row) if token in model.ends), SUFFIX) for row in rows]
    return [row[:end] for row, end in zip(rows, ends, strict=True)]


def half_known(folder: Path, without: int = 0) -> np.ndarray:
    """Sixty windows: random ones, and what the model writes itself, every second with other tokens in its suffix. None holds a
    token that ends documents."""
    draw = np.random.default_rng(7)
    windows = draw.integers(1, 300, (60, PREFIX + SUFFIX))
    windows[np.isin(windows, (0, without))] = 1 + without % 299
    for row, ids in zip(windows[30:], written_by_transformers(folder, windows[30:]), strict=True):
        row[PREFIX : PREFIX + len(ids)] = ids
    windows[30::2, PREFIX + 1 :: 3] = draw.integers(1, 300, (15, 3))
    windows[np.isin(windows, (0, without))] = 1 + without % 299
    return windows


def recited(root: Path, folder: Path, windows: np.ndarray, batch_tokens: int = 8192, **more: object) -> tuple[list[dict], dict]:
    """The rows of `recitations`, and all parts."""
    chosen = {"memorization": {"prefix": PREFIX, "suffix": SUFFIX, **more}, "scoring": {"batch_tokens": batch_tokens}}
    asked = small.study([{"name": "o", "path": str(folder), "checkpoint": 7}], **chosen)
    tables = run_step(MODELS, asked, root, {"tokens": (), "tokenizer": ()})
    tables |= {"sequences": sequences(root, windows.tolist(), PREFIX), "tokenizer": small.corpus(root)["tokenizer"]}
    tables = run_step(RECITE, asked, root, run_step(SCORE_SEQUENCES, asked, root, tables))
    return read_rows(root, tables["recitations"]), tables


@pytest.mark.parametrize("family", small.FAMILIES[:2])
def test_generations_are_those_of_transformers_from_the_prefix(family: str, tmp_path: Path) -> None:
    """And there is one exactly where the suffix is not given back. A token that is in about every fourth ends documents, too."""
    first = small.save_random(tmp_path / "first", family)
    free = written_by_transformers(first, half_known(first))
    counts = Counter(token for ids in free for token in set(ids))
    often = min(counts, key=lambda token: (abs(counts[token] - 15), token))
    folder = small.save_random(tmp_path / "saved", family, eos_token_id=[0, often])
    windows = half_known(folder, often)
    rows, tables = recited(tmp_path, folder, windows)
    by_name = {r["sequence"]: r for r in rows}
    expected = written_by_transformers(folder, windows)
    for number, (window, ids) in enumerate(zip(windows[:, PREFIX:].tolist(), expected, strict=True)):
        row = by_name.pop(f"w{number:03d}", None)
        assert (row is None) == (ids == window)
        if row is not None:
            assert row["ids"] == ids
            assert row["first_miss"] == next(i for i, (a, b) in enumerate(zip(ids, window, strict=False)) if a != b)
            assert row["ended"] == (ids[-1] in (0, often))
    assert not by_name
    lengths = [len(r["ids"]) for r in rows if r["ended"]]
    assert len(lengths) > 3 and min(lengths) < SUFFIX and len(rows) - len(lengths) > 20
    assert len({r["generation"] for r in rows}) == len({tuple(r["ids"]) for r in rows}), "a name for each distinct one"
    sums = Store(str(tmp_path)).footer(tables["recitations"][0])["sums"]
    assert sums["windows"] == 60 and sums["extracted"] == 60 - len(rows) >= 5
    inside = next(i for i, ids in enumerate(free) if often in ids[1:-2] and len(ids) == SUFFIX)
    window = half_known(first)[inside : inside + 1]
    window[0, PREFIX:] = free[inside]
    window[0, -1] += 1
    (row,), _ = recited(tmp_path / "inside", folder, window)
    assert row["ids"] == free[inside] and row["first_miss"] == SUFFIX - 1, "text that holds such a token is given back with it"
    assert 0 < sums["generated"] < sum(len(r["ids"]) for r in rows), "what the first pass has shown is not generated again"


@settings(max_examples=3)
@given(st.sampled_from(small.FAMILIES), st.integers(0, 2**31), st.integers(1, 11))
def test_whatever_the_network_and_the_prefix_it_is_greedy_decoding(
    models: dict[str, LanguageModel],  # noqa: F811
    family: str,
    seed: int,
    prefix: int,
) -> None:
    model, draw = models[family], np.random.default_rng(seed)
    windows = draw.integers(1, 300, (6, 12))
    for row in windows[:3]:
        row[prefix:] = decoded(model, row[:prefix].tolist(), 12 - prefix)
    windows[1, -1], windows[2, prefix] = (windows[1, -1] + 1) % 300, (windows[2, prefix] + 1) % 300
    scores = score_windows(model, list(windows), [], 512)
    hits, likeliest = (scores["ranks"] == 1).tolist(), scores["likeliest"].tolist()
    missed = missed_windows((str(i), w, prefix, hits[i], likeliest[i]) for i, w in enumerate(windows.tolist()))
    assert "0" not in {m.sequence for m in missed} and {"1", "2"} <= {m.sequence for m in missed}
    for window, rest in zip(missed, write_on(model, missed, 64), strict=True):
        whole = decoded(model, window.ids[:prefix], 12 - prefix)
        end = next((i + 1 for i, token in enumerate(whole) if i >= window.miss - prefix and token in model.ends), len(whole))
        assert [*window.begun, *rest.tokens] == whole[:end]


def test_pieces_slices_and_batches_change_no_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small.save_random(tmp_path / "saved")
    windows = half_known(folder)[20:40]
    whole, _ = recited(tmp_path / "a", folder, windows)
    monkeypatch.setattr(recite, "WINDOWS_AT_ONCE", 4)
    pieces, tables = recited(tmp_path / "b", folder, windows, pieces=3)
    assert pieces == whole and len(tables["recitations"]) == 3
    assert recited(tmp_path / "c", folder, windows, batch_tokens=64)[0] == whole, "four windows, and two with what is left"
    assert RECITE.stages[0].plan(small.study([], memorization={"recite": False}), tables) == []


def test_a_run_that_was_killed_goes_on_inside_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, whole = small.save_random(tmp_path / "saved"), recite.write_on
    windows = half_known(folder)[:10]
    passes: list[int] = []

    def killed_at(last: int) -> None:
        def some(model: LanguageModel, missed: list, batch_tokens: int) -> list:
            if len(passes) == last:
                raise StudyError("killed")
            passes.append(len(missed))
            return whole(model, missed, batch_tokens)

        monkeypatch.setattr(recite, "write_on", some)

    monkeypatch.setattr(recite, "WINDOWS_AT_ONCE", 4)
    killed_at(2)
    with pytest.raises(StudyError, match="killed"):
        recited(tmp_path, folder, windows)
    killed_at(99)
    rows, _ = recited(tmp_path, folder, windows)
    assert passes == [4, 4, 2], "the first eight windows are not generated again"
    monkeypatch.undo()
    assert rows == recited(tmp_path / "whole", folder, windows)[0]


def test_windows_that_are_all_given_back_need_no_generation(tmp_path: Path) -> None:
    folder = small.save_random(tmp_path / "saved")
    rows, tables = recited(tmp_path, folder, half_known(folder)[31::2][:4])
    assert rows == [] and Store(str(tmp_path)).footer(tables["recitations"][0])["sums"]["extracted"] == 4

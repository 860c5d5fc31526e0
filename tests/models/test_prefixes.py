"""Trees give the log-probabilities of each sequence alone; batches and halves lose nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.models import prefixes
from tasks.models.forward_passes import ScoredSequence, log_probabilities
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.models.load import load, repeatable
from tests.models import small

SEQUENCES = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=9), min_size=1, max_size=12)


@settings(deadline=None, max_examples=60)
@given(SEQUENCES, st.integers(1, 40))
def test_a_tree_has_each_sequence_once_and_a_token_sees_only_its_own_beginning(lists: list[list[int]], most: int) -> None:
    sequences = [np.array(s, np.int32) for s in lists]
    found = prefixes.pack(sequences, most, 100)
    assert sorted(m for row in found for m in row.members) == list(range(len(sequences)))
    for row in found:
        seen = prefixes.tree_mask(row.ends[None])[0, 0]
        for member, nodes in zip(row.members, row.nodes, strict=True):
            assert row.ids[nodes].tolist() == lists[member]
            assert row.positions[nodes].tolist() == list(range(len(nodes)))
            for place, node in enumerate(nodes):
                assert np.flatnonzero(seen[node]).tolist() == nodes[: place + 1].tolist()
        assert row.length <= most or len({len(n) for n in row.nodes} | {row.length}) == 1


@settings(deadline=None, max_examples=40)
@given(SEQUENCES, st.integers(1, 60), st.integers(1, 20))
def test_batches_have_every_tree_once_within_the_limits(lists: list[list[int]], most: int, most_targets: int) -> None:
    found = prefixes.pack([np.array(s, np.int32) for s in lists], 20, 100)
    targets = [1 + r.length // 2 for r in found]
    planned = list(prefixes.batches(found, targets, most, most_targets, [0] * len(found)))
    assert sorted(i for b in planned for i in b) == list(range(len(found)))
    for batch in planned:
        assert len(batch) == 1 or len(batch) * max(found[i].length for i in batch) <= most
        assert len(batch) == 1 or sum(targets[i] for i in batch) <= most_targets
        assert len({found[i].chain for i in batch}) == 1


def test_what_is_shared_is_read_once() -> None:
    prompt = list(range(50))
    row = prefixes.pack([np.array(prompt + [60 + i] * 3, np.int32) for i in range(4)], 1000, 512)
    assert [r.length for r in row] == [50 + 4 * 3]
    apart = prefixes.pack([np.array([0, *range(i, i + 50)], np.int32) for i in (100, 200)], 1000, 512)
    assert [r.chain for r in apart] == [True, True]


def scored_sequences(count: int = 30) -> list[ScoredSequence]:
    draw = np.random.default_rng(1)
    beginnings = [np.concatenate([[0], draw.integers(1, 300, n)]) for n in (20, 3, 11)]
    found = []
    for i in range(count):
        ids = np.concatenate([beginnings[i % 3], draw.integers(1, 300, draw.integers(1, 9))])
        found.append(ScoredSequence(ids.astype(np.int32), np.arange(len(ids) - 3, len(ids)), draw.integers(0, 300, 3)))
    return found


def apart(model: LanguageModel, questions: list[ScoredSequence]) -> list[np.ndarray]:
    import torch

    values = []
    for q in questions:
        with torch.no_grad():
            logits = model.network(torch.from_numpy(q.ids[None].astype(np.int64)), use_cache=False).logits[0].double()
        values.append(logits.log_softmax(-1)[torch.from_numpy(q.positions), torch.from_numpy(q.targets)].numpy())
    return values


@pytest.mark.parametrize("family", [*small.FAMILIES, "gpt2", "bloom", "olmo3"])
def test_every_family_is_scored_as_one_by_one(family: str, tmp_path: Path) -> None:
    questions = scored_sequences()
    with repeatable("cpu"):
        model = load(SavedModel(small.save_random(tmp_path / "m", family, context=64)), "o")
        assert model.masks == (family not in ("bloom", "olmo3"))  # positions from elsewhere; attention windows
        found = log_probabilities(model, questions, 512)
        again = log_probabilities(model, questions, 512)
        expected = apart(model, questions)
    assert max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True)) < 1e-4
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


def test_a_row_whose_branches_see_each_other_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small.save_random(tmp_path / "m", context=64)
    monkeypatch.setattr(prefixes, "tree_mask", lambda ends: np.tril(np.ones((len(ends), 1, ends.shape[1], ends.shape[1]), bool)))
    assert not load(SavedModel(folder), "o").masks


def test_when_memory_runs_out_the_batch_is_halved_and_that_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import torch

    questions = scored_sequences()
    with repeatable("cpu"):
        model = load(SavedModel(small.save_random(tmp_path / "m", context=64)), "o")
        expected = log_probabilities(model, questions, 2048)

        def narrow(module: object, args: object, given: dict) -> None:
            if given["input_ids"].numel() > 60:
                raise torch.OutOfMemoryError("CUDA out of memory")

        handle = model.network.register_forward_pre_hook(narrow, with_kwargs=True)
        with caplog.at_level(logging.WARNING, "taskgram.models"):
            found = log_probabilities(model, questions, 2048)
        assert max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True)) < 1e-5
        assert "the batch is halved" in caplog.text
        handle.remove()

        def never(module: object, args: object) -> None:
            torch.empty(1 << 60)  # the allocator's own error

        model.network.register_forward_pre_hook(never)
        with pytest.raises(StudyError, match="not enough memory for a single text"):
            log_probabilities(model, questions[:4], 2048)


def test_an_error_that_is_not_memory_is_not_tried_again(tmp_path: Path) -> None:
    def broken(module: object, args: object) -> None:
        raise RuntimeError("a shape is wrong")

    with repeatable("cpu"):
        model = load(SavedModel(small.save_random(tmp_path / "m", context=64)), "o")
        model.network.register_forward_pre_hook(broken)
        with pytest.raises(RuntimeError, match="a shape is wrong"):
            log_probabilities(model, scored_sequences(4), 2048)

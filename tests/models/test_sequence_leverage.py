"""Leverage of the runs of an ensemble: gradients as autograd has them, no real label in the Fisher matrix, the same bytes again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from schemas import StudyError
from tasks.models.load import repeatable
from tasks.models.sequence_gradients import Projection, SequenceGradients, drawn_labels, real_labels
from tasks.models.sequence_leverage import LEVERAGE_STEP, SETTINGS, RunGradients, gradients_of_run, leverages, outlierness
from tasks.models.training import build
from tasks.statistics.fisher import Fisher, without_block
from tests.models.test_ensemble import Tables, inputs, study, train
from tests.support import read_rows, run_step

WORDS, PREFIX = 40, 4
COPIES = np.array([1, 1, 4, 1, 2, 1, 16, 1, 0, 1, 0, 1])


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    shape = {"hidden": 16, "layers": 2, "heads": 2, "context": 9, "seed": 3}
    made: torch.nn.Module = build(shape, WORDS, 0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return made.eval()


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    words = np.random.default_rng(0).integers(1, WORDS, (len(COPIES), 8))
    return np.concatenate([np.zeros((len(COPIES), 1), np.int64), words], axis=1)


def of_run(network: torch.nn.Module, ids: np.ndarray, **changes: Any) -> RunGradients:
    with repeatable("cpu"):
        return gradients_of_run(network, ids, PREFIX, COPIES, 5, SETTINGS | {"width": 128} | changes)


def test_gradients_are_autograds_one_sequence_at_a_time(network: torch.nn.Module, ids: np.ndarray) -> None:
    batch = torch.from_numpy(ids)
    gradients = SequenceGradients(network, PREFIX)
    log_p, states = gradients.forward(batch)
    made = gradients.backward(real_labels(log_p, batch[:, 1 + PREFIX :]))
    assert made.shape == (len(ids), sum(p.numel() for p in network.parameters())) and states.shape == (len(ids), 4, 16)
    for one, mine, its in zip(batch, made, log_p, strict=True):
        log = torch.log_softmax(network(input_ids=one[None, :-1]).logits[0, PREFIX:], -1)
        assert torch.allclose(log, its, atol=1e-5)
        loss = -log.gather(-1, one[1 + PREFIX :, None]).sum()
        wanted = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(network.parameters()))])
        assert torch.allclose(mine, wanted, atol=1e-4 * float(wanted.abs().max()))


def test_drawn_labels_have_the_covariance_of_the_models_own() -> None:
    log_p = torch.log_softmax(torch.tensor([2.0, 0.0, -1.0, 0.5]), 0)
    p, draws = log_p.exp(), 40_000
    drawn = drawn_labels(log_p.expand(draws, 1, 4), torch.Generator().manual_seed(1))[:, 0]
    assert torch.allclose(drawn.T @ drawn / draws, torch.diag(p) - torch.outer(p, p), atol=0.01)
    assert drawn.mean(0).abs().max() < 0.01 and drawn.sum(-1).abs().max() < 1e-5


def test_a_projection_keeps_products_and_norms_on_average() -> None:
    pair = torch.randn(2, 5000, generator=torch.Generator().manual_seed(2)) + torch.ones(5000) / 2
    exact = (pair @ pair.T).double()
    made = [Projection(5000, 128, np.random.default_rng(seed))(pair) for seed in range(200)]
    products = torch.stack([one @ one.T for one in made])
    errors = products.std(0) / len(made) ** 0.5
    assert ((products.mean(0) - exact).abs() < 3.5 * errors).all() and (products.std(0) < 2 * exact.abs().max() / 128**0.5).all()


def test_leverage_knows_no_label_and_self_influence_does(network: torch.nn.Module, ids: np.ndarray) -> None:
    """The last word of a sequence is a label and never an input. With an empirical Fisher matrix, leverage would change with it."""
    other = ids.copy()
    other[:, -1] = other[:, -1] % (WORDS - 1) + 1
    first, second = (next(leverages(of_run(network, of), [1.0])) for of in (ids, other))
    for name in ("feature", "last_layer", "gauss_newton", "gauss_newton_gap"):
        assert (first[name] == second[name]).all(), name
    for name in ("self_influence", "one_step", "one_step_group"):
        assert (first[name] != second[name]).all(), name


def test_copies_share_leverage(network: torch.nn.Module, ids: np.ndarray) -> None:
    copies = COPIES[COPIES > 0]
    for columns in leverages(of_run(network, ids), SETTINGS["dampings"]):
        assert (columns["gauss_newton"] * copies <= SETTINGS["draws"]).all()  # the rank of what is drawn
        assert (columns["feature"] * copies <= 4).all() and (columns["last_layer"] * copies <= 4 * WORDS).all()
        single = copies == 1
        assert columns["one_step"][single] == pytest.approx(columns["one_step_group"][single])
        assert (columns["one_step"] >= columns["self_influence"]).all()
        assert (columns["one_step_group"][~single] > columns["one_step"][~single]).all()
        if columns["damping"] <= 1:  # more of it hides that others say the same
            assert columns["gauss_newton"][copies == 16].max() < columns["gauss_newton"][single].min()


def test_a_sequence_left_out_of_a_fit_on_last_states(network: torch.nn.Module, ids: np.ndarray) -> None:
    """All copies of a sequence, as a block of its tokens: e₋g = (I − c·H)⁻¹e, against a refit without them."""
    states, copies = of_run(network, ids).states, torch.from_numpy(COPIES[COPIES > 0]).double()
    tokens, y = copies.repeat_interleave(4), torch.randn(len(copies), 4, generator=torch.Generator().manual_seed(4)).double()
    fisher, x = Fisher(states.flatten(0, 1), tokens), states.flatten(0, 1)
    damping = 0.1
    white, penalty = fisher.white(states, damping), damping * float(fisher.values.mean())

    def fit(weights: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve(
            x.T @ (x * weights[:, None]) + penalty * torch.eye(x.shape[1]).double(), x.T @ (weights * y.flatten())
        )

    made = without_block(white @ white.mT, y - states @ fit(tokens), copies)
    for i, errors in enumerate(made):
        kept = (torch.arange(len(copies)) != i).repeat_interleave(4)
        assert (errors - (y[i] - states[i] @ fit(tokens * kept))).abs().max() < 1e-9


def test_two_projections_agree_and_more_labels_agree_better(network: torch.nn.Module, ids: np.ndarray) -> None:
    noise = []
    for draws in (2, 32):
        columns = next(leverages(of_run(network, ids, draws=draws), [1.0]))
        noise.append(np.abs(columns["gauss_newton_gap"]).mean() / columns["gauss_newton"].mean())
    assert noise[1] < noise[0] / 1.5 and noise[1] < 0.3


def test_a_sequence_no_run_has_is_compared_with_those_it_has(network: torch.nn.Module, ids: np.ndarray) -> None:
    of, clusters = of_run(network, ids), np.arange(len(ids))
    made = outlierness(of, clusters)
    assert all(len(v) == len(ids) and np.isfinite(v).all() for v in made.values())
    outside = np.flatnonzero(COPIES == 0)
    assert of.real[0].shape == (len(ids) - len(outside), 128)
    norms = SequenceGradients(network, PREFIX)
    log_p, _ = norms.forward(torch.from_numpy(ids[outside]))
    whole = norms.backward(real_labels(log_p, torch.from_numpy(ids[outside][:, 1 + PREFIX :])))
    assert made["gradient_norm"][outside] == pytest.approx(whole.norm(dim=1).numpy(), rel=1e-5)


def test_a_run_may_be_trained_on_every_sequence(network: torch.nn.Module, ids: np.ndarray) -> None:
    with repeatable("cpu"):
        of = gradients_of_run(network, ids, PREFIX, np.ones(len(ids), np.int64), 5, SETTINGS | {"width": 16})
    assert len(next(leverages(of, [1.0]))["one_step"]) == len(outlierness(of, np.arange(len(ids)))["sparsity"]) == len(ids)


def test_networks_of_other_layers_are_refused() -> None:
    network = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_embd=4, n_layer=1, n_head=1, n_positions=8))
    with pytest.raises(StudyError, match="GPT2LMHeadModel has parameters outside linear layers"):
        SequenceGradients(network, 1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tables]:
    root = tmp_path_factory.mktemp("kept")
    tables = inputs(root) | train(root, keep=2)
    return root, tables | run_step(LEVERAGE_STEP, study(keep=2), root, tables)


def test_kept_runs_have_leverages_of_what_they_are_trained_on(kept: tuple[Path, Tables]) -> None:
    root, tables = kept
    rows, out, runs = (pl.DataFrame(read_rows(root, tables[t])) for t in ("leverage", "outlierness", "ensemble_runs"))
    membership = pl.DataFrame(read_rows(root, tables["membership"])).filter(pl.col("run") < 2)
    assert set(rows["run"]) == set(runs.filter(pl.col("path") != "")["run"]) == {0, 1}
    trained = membership.filter(pl.col("copies") > 0).select("run", "sequence", "copies").rows()
    for damping in SETTINGS["dampings"]:
        assert sorted(rows.filter(damping=damping).select("run", "sequence", "copies").rows()) == sorted(trained)
    assert sorted(out.select("run", "sequence", "copies").rows()) == sorted(membership.select("run", "sequence", "copies").rows())


def test_the_same_bytes_again_whatever_the_threads(kept: tuple[Path, Tables], tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        tables = inputs(tmp_path) | train(tmp_path, keep=2)
        made = run_step(LEVERAGE_STEP, study(keep=2), tmp_path, tables)
    finally:
        torch.set_num_threads(before)
    for name in ("leverage", "outlierness"):
        (mine,), (theirs,) = made[name], kept[1][name]
        assert mine.key == theirs.key
        at = Path(name) / "parts" / f"{mine.key}.parquet"
        assert (tmp_path / at).read_bytes() == (kept[0] / at).read_bytes()


def test_a_study_that_keeps_no_weights_has_no_leverage(kept: tuple[Path, Tables]) -> None:
    assert LEVERAGE_STEP.applies(study(keep=1)) and not LEVERAGE_STEP.applies(study())
    jobs = LEVERAGE_STEP.stages[0].plan(study(keep=2), kept[1])
    assert [dict(job.labels) for job in jobs] == [{"ensemble": "w", "runs": "0-3"}] and json.dumps(jobs[0].settings)

"""Leverage and one Newton step, against refits: linear regressions exactly, softmax regressions as their size allows."""

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats
from statsmodels.api import OLS
from statsmodels.stats.outliers_influence import OLSInfluence

from tasks.statistics.fisher import (
    Fisher,
    kronecker_leverage,
    leverage,
    mahalanobis,
    one_step,
    self_influence,
    sparsity,
    without_block,
)

N, P, NOISE = 40, 5, 0.7


def tensor(values: object) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, np.float64))


def regression(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(N, P)) * random.gamma(1.0, size=(N, 1))
    return x, x @ random.normal(size=P) + NOISE * random.normal(size=N)


def ridge(x: np.ndarray, y: np.ndarray, weights: np.ndarray, penalty: float) -> np.ndarray:
    return np.linalg.solve(x.T @ (x * weights[:, None]) + penalty * NOISE**2 * np.eye(x.shape[1]), x.T @ (weights * y))


def by_refits(x: np.ndarray, y: np.ndarray, copies: np.ndarray, less: np.ndarray, penalty: float) -> np.ndarray:
    """log p(y_i) of a fit to all copies minus that of a fit without `less` of its own."""
    out = []
    for i in range(len(y)):
        fits = [ridge(x, y, copies - part * (np.arange(len(y)) == i) * less, penalty) for part in (0, 1)]
        out.append(np.diff([(y[i] - x[i] @ fit) ** 2 for fit in fits])[0] / (2 * NOISE**2))
    return np.array(out)


def white(x: np.ndarray, y: np.ndarray, copies: np.ndarray, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients [n, p] and rows [n, 1, p] of a linear regression, white."""
    rows = x / NOISE
    fisher, damping = Fisher(tensor(rows), tensor(copies)), penalty * x.shape[1] / (copies[:, None] * rows**2).sum()
    residuals = y - x @ ridge(x, y, copies, penalty)
    return fisher.white(tensor(rows * residuals[:, None] / NOISE), damping), fisher.white(tensor(rows)[:, None], damping)


@pytest.mark.parametrize("penalty", [0.0, 3.0])
@pytest.mark.parametrize("some", [1.0, "all"])
def test_one_step_is_the_refit_of_a_linear_regression(penalty: float, some: object) -> None:
    x, y = regression(1)
    copies = np.random.default_rng(2).integers(1, 6, N).astype(float)
    less = copies if some == "all" else np.ones(N)
    made = one_step(*white(x, y, copies, penalty), tensor(less)).numpy()
    assert made == pytest.approx(by_refits(x, y, copies, less, penalty), abs=1e-10)


def test_leverage_and_press_are_those_of_statsmodels() -> None:
    x, y = regression(3)
    peer = OLSInfluence(OLS(y, x).fit())
    gradients, rows = white(x, y, np.ones(N), 0.0)
    h = leverage(rows)
    assert h.numpy() == pytest.approx(peer.hat_matrix_diag, abs=1e-10) and float(h.sum()) == pytest.approx(P)
    e = tensor(peer.resid)[:, None]
    assert without_block(h[:, None, None], e, torch.ones(N)).numpy()[:, 0] == pytest.approx(peer.resid_press, abs=1e-10)
    e, h = e[:, 0], leverage(rows)
    identity = e**2 / (2 * NOISE**2) * h * (2 - h) / (1 - h) ** 2  # leverage × squared residual
    assert one_step(gradients, rows, torch.ones(N)).numpy() == pytest.approx(identity.numpy(), abs=1e-10)


def test_a_cluster_left_out_by_the_block_formula() -> None:
    x, y = regression(4)
    clusters, copies = np.arange(N).reshape(-1, 4), np.repeat(np.arange(1.0, 11.0), 4)
    residuals, rows = y - x @ ridge(x, y, copies, 2.0), white(x, y, copies, 2.0)[1][:, 0].numpy()
    blocks = tensor([rows[some] @ rows[some].T for some in clusters])
    made = without_block(blocks, tensor(residuals[clusters]), tensor(copies[clusters[:, 0]])).numpy()
    for some, errors in zip(clusters, made, strict=True):
        assert errors == pytest.approx((y - x @ ridge(x, y, copies * ~np.isin(np.arange(N), some), 2.0))[some], abs=1e-9)


def test_copies_follow_their_closed_forms() -> None:
    x, y = regression(5)
    a = (x[1:].T @ x[1:]) / NOISE**2 + 0.5 * np.eye(P)
    q, e0 = x[0] @ np.linalg.solve(a, x[0]) / NOISE**2, y[0] - x[0] @ ridge(x[1:], y[1:], np.ones(N - 1), 0.5)
    for d in (1, 2, 3, 4, 7, 16, 64, 255, 256, 1024):
        copies = np.r_[float(d), np.ones(N - 1)]
        gradients, rows = white(x, y, copies, 0.5)
        one, group = (float(one_step(gradients, rows, tensor(np.full(N, c)))[0]) for c in (1.0, d) if c <= d)
        scale = e0**2 / (2 * NOISE**2)
        assert one == pytest.approx(scale * ((1 + (d - 1) * q) ** -2 - (1 + d * q) ** -2), abs=1e-10)
        assert group == pytest.approx(scale * (1 - (1 + d * q) ** -2), abs=1e-10)
        assert float(leverage(rows)[0]) == pytest.approx(q / (1 + d * q), abs=1e-10) and float(leverage(rows)[0]) <= 1 / d


def test_copies_with_labels_drawn_anew_lose_their_leave_one_out_as_one_over_d() -> None:
    """Each copy has its own label, so that its error stays while its leverage falls: slope −1 at d ≥ 256, not −3."""
    random, x = np.random.default_rng(6), np.ones((1, 1))
    means, counts = [], np.array([256, 512, 1024])
    for d in counts:
        labels = NOISE * random.normal(size=(4000, d))
        rows = Fisher(tensor(x / NOISE), tensor([float(d)])).white(tensor(x / NOISE)[None], 0.0)
        residuals = labels[:, 0] - labels.mean(axis=1)  # of one copy, whose row is that of all
        gradients = tensor(residuals / NOISE)[:, None] * rows[0]
        means.append(float(one_step(gradients, rows.expand(len(labels), 1, 1), torch.ones(len(labels))).mean()))
    assert -1.05 <= np.polyfit(np.log(counts), np.log(means), 1)[0] <= -0.95


# -- softmax regression ------------------------------------------------------------------------------------------------
WORDS, D, EXAMPLES, PENALTY = 4, 3, 60, 0.5


def fit(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float [WORDS, D]: weights of a softmax regression with a ridge penalty."""

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(WORDS, D)
        log_p = special.log_softmax(x @ w.T, axis=1)
        wrong = (np.exp(log_p) - np.eye(WORDS)[y]) * weights[:, None]
        value = -(weights * log_p[np.arange(len(y)), y]).sum() + PENALTY / 2 * (flat**2).sum()
        return value, (wrong.T @ x).ravel() + PENALTY * flat

    return optimize.minimize(loss, np.zeros(WORDS * D), jac=True, method="BFGS", options={"gtol": 1e-9}).x.reshape(WORDS, D)


@pytest.fixture(scope="module")
def softmax() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    x = random.normal(size=(EXAMPLES, D)) * random.gamma(2.0, size=(EXAMPLES, 1))
    y = np.array([random.choice(WORDS, p=special.softmax(row)) for row in x @ random.normal(size=(D, WORDS))])
    w = fit(x, y, np.ones(EXAMPLES))
    p = special.softmax(x @ w.T, axis=1)
    roots = np.sqrt(p)[:, :, None] * (np.eye(WORDS) - p[:, None])  # [examples, labels, logits]: Λ = rootsᵀ roots
    rows = np.einsum("nal,nd->nald", roots, x).reshape(EXAMPLES, WORDS, -1)
    return {"x": x, "y": y, "w": w, "p": p, "rows": rows}


def gradients_of(softmax: dict[str, np.ndarray], y: np.ndarray) -> np.ndarray:
    return np.einsum("nl,nd->nld", softmax["p"] - np.eye(WORDS)[y], softmax["x"]).reshape(EXAMPLES, -1)


def test_leverage_is_self_influence_averaged_over_labels_that_the_model_draws(softmax: dict[str, np.ndarray]) -> None:
    fisher, random = Fisher(tensor(softmax["rows"]).flatten(0, 1), torch.ones(EXAMPLES * WORDS).double()), np.random.default_rng(8)
    h = leverage(fisher.white(tensor(softmax["rows"]), 0.1)).numpy()
    y = (softmax["p"].cumsum(axis=1) > random.random((2000, EXAMPLES, 1))).argmax(axis=2)
    wrong = softmax["p"] - np.eye(WORDS)[y]
    drawn = self_influence(fisher.white(tensor(np.einsum("rnl,nd->rnld", wrong, softmax["x"]).reshape(*y.shape, -1)), 0.1)).numpy()
    z = (drawn.mean(axis=0) - h) / (drawn.std(axis=0) / len(drawn) ** 0.5)
    assert np.abs(z).max() < 3.5 and np.abs(z.mean()) < 3 / EXAMPLES**0.5 and (np.abs(z) < 3).mean() > 0.95


def test_one_step_ranks_as_refits_do_and_leverage_knows_no_label(softmax: dict[str, np.ndarray]) -> None:
    x, y, rows = softmax["x"], softmax["y"], softmax["rows"]
    fisher = Fisher(tensor(rows).flatten(0, 1), torch.ones(EXAMPLES * WORDS).double())
    damping = PENALTY * rows.shape[2] / (rows**2).sum()
    made = one_step(
        fisher.white(tensor(gradients_of(softmax, y)), damping), fisher.white(tensor(rows), damping), torch.ones(EXAMPLES)
    )
    refits = []
    for i in range(EXAMPLES):
        without = special.log_softmax(fit(x, y, (np.arange(EXAMPLES) != i).astype(float)) @ x[i])[y[i]]
        refits.append(np.log(softmax["p"][i, y[i]]) - without)
    assert stats.spearmanr(made.numpy(), refits).statistic > 0.95
    empirical = Fisher(tensor(gradients_of(softmax, y)), torch.ones(EXAMPLES).double())  # the trap: F of real labels
    of_trap = leverage(empirical.white(tensor(gradients_of(softmax, y))[:, None], damping)).numpy()
    true = leverage(fisher.white(tensor(rows), damping)).numpy()
    surprise = -np.log(softmax["p"][np.arange(EXAMPLES), y])
    assert stats.spearmanr(of_trap, surprise).statistic > stats.spearmanr(true, surprise).statistic + 0.3


# -- the other distances -----------------------------------------------------------------------------------------------
def test_a_kronecker_product_gives_what_its_matrix_does() -> None:
    random, n, t = np.random.default_rng(9), 6, 3
    phi, log_p = random.normal(size=(n, t, D)), special.log_softmax(random.normal(size=(n, t, WORDS)) * 2, axis=2)
    copies = np.array([1.0, 2, 1, 4, 1, 1])
    blocks = np.einsum("ntl,lm->ntlm", np.exp(log_p), np.eye(WORDS)) - np.einsum("ntl,ntm->ntlm", np.exp(log_p), np.exp(log_p))
    weights = np.repeat(copies, t).reshape(n, t)
    a, g = np.einsum("nt,ntd,nte->de", weights, phi, phi), np.einsum("nt,ntlm->lm", weights, blocks)
    f = np.kron(a, g) / weights.sum()
    inverse = np.linalg.inv(f + 0.5 * np.trace(f) / len(f) * np.eye(len(f)))
    wanted = [
        sum(np.trace(np.kron(np.outer(u, u), m) @ inverse) for u, m in zip(*both, strict=True))
        for both in zip(phi, blocks, strict=True)
    ]
    assert kronecker_leverage(tensor(phi), tensor(log_p), tensor(copies), 0.5).numpy() == pytest.approx(np.array(wanted))


def test_mahalanobis_is_leverage_with_a_constant() -> None:
    x, _ = regression(10)
    copies = np.random.default_rng(0).integers(1, 4, N)
    design = np.column_stack([np.ones(N), x])
    h = leverage(Fisher(tensor(design), tensor(copies)).white(tensor(design)[:, None], 0.0)).numpy()
    n = copies.sum()
    assert 1 / n + mahalanobis(tensor(x), tensor(copies)).numpy() ** 2 / (n - 1) == pytest.approx(h)
    away = mahalanobis(tensor(np.vstack([x, 9 * x[:1]])), tensor(np.r_[copies, 0])).numpy()  # one that is in no run moves nothing
    assert away[:N] == pytest.approx(mahalanobis(tensor(x), tensor(copies)).numpy()) and away[N] > away[0]


def test_sparsity_looks_at_other_clusters_that_are_present() -> None:
    points = tensor([[1, 0], [1, 0], [0, 1], [1, 1], [-1, 0]])
    clusters, present = torch.tensor([0, 0, 1, 2, 3]), torch.tensor([True, True, True, True, False])
    assert sparsity(points, clusters, present, nearest=1).numpy() == pytest.approx([1 - 0.5**0.5] * 3 + [1 - 0.5**0.5, 1.0])
    assert sparsity(points[:1], clusters[:1], present[:1]).tolist() == [1.0]  # no other


def test_directions_that_no_data_determine_are_left_out() -> None:
    """A singular matrix has a pseudo-inverse; where there is no gradient at all, nothing has leverage."""
    x, y = regression(11)
    gradients, rows = white(np.column_stack([x, x[:, 0]]), y, np.ones(N), 1e-9)
    assert float(leverage(Fisher(rows[:, 0], torch.ones(N).double()).white(rows, 0.0)).sum()) == pytest.approx(P)
    zero = Fisher(torch.zeros(4, 3).double(), torch.ones(4).double())
    for damping in (0.0, 1.0):
        none = zero.white(torch.zeros(4, 1, 3).double(), damping)
        assert leverage(none).tolist() == [0.0] * 4
        assert one_step(none[:, 0], none, torch.ones(4)).tolist() == [0.0] * 4

"""Leverage, self-influence and what a Newton step without some data takes, from rows whose products are a Fisher matrix.

F = Σ cᵢFᵢ, Fᵢ = UᵢᵀUᵢ, with c copies of each example. Rows U are gradients for labels that the model itself draws (the true Fisher
matrix, which is the Gauss-Newton matrix), square roots of exact blocks, or inputs of a regression. With real labels it would be the
*empirical* Fisher matrix, and leverage would know the labels.

    leverage            hᵢ = tr(FᵢF⁻¹) = E[sᵢ] over labels that the model draws;  hᵢ ≤ rank(Fᵢ) / cᵢ
    self-influence      sᵢ = gᵀF⁻¹g, with the real labels
    without c copies    c·gᵀF₋⁻¹g + ½c²·gᵀF₋⁻¹FᵢF₋⁻¹g,  F₋ = F − cFᵢ;  exact where the loss is a parabola

Everything is computed in *white* coordinates, in which F + λ is the identity. λ is a multiple of F's mean eigenvalue tr(F) / k. An
inverse is a pseudo-inverse: directions that no data determine are left out. Linear algebra is torch's, whose bytes do not depend on
the number of threads where it is set to one (`tasks.models.load.repeatable`); NumPy's is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

NO_DIRECTION = 1e-12  # eigenvalues below this share of the largest one are those of no data


class Fisher:
    """F = Σ w uuᵀ over rows u, by its eigenvalues and eigenvectors."""

    def __init__(self, rows: Tensor, weights: Tensor) -> None:
        """rows: float64 [rows, k]; weights: float64 [rows], e.g. copies."""
        import torch

        self.values, self.vectors = torch.linalg.eigh(rows.T @ (rows * weights[:, None]))

    def white(self, rows: Tensor, damping: float) -> Tensor:
        """Rows [..., k] in coordinates in which F + λ is the identity, λ = damping · tr(F) / k."""
        return (rows @ self.vectors) * inverse(self.values, damping).sqrt()


def inverse(values: Tensor, damping: float) -> Tensor:
    """1 / (v + damping · mean of v) for eigenvalues v of any shape; 0 where that is next to nothing."""
    damped = values.clamp(min=0) + damping * values.clamp(min=0).mean()
    largest = damped.max()
    return (damped > NO_DIRECTION * largest).to(values.dtype) / damped.clamp(min=float(largest) * NO_DIRECTION or 1.0)


def leverage(white: Tensor) -> Tensor:
    """tr(FᵢF⁻¹) [examples], of white rows Uᵢ, [examples, rows, k]."""
    return white.square().sum((1, 2))


def self_influence(gradients: Tensor) -> Tensor:
    """gᵀF⁻¹g [examples], of white gradients [examples, k]."""
    return gradients.square().sum(-1)


def without_block(block: Tensor, errors: Tensor, copies: Tensor) -> Tensor:
    """(I − c·H)⁻¹e: errors of some rows in a fit that lacks c copies of them. block: their part H of the hat matrix, for one copy,
    [examples, rows, rows]; errors: [examples, rows]; copies: c, [examples]."""
    import torch

    identity = torch.eye(block.shape[-1], dtype=block.dtype)
    return torch.linalg.solve(identity - copies[:, None, None] * block, errors)


def one_step(gradients: Tensor, white: Tensor, copies: Tensor) -> Tensor:
    """What one Newton step without c copies of an example adds to its loss, [examples], nats. gradients: white [examples, k], with
    real labels; white: rows Uᵢ, [examples, rows, k]; copies: c, [examples]."""
    cross = (white @ gradients[..., None])[..., 0]
    without = without_block(white @ white.mT, cross, copies)
    return copies * (self_influence(gradients) + copies * ((cross * without).sum(-1) + without.square().sum(-1) / 2))


def kronecker_leverage(inputs: Tensor, log_p: Tensor, copies: Tensor, damping: float) -> Tensor:
    """tr(FᵢF⁻¹) [examples] of the layer that makes logits: F = Σ cᵢ · A ⊗ G with A and G the means of φφᵀ and of
    Λ = diag(p) − ppᵀ over tokens. inputs: φ, [examples, tokens, d]; log_p: [examples, tokens, V]; copies: [examples]."""
    import torch

    p, tokens = log_p.exp(), copies.repeat_interleave(inputs.shape[1])
    number = tokens.sum()
    a = Fisher(inputs.flatten(0, 1), tokens / number)
    flat = p.flatten(0, 1) * tokens[:, None] / number
    g_values, g_vectors = torch.linalg.eigh(torch.diag(flat.sum(0)) - flat.T @ p.flatten(0, 1))
    of_inputs = (inputs @ a.vectors).square()
    of_labels = p @ g_vectors.square() - (p @ g_vectors).square()  # diagonals of Λ in G's eigenvectors
    values = number * torch.outer(a.values, g_values)
    return ((of_inputs @ inverse(values, damping)) * of_labels).sum((1, 2))


def mahalanobis(points: Tensor, copies: Tensor) -> Tensor:
    """Distance of each point from the mean of all copies, by their covariance, [points]. points: [points, d]; copies: 0 for a point
    that is in neither. With a constant in the fit, a point's leverage is 1/n + distance² / (n − 1)."""
    n = copies.sum()
    centred = points - (copies[:, None] * points).sum(0) / n
    return Fisher(centred, copies / (n - 1)).white(centred, 0.0).square().sum(-1).sqrt()


def sparsity(points: Tensor, clusters: Tensor, present: Tensor, nearest: int = 5) -> Tensor:
    """1 − mean cosine to the nearest points of other clusters that are present, [points]; 1 if there is none. points: [points, d];
    clusters: int [points]; present: bool [points]."""
    import torch

    unit = torch.nn.functional.normalize(points, dim=-1)
    cosines = (unit @ unit.T).masked_fill((clusters[:, None] == clusters) | ~present, -torch.inf)
    best = cosines.topk(min(nearest, len(points)), dim=-1).values
    neighbours = best.isfinite()
    return 1 - best.where(neighbours, 0.0).sum(-1) / neighbours.sum(-1).clamp(min=1)

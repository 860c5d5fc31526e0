"""The gradient of each sequence of a batch by all parameters of a network: one forward pass, and a backward pass for each set of
labels.

A layer's gradient is made of its inputs and of the gradient of its outputs, sequence by sequence, so that autograd need not be
asked once for each sequence. `Projection` shortens them: each parameter is added to one of k coordinates with a random sign, which
keeps products of gradients in expectation, as a Gaussian matrix does for a thousand times the work (CountSketch).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from schemas import StudyError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class SequenceGradients:
    """Of a network of linear layers, layer norms and embeddings, e.g. GPT-NeoX. Raises StudyError for other parameters."""

    def __init__(self, network: torch.nn.Module, prefix: int) -> None:
        """prefix: tokens whose successors are the first labels."""
        from torch.nn import Embedding, LayerNorm, Linear

        self.network, self.prefix = network.requires_grad_(True), prefix
        self.layers: list[tuple[Any, Tensor, Tensor]] = []  # module, inputs, outputs of the last batch
        self.at, self.parameters = dict[int, slice](), 0
        for parameter in network.parameters():  # tied ones once
            self.at[id(parameter)] = slice(self.parameters, self.parameters + parameter.numel())
            self.parameters += parameter.numel()
        modules = [m for m in network.modules() if isinstance(m, Embedding | LayerNorm | Linear)]
        if set(self.at) != {id(p) for m in modules for p in m.parameters(recurse=False)}:
            raise StudyError(f"{type(network).__name__} has parameters outside linear layers, layer norms and embeddings")
        for module in modules:
            module.register_forward_hook(lambda module, given, out: self.layers.append((module, given[0].detach(), out)))

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(log p of every label, last states) of the tokens that predict the suffix, [sequences, suffix tokens, …]; ids: int64
        [sequences, tokens]."""
        import torch

        self.layers.clear()
        self.logits = self.network(input_ids=ids[:, :-1], use_cache=False).logits
        output = self.network.get_output_embeddings()  # type: ignore[operator]
        states = next(given for module, given, _ in self.layers if module is output)
        return torch.log_softmax(self.logits.detach()[:, self.prefix :], -1), states[:, self.prefix :]

    def backward(self, of_logits: Tensor) -> Tensor:
        """float32 [sequences, parameters]: gradients of the last batch, given those of its logits, as `forward` gives log p."""
        import torch

        whole = torch.zeros_like(self.logits)
        whole[:, self.prefix :] = of_logits
        n = len(whole)
        flat = torch.zeros(n, self.parameters)
        gradients = torch.autograd.grad([self.logits], [out for _, _, out in self.layers], [whole], retain_graph=True)
        for (module, given, _), gradient in zip(self.layers, gradients, strict=True):
            if isinstance(module, torch.nn.Linear):
                flat[:, self.at[id(module.weight)]] += (gradient.mT @ given).flatten(1)
            elif isinstance(module, torch.nn.LayerNorm):
                normal = torch.nn.functional.layer_norm(given, module.normalized_shape, eps=module.eps)
                flat[:, self.at[id(module.weight)]] += (gradient * normal).sum(1)
            else:
                rows = (given + torch.arange(n)[:, None] * module.num_embeddings).flatten()
                table = torch.zeros(n * module.num_embeddings, gradient.shape[-1]).index_add_(0, rows, gradient.flatten(0, 1))
                flat[:, self.at[id(module.weight)]] += table.view(n, -1)
            if getattr(module, "bias", None) is not None:
                flat[:, self.at[id(module.bias)]] += gradient.sum(1)
        return flat


class Projection:
    """Parameters to k coordinates: each to one of them, with a random sign."""

    def __init__(self, parameters: int, width: int, random: np.random.Generator) -> None:
        from scipy import sparse

        rows, signs = random.integers(0, width, parameters), random.choice(np.array([-1.0, 1.0], np.float32), parameters)
        self.matrix = sparse.csr_array((signs, (rows, np.arange(parameters))), (width, parameters))

    def __call__(self, gradients: Tensor) -> Tensor:
        """float64 [sequences, width]; gradients: float32 [sequences, parameters]."""
        import torch

        return torch.from_numpy(self.matrix @ gradients.numpy().T).T.double()


def real_labels(log_p: Tensor, labels: Tensor) -> Tensor:
    """Gradient of −log p of these labels by the logits, shaped as log_p; labels: int64 [sequences, suffix tokens]."""
    import torch

    return log_p.exp() - torch.nn.functional.one_hot(labels, log_p.shape[-1])


def drawn_labels(log_p: Tensor, generator: torch.Generator) -> Tensor:
    """The same for labels drawn from the model: normal numbers with the mean 0 and the covariance Λ = diag(p) − ppᵀ that p − e_y
    has for y drawn from p. So E[ggᵀ] is the true Fisher matrix, too, with less noise: of a suffix that the model is sure of, four
    draws of words are four times the same."""
    import torch

    noise = (log_p / 2).exp() * torch.randn(log_p.shape, generator=generator)
    return noise - log_p.exp() * noise.sum(-1, keepdim=True)

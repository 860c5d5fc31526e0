"""The next token: the likeliest one, or one drawn from the nucleus (arXiv 1904.09751 §3.1).

    V_p: the fewest likeliest tokens whose probabilities, at this temperature, add up to at least top_p
The draw of an answer's t-th token is hash(seed, example, t), so that no other answer of a batch changes it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """temperature = 0: the likeliest token, the first one of several."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def choose(self, logits: "torch.Tensor", examples: Sequence[str], steps: Sequence[int]) -> "tuple[torch.Tensor, torch.Tensor]":
        """int64[rows] from float32[rows, vocabulary], and the highest logits, NaN where any is. `steps`: tokens of each so far."""
        import torch

        if self.temperature == 0:
            best = logits.argmax(dim=-1)
            return best, logits.gather(1, best[:, None])[:, 0]
        hashes = [hash64(f"{self.seed}\0{example}\0{step}") for example, step in zip(examples, steps, strict=True)]
        draws = torch.tensor([(number >> 11) / 2**53 for number in hashes], dtype=torch.float64)
        likelihoods = torch.softmax(logits.double() / self.temperature, dim=-1)
        ordered, tokens = likelihoods.sort(dim=-1, descending=True, stable=True)
        below = ordered.cpu().cumsum(dim=-1)  # on the CPU: sums on a GPU are added in any order
        nucleus = (below < self.top_p).sum(dim=-1).clamp(max=below.shape[-1] - 1)  # index of its last token
        whole = below.gather(1, nucleus[:, None])[:, 0]
        position = torch.searchsorted(below, (draws * whole)[:, None], right=True)[:, 0]
        drawn = tokens.gather(1, torch.minimum(position, nucleus).to(tokens.device)[:, None])[:, 0]
        return drawn, logits.max(dim=-1).values


def hash64(text: str) -> int:
    """64 bits that look random and follow from a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")

"""Shapes of causal language models, and so their numbers of parameters, before their weights are here."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from schemas import StudyError


class Shape(NamedTuple):
    """What decides the number of parameters of a causal language model. `bytes_each`: of a parameter as distributed; `inner`:
    width of the feed-forward layer, 0 for four times `hidden`."""

    hidden: int
    layers: int
    vocabulary: int
    bytes_each: int = 2
    kind: str = "neox"
    inner: int = 0
    tied: bool = False

    @property
    def parameters(self) -> int:
        """All trainable numbers, exactly."""
        h, inner = self.hidden, self.inner or 4 * self.hidden
        embeddings = self.vocabulary * h * (1 if self.tied else 2)
        if self.kind == "neox":  # weights, biases and two norms in each layer, and one norm after the last
            return embeddings + self.layers * (4 * h * h + 2 * h * inner + 9 * h + inner) + 2 * h
        return embeddings + self.layers * (4 * h * h + 3 * h * inner)  # olmo: gated, no biases, norms without weights


_PYTHIA = {
    "14m": (128, 6, 50304),
    "31m": (256, 6, 50304),
    "70m": (512, 6, 50304),
    "160m": (768, 12, 50304),
    "410m": (1024, 24, 50304),
    "1b": (2048, 16, 50304),
    "1.4b": (2048, 24, 50304),
    "2.8b": (2560, 32, 50304),
    "6.9b": (4096, 32, 50432),
    "12b": (5120, 36, 50688),
}
HUB = {f"EleutherAI/pythia-{name}{twin}": Shape(*shape) for name, shape in _PYTHIA.items() for twin in ("", "-deduped")} | {
    "allenai/OLMo-1B-hf": Shape(2048, 16, 50304, 4, "olmo", 8192, tied=True),
    "allenai/OLMo-7B-hf": Shape(4096, 32, 50304, 4, "olmo", 11008),
}


def saved_parameters(path: Path) -> float:
    """How many numbers a safetensors file holds, by its header (8 bytes of length, then JSON). StudyError if it is no such file."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return float(sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"))
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{path}: no safetensors file; copy it again") from None

"""Shapes of causal language models, and so their numbers of parameters, before their weights are here."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from schemas import StudyError


class Shape(NamedTuple):
    """What decides a model's parameters. `bytes_each`: as distributed; `inner`: the feed-forward width, 0 for 4 · `hidden`."""

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


_NAMES = "14m 31m 70m 160m 410m 1b 1.4b 2.8b 6.9b 12b"
_WIDTHS, _LAYERS = (128, 256, 512, 768, 1024, 2048, 2048, 2560, 4096, 5120), (6, 6, 6, 12, 24, 16, 24, 32, 32, 36)
_VOCABULARIES = {"6.9b": 50432, "12b": 50688}  # of the others 50304
HUB = {
    f"EleutherAI/pythia-{name}{twin}": Shape(width, layers, _VOCABULARIES.get(name, 50304))
    for name, width, layers in zip(_NAMES.split(" "), _WIDTHS, _LAYERS, strict=True)
    for twin in ("", "-deduped")
}
HUB["allenai/OLMo-1B-hf"] = Shape(2048, 16, 50304, 4, "olmo", 8192, tied=True)
HUB["allenai/OLMo-7B-hf"] = Shape(4096, 32, 50304, 4, "olmo", 11008)


def saved_parameters(path: Path) -> float:
    """How many numbers a safetensors file holds, by its header (8 bytes of length, then JSON). StudyError if it is no such file."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return float(sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"))
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(f"{path}: no safetensors file; copy it again") from None

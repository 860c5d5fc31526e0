"""A language model in memory, and the checkpoint it is loaded from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import tokenizers
    import torch


@dataclass(frozen=True)
class LanguageModel:
    """A model, ready to score and generate."""

    name: str
    network: "torch.nn.Module"
    tokenizer: "tokenizers.Tokenizer"
    context: int  # most input tokens of one pass
    start: int  # the token before each document in training
    ends: frozenset[int]  # tokens that end a document
    vocabulary: int
    device: str
    hidden: int  # width
    dtype: str = "float32"
    masks: bool = True  # it heeds masks and positions: rows may branch, prompts may be padded at the left
    switches: Sequence[int] = ()  # lengths beyond which positions are computed otherwise; a batch is on one side of each
    alone: bool = False  # logits depend on the other sequences of a batch
    state: str = "past_key_values"  # what carries the state from token to token; "": nothing does
    state_of_one: bool = False  # the state can be that of one sequence only

    def tensor(self, array: np.ndarray) -> "torch.Tensor":
        """An array on the model's device."""
        import torch

        return torch.from_numpy(array).to(self.device)


@dataclass(frozen=True)
class SavedModel:
    """Everything that decides which model is loaded. `device_map` as in accelerate, empty for one device."""

    folder: Path
    dtype: str = "float32"
    device: str = "cpu"
    device_map: str = ""
    allow_pickle_weights: bool = False
    trust_remote_code: bool = False
    key: str = ""  # of its part of `models`, and so of its files

"""Prompts read into a key-value cache, from which each answer goes on token by token.

Prompts of a batch differ in length. They are read in groups of like length, so that little padding is read, and the groups'
caches are put together, padded at the left. What all prompts of a batch begin with, such as examples shown before each
question, is read once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.models.prefixes import common

if TYPE_CHECKING:
    import torch

    from tasks.models.model_in_memory import Loaded

SHARED_AT_LEAST = 16  # tokens that all prompts of a batch begin with, to be read once
READ_AT_ONCE = 2048  # tokens; more at once is no faster, and what they pass through is four times as wide as the network
LIKE = 1.25  # the longest of a group is at most so many times as long as its shortest, and a few tokens


@dataclass(frozen=True)
class Prompt:
    """What an answer begins from: token ids, of which there may follow `new` at most. `name` decides what is drawn."""

    name: str
    separator: str
    ids: np.ndarray  # int32
    new: int


@dataclass
class State:
    """What has been read of a batch. `seen` (int64[rows, read]) is 0 where there is padding; None if there is none."""

    cache: Any
    seen: torch.Tensor | None
    position: torch.Tensor  # int64[rows]: of the next token
    context: int

    def keep(self, rows: Sequence[int]) -> None:
        """Leave out all other rows."""
        import torch

        kept = torch.tensor(rows, device=self.position.device)
        self.cache.batch_select_indices(kept)
        self.position = self.position[kept]
        self.seen = None if self.seen is None else self.seen[kept]

    def next(self, model: Loaded, tokens: torch.Tensor) -> torch.Tensor:
        """Read one more token of each row: int64[rows] to logits[rows, vocabulary]."""
        import torch

        extra: dict[str, Any] = {}
        if self.seen is not None:
            self.seen = torch.cat([self.seen, self.seen.new_ones(len(tokens), 1)], dim=1)
            extra = {"attention_mask": self.seen, "position_ids": self.position[:, None]}
        said = model.network(
            input_ids=tokens[:, None].to(model.device), past_key_values=self.cache, use_cache=True, logits_to_keep=1, **extra
        )
        self.cache = said.past_key_values
        self.position = (self.position + 1).clamp(max=self.context - 1)  # beyond it are only answers that have ended
        return said.logits[:, -1]


def read(model: Loaded, prompts: Sequence[Prompt]) -> tuple[torch.Tensor, State]:
    """Logits[rows, vocabulary] behind each prompt, and the state. Prompts are in the order of their lengths, and all of one
    length if the network takes no masks."""
    import torch

    shared, beginning = _read_shared(model, prompts)
    groups = [
        _read_group(model, [prompts[i].ids[shared:] for i in group], shared, copy.deepcopy(beginning))
        for group in alike([len(p.ids) - shared for p in prompts])
    ]
    position = torch.tensor([min(len(p.ids), model.context - 1) for p in prompts], device=model.device)
    cache, seen = _together([g[1] for g in groups], [g[2] for g in groups])
    padded = not bool(seen.all())
    state = State(cache, torch.from_numpy(seen).to(model.device) if padded else None, position, model.context)
    return torch.cat([g[0] for g in groups]), state


def alike(lengths: Sequence[int]) -> Iterator[range]:
    """Increasing lengths in groups of like length."""
    first = 0
    for index in range(1, len(lengths) + 1):
        end = index == len(lengths)
        if end or lengths[index] > LIKE * lengths[first] + 4 or (index + 1 - first) * lengths[index] > READ_AT_ONCE:
            yield range(first, index)
            first = index


def _read_shared(model: Loaded, prompts: Sequence[Prompt]) -> tuple[int, Any]:
    """How many tokens all prompts begin with, and the cache of them; 0 and None if they are few."""
    import torch

    first = prompts[0].ids
    if not model.masks or len(prompts) == 1:
        return 0, None
    shared = min(len(first) - 1, *(min(common(first, p.ids), len(p.ids) - 1) for p in prompts[1:]))
    if shared < SHARED_AT_LEAST:
        return 0, None
    ids = torch.from_numpy(first[None, :shared].astype(np.int64)).to(model.device)
    return shared, model.network(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values


def _read_group(model: Loaded, rests: Sequence[np.ndarray], shared: int, cache: Any) -> tuple[Any, Any, np.ndarray]:
    """(logits behind, cache, bool[rows, read] without padding) of prompts that go on behind a shared beginning."""
    import torch

    rows, lengths = len(rests), np.array([len(r) for r in rests])
    width = int(lengths.max())
    padding = (width - lengths)[:, None]
    inputs = np.full((rows, width), model.start, np.int64)
    for row, rest in enumerate(rests):
        inputs[row, width - len(rest) :] = rest
    own = np.arange(width)[None, :] >= padding
    seen = np.concatenate([np.ones((rows, shared), bool), own], axis=1)
    extra: dict[str, Any] = {}
    if not own.all():
        positions = np.where(own, shared + np.arange(width)[None, :] - padding, 0)
        extra = {
            "attention_mask": torch.from_numpy(seen.astype(np.int64)).to(model.device),
            "position_ids": torch.from_numpy(positions).to(model.device),
        }
    if cache is not None:
        cache.batch_repeat_interleave(rows)
    said = model.network(
        input_ids=torch.from_numpy(inputs).to(model.device), past_key_values=cache, use_cache=True, logits_to_keep=1, **extra
    )
    return said.logits[:, -1], said.past_key_values, seen


def _together(caches: Sequence[Any], seen: Sequence[np.ndarray]) -> tuple[Any, np.ndarray]:
    """One cache and int64[rows, read] of several, padded at the left to the longest."""
    import torch

    width = max(s.shape[1] for s in seen)
    whole = np.concatenate([np.pad(s, ((0, 0), (width - s.shape[1], 0))) for s in seen]).astype(np.int64)
    if len(caches) == 1:
        return caches[0], whole
    for layers in zip(*(c.layers for c in caches), strict=True):
        for name in ("keys", "values"):
            pads = [torch.nn.functional.pad(v, (0, 0, width - v.shape[-2], 0)) for v in (getattr(x, name) for x in layers)]
            setattr(layers[0], name, torch.cat(pads))
    return caches[0], whole

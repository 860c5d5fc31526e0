"""Prompts read into a key-value cache, from which each answer is continued token by token.

Prompts of a batch differ in length. They are read in groups of similar length, so that little padding is read, and the groups'
caches are joined, padded at the left. A beginning that all prompts of a batch share, such as solved examples, is read once.
"""

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.models.language_model import LanguageModel
from tasks.models.prefixes import common
from tasks.models.probes import side

if TYPE_CHECKING:
    import torch


SHARED_AT_LEAST = 16  # tokens; a shorter common beginning of a batch is not worth a pass of its own
READ_AT_ONCE = 2048  # tokens; more at once is no faster, and its activations are four times as wide as the network
SIMILAR = 1.25  # longest prompt of a group over its shortest, at most, but for a few tokens


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt's token ids, after which at most `new` tokens are generated. `name` seeds the draws of sampling."""

    name: str
    ids: np.ndarray  # int32
    new: int


@dataclass
class DecodingState:
    """All tokens of a batch so far. `seen` (int64[rows, read]) is 0 at padding; None if there is no padding. `cache`: what the
    network carries from token to token; None if it carries nothing, and then `ids` (int64[rows, read]) are read again."""

    cache: Any
    seen: "torch.Tensor | None"
    position: "torch.Tensor"  # int64[rows]: of the next token
    limit: int  # most tokens that a row may have
    ids: "torch.Tensor | None" = None

    def keep(self, rows: Sequence[int]) -> None:
        """Remove all other rows."""
        kept = self.position.new_tensor(rows)
        self.cache.batch_select_indices(kept)
        self.position = self.position[kept]
        self.seen = None if self.seen is None else self.seen[kept]

    def next(self, model: LanguageModel, tokens: "torch.Tensor") -> "torch.Tensor":
        """Read one more token of each row: int64[rows] to logits[rows, vocabulary]."""
        import torch

        if self.ids is not None:
            self.ids = torch.cat([self.ids, tokens[:, None].to(model.device)], dim=1)
            return model.network(input_ids=self.ids, use_cache=False, **last_only(model)).logits[:, -1]
        extra: dict[str, Any] = {}
        if self.seen is not None:
            self.seen = torch.cat([self.seen, self.seen.new_ones(len(tokens), 1)], dim=1)
            extra = {"attention_mask": self.seen, "position_ids": self.position[:, None]}
        given = {model.state: self.cache, "use_cache": True} | last_only(model) | extra
        output = model.network(input_ids=tokens[:, None].to(model.device), **given)
        self.cache = getattr(output, model.state)
        self.position = (self.position + 1).clamp(max=self.limit - 1)  # only answers that have ended go beyond it
        return output.logits[:, -1]


def read_prompts(model: LanguageModel, prompts: Sequence[EncodedPrompt]) -> "tuple[torch.Tensor, DecodingState]":
    """Logits[rows, vocabulary] after each prompt, and the state. Prompts are as `batches` of tasks/models/generate.py has them."""
    import torch

    limit = most_on_its_side(model, len(prompts[-1].ids))
    if not model.state:
        ids = model.tensor(np.stack([p.ids for p in prompts]).astype(np.int64))
        logits = model.network(input_ids=ids, use_cache=False, **last_only(model)).logits[:, -1]
        return logits, DecodingState(None, None, torch.zeros(len(prompts)), limit, ids)
    shared, beginning = _read_shared(model, prompts)
    rests = [p.ids[shared:] for p in prompts]
    groups = (rests[rows.start : rows.stop] for rows in similar([len(rest) for rest in rests]))
    logits, caches, read = zip(*(_read_group(model, g, shared, copy.deepcopy(beginning)) for g in groups), strict=True)
    cache, seen = _joined(caches, read)
    position = model.tensor(np.array([min(len(p.ids), limit - 1) for p in prompts]))
    padding = None if seen.all() else model.tensor(seen)
    return torch.cat(logits), DecodingState(cache, padding, position, limit)


def most_on_its_side(model: LanguageModel, length: int) -> int:
    """The most tokens that a sequence of this length may grow to without passing a switch of the network, or its context."""
    return next((n for n in model.switches if n >= length), model.context)


def last_only(model: LanguageModel) -> dict[str, int]:
    """The argument with which a network computes the logits of the last token only; {} if it knows none."""
    return {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.network.forward).parameters else {}


def similar(lengths: Sequence[int]) -> Iterator[range]:
    """Increasing lengths in groups of similar length."""
    first = 0
    for index in range(1, len(lengths) + 1):
        end = index == len(lengths)
        if end or lengths[index] > SIMILAR * lengths[first] + 4 or (index + 1 - first) * lengths[index] > READ_AT_ONCE:
            yield range(first, index)
            first = index


def _read_shared(model: LanguageModel, prompts: Sequence[EncodedPrompt]) -> tuple[int, Any]:
    """The number of tokens that all prompts begin with, and their cache; 0 and None if they are few."""
    first = prompts[0].ids
    if not model.masks or len(prompts) == 1:
        return 0, None
    shared = min(len(first) - 1, *(min(common(first, p.ids), len(p.ids) - 1) for p in prompts[1:]))
    if shared < SHARED_AT_LEAST or side(model.switches, shared) != side(model.switches, len(first)):
        return 0, None
    ids = model.tensor(first[None, :shared].astype(np.int64))
    return shared, model.network(input_ids=ids, use_cache=True, **last_only(model)).past_key_values


def _read_group(model: LanguageModel, rests: Sequence[np.ndarray], shared: int, cache: Any) -> tuple[Any, Any, np.ndarray]:
    """(logits after the last token, cache, bool[rows, read] without padding) of prompts after their shared beginning."""
    rows, lengths = len(rests), np.array([len(r) for r in rests])
    width = int(lengths.max())
    padding = (width - lengths)[:, None]
    inputs = np.full((rows, width), model.start, np.int64)
    for row, rest in enumerate(rests):
        inputs[row, width - len(rest) :] = rest
    filled = np.arange(width)[None, :] >= padding
    seen = np.concatenate([np.ones((rows, shared), bool), filled], axis=1)
    extra: dict[str, Any] = {}
    if not filled.all():
        positions = np.where(filled, shared + np.arange(width)[None, :] - padding, 0)
        arrays = {"attention_mask": seen.astype(np.int64), "position_ids": positions}
        extra = {name: model.tensor(array) for name, array in arrays.items()}
    if cache is not None:
        cache.batch_repeat_interleave(rows)
        extra[model.state] = cache
    output = model.network(input_ids=model.tensor(inputs), use_cache=True, **last_only(model), **extra)
    return output.logits[:, -1], getattr(output, model.state), seen


def _joined(caches: Sequence[Any], seen: Sequence[np.ndarray]) -> tuple[Any, np.ndarray]:
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

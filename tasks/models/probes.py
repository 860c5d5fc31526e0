"""What a network does, found out by running it on a few tokens, because there are more kinds of networks than anyone can list.

Is it causal? Do logits depend on the other sequences of a batch, or on the longest one? (LongRoPE takes its "long" factors for
every sequence next to a long one.) May rows branch and prompts be padded? What carries the state from token to token?
"""

import inspect
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from schemas import StudyError
from tasks.models import prefixes

if TYPE_CHECKING:
    import torch

STATES = ("past_key_values", "cache_params", "state")  # arguments, and fields of the output, that carry it
REFUSED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
WINDOW = re.compile("(?<!max_)window|local_attention|attention_chunk")  # settings of networks that see nearby tokens only
FLOPS = 2e11  # of a long probe, at most: a few seconds


@dataclass(frozen=True)
class Behavior:
    """What was found. `switches`: lengths beyond which all positions are computed in another way, so that sequences on two sides
    of one may not share a batch. `alone`: no two sequences may. `state`: what carries the state, "" if nothing does, and whether
    it can be that of one sequence only (RWKV mixes up those of several)."""

    masks: bool
    switches: Sequence[int]
    alone: bool
    state: str
    state_of_one: bool


def side(switches: Sequence[int], length: int) -> int:
    """How many switches a sequence of this length is beyond."""
    return bisect_left(switches, length)


@dataclass(frozen=True)
class Probe:
    """A network to try. Ids are below `vocabulary`, positions below `context`."""

    network: Any
    config: Any  # of the text model
    vocabulary: int
    context: int
    device: str

    def behavior(self, name: str) -> Behavior:
        """Everything. Raises StudyError if the network is not causal."""
        import torch

        with torch.inference_mode():
            self.check_causal(name)
            switches: Sequence[int] = sorted({n for n in _originals(self.config.to_dict()) if 0 < n < self.context})
            short, long = self._short, min(512, int(FLOPS / 2 / max(1, sum(p.numel() for p in self.network.parameters()))))
            alone = not self._equal_next_to(self._ids(short), short)
            if not alone and not all(self._side_holds(above, most, long) for above, most in pairwise((0, *switches, self.context))):
                switches = range(1, self.context + 1)
            masks = not alone and self.takes_masks()
            several = "past_key_values" if masks else self._state(2)
            one = "" if several else self._state(1)
            return Behavior(masks, switches, alone, several or one, state_of_one=bool(one))

    def check_causal(self, name: str) -> None:
        """Raises StudyError if another last token moves the logits before it."""
        for length in sorted({min(self.context, 9), min(self.context, 50)} - {1}):
            one, other = self._ids(length), self._ids(length)
            other[-1] = (other[-1] + self.vocabulary // 2 + 1) % self.vocabulary
            before, after = (self._logits(ids[None])[0, :-1] for ids in (one, other))
            moved = float((before - after).abs().nan_to_num(0.0).max())
            if moved > self._allowed(before):
                what = f"another last token moves the logits before it by {moved:.2g}, so a token sees what comes after it"
                model = f"model {name!r} ({self.config.model_type}) is not a causal language model"
                raise StudyError(f"{model}: {what}; leave the model out of the study")

    def takes_masks(self) -> bool:
        """Whether a network heeds positions and masks, so that rows may branch and prompts may be padded at the left. Logits of a
        row with branches, and of a padded prompt with its key-value cache, must be those of each sequence alone. Networks with
        attention windows or recurrent states do not qualify."""
        kinds = getattr(self.config, "layer_types", None)
        windows = [v for k, v in self.config.to_dict().items() if WINDOW.search(k) and isinstance(v, int)]
        local = any(k != "full_attention" for k in kinds) if kinds else any(windows)
        stateful = getattr(self.network, "_is_stateful", False)
        if local or stateful or not {"position_ids", "past_key_values"} <= self._arguments or self.context < 12:
            return False
        left, right = (self._ids(9, seed) for seed in (1, 5))
        right[:4] = left[:4]
        sequences = sorted((left, right), key=lambda s: s.tolist())
        tree, (first, second) = prefixes.prefix_tree(sequences, [0, 1]), sequences

        apart = [self._logits(s[None])[0, -1] for s in (first, second)]
        branches = {"position_ids": tree.positions.astype(np.int64)[None], "attention_mask": prefixes.tree_mask(tree.ends[None])}
        seen, padding = np.array([[0] * 3 + [1] * 9]), [0] * 3
        prompt = {"input_ids": [[*padding, *first[:-1]]], "position_ids": [[*padding, *range(8)]], "attention_mask": seen[:, :-1]}
        try:
            both = self._logits(tree.ids.astype(np.int64)[None], **{n: self._tensor(v) for n, v in branches.items()})
            cache = self.network(**{n: self._tensor(v) for n, v in prompt.items()}, use_cache=True).past_key_values
            cache.batch_repeat_interleave(2)
            cache.batch_select_indices(self._tensor([1]))
            state = {"past_key_values": cache, "use_cache": True, "attention_mask": self._tensor(seen)}
            padded = self._logits(first[None, -1:], position_ids=self._tensor([[8]]), **state)[0, -1]
        except REFUSED:
            return False
        together = [both[0, int(nodes[-1])] for nodes in tree.nodes]
        return all(self._equal(a, b) for a, b in zip([*apart, apart[0]], [*together, padded], strict=True))

    @property
    def _short(self) -> int:
        return min(9, self.context)

    @property
    def _arguments(self) -> set[str]:
        return set(inspect.signature(self.network.forward).parameters)

    def _ids(self, length: int, seed: int = 1) -> np.ndarray:
        return (7 * np.arange(length, dtype=np.int64) ** 2 + seed) % self.vocabulary

    def _logits(self, ids: np.ndarray, **more: Any) -> "torch.Tensor":
        """float32[rows, tokens, vocabulary] of int64[rows, tokens]."""
        return self.network(**{"input_ids": self._tensor(ids), "use_cache": False} | more).logits.float()

    def _tensor(self, values: Any) -> "torch.Tensor":
        import torch

        return torch.from_numpy(np.array(values)).to(self.device)

    def _allowed(self, logits: "torch.Tensor") -> float:
        """The largest difference that rounding explains."""
        return (1e-4 if str(self.network.dtype) == "torch.float32" else 0.1) * max(1.0, float(logits.std()))

    def _equal(self, one: "torch.Tensor", other: "torch.Tensor") -> bool:
        """Logits that are not finite are somebody else's business: nothing can be learnt from them."""
        difference = float((one - other).abs().max())
        return difference <= self._allowed(one) or difference != difference

    def _equal_next_to(self, ids: np.ndarray, length: int) -> bool:
        """Whether a sequence's logits are the same next to another sequence, of this length."""
        padded = np.concatenate([ids, np.full(length - len(ids), ids[0])])
        together = self._logits(np.stack([padded, self._ids(length, 5)]))
        return self._equal(self._logits(ids[None])[0], together[0, : len(ids)])

    def _side_holds(self, above: int, most: int, long: int) -> bool:
        """Whether sequences of above < length <= most may share a batch, as far as it can be tried: real lengths up to `long`, and
        a few tokens at far positions, which is as good for networks that look at the largest one."""
        length = min(above + self._short, most)
        if length <= max(long, self._short):
            lengths = sorted({min(most, n) for n in (length + 7, length + 41, long) if n > length} - {length})
            if not all(self._equal_next_to(self._ids(length), n) for n in lengths if n <= max(long, 50)):
                return False
        ids, starts = self._ids(self._short), (max(0, min(above, most - self._short)), max(0, most - self._short))
        positions = np.array([np.arange(s, s + self._short) for s in starts])
        if "position_ids" not in self._arguments:
            return True
        try:
            apart = self._logits(ids[None], position_ids=self._tensor(positions[:1]))[0]
            return self._equal(apart, self._logits(np.stack([ids, ids]), position_ids=self._tensor(positions))[0])
        except REFUSED:  # fewer positions than its configuration says
            return True

    def _state(self, rows: int) -> str:
        """What carries the state, so that tokens read one after the other have the logits of those read together."""
        ids = np.stack([self._ids(min(self.context, 30), seed) for seed in range(1, 1 + rows)])
        whole = self._logits(ids)[:, -1]
        for name in STATES:
            given: dict[str, Any] = {"use_cache": True}
            try:
                for piece in np.split(ids, [-2, -1], axis=1):
                    out = self.network(input_ids=self._tensor(piece), **given)
                    given[name] = getattr(out, name)
                if given[name] is not None and self._equal(whole, out.logits[:, -1].float()):
                    return name
            except REFUSED:
                continue
        return ""


def _originals(values: Mapping[str, Any]) -> Iterator[int]:
    """Every original_max_position_embeddings of a configuration."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _originals(value)
        elif key == "original_max_position_embeddings" and isinstance(value, int):
            yield value

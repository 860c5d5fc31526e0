"""Forward passes: token sequences in, log-probabilities of chosen tokens out (float32 log-softmax, in nats).

Only wanted positions reach the output embedding: its product with a vocabulary of 50,000 is most of the work of a small
model. When memory runs out, a batch is halved and tried again, and that is logged.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from schemas import StudyError
from tasks.models import prefixes

if TYPE_CHECKING:
    import torch

    from tasks.models.model_in_memory import Loaded

LOGITS_AT_ONCE = 1 << 26  # numbers in one pass's logits: 256 MB
log = logging.getLogger("taskgram.models")
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Asked:
    """A sequence, and what is asked of it: log p of targets[k] behind its token at places[k]."""

    ids: np.ndarray  # int32[tokens]
    places: np.ndarray  # int64[targets], increasing
    targets: np.ndarray  # int64[targets]


def log_probabilities(model: Loaded, asked: Sequence[Asked], batch_tokens: int) -> list[np.ndarray]:
    """float32[targets] for each sequence; what sequences share at their beginning is run once, where the network allows it.

    Rows and batches follow from the sequences alone, so the bytes do not depend on who else runs. Raises StudyError if not
    even one sequence fits the memory.
    """
    sequences = [a.ids for a in asked]
    found = prefixes.rows(sequences, batch_tokens, 2 * model.hidden) if model.masks else prefixes.alone(sequences)
    wanted = [
        len({int(n) for m, nodes in zip(r.members, r.nodes, strict=True) for n in nodes[asked[m].places]}) for r in found
    ]
    values: list[np.ndarray] = [np.zeros(0, np.float32)] * len(asked)
    for batch in prefixes.batches(found, wanted, batch_tokens, max(1, LOGITS_AT_ONCE // model.vocabulary)):
        chosen = [found[i] for i in batch]
        for rows, result in within_memory(
            model, chosen, lambda rows: _forward(model, rows, asked), lambda row: prefixes.split(row, sequences)
        ):
            for member, value in zip((m for row in rows for m in row.members), result, strict=True):
                values[member] = value
    return values


def _forward(model: Loaded, rows: Sequence[prefixes.Row], asked: Sequence[Asked]) -> list[np.ndarray]:
    """One pass. Padding stands at the right end, where no token of a row sees it."""
    import torch

    longest = max(row.length for row in rows)
    ids, positions = np.full((len(rows), longest), model.start, np.int64), np.zeros((len(rows), longest), np.int64)
    ends = np.tile(np.arange(1, longest + 1, dtype=np.int32), (len(rows), 1))
    places: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for i, row in enumerate(rows):
        ids[i, : row.length], positions[i, : row.length], ends[i, : row.length] = row.ids, row.positions, row.ends
        for member, nodes in zip(row.members, row.nodes, strict=True):
            places.append(i * longest + nodes[asked[member].places].astype(np.int64))
            targets.append(asked[member].targets)
    unique, inverse = np.unique(np.concatenate(places), return_inverse=True)  # options that begin alike share logits
    extra: dict[str, Any] = {}
    if not all(row.chain for row in rows):
        extra = {
            "attention_mask": torch.from_numpy(prefixes.mask(ends)).to(model.device),
            "position_ids": torch.from_numpy(positions).to(model.device),
        }
    with only(model.network, unique // longest, unique % longest) as selected:
        out = model.network(input_ids=torch.from_numpy(ids).to(model.device), use_cache=False, **extra)
        logits = torch.log_softmax(selected(out.logits).float(), dim=-1)
    at = [torch.from_numpy(a).to(logits.device) for a in (inverse, np.concatenate(targets))]
    values = logits[at[0], at[1]].cpu().numpy()
    return np.split(values, np.cumsum([len(t) for t in targets])[:-1])


@contextmanager
def only(network: Any, row: np.ndarray, column: np.ndarray) -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    """Inside, the output embedding sees the hidden states at (row, column) alone; yields what takes them from the logits."""
    import torch

    chosen = [torch.from_numpy(np.ascontiguousarray(a)) for a in (row, column)]
    used: list[bool] = []

    def select(_: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        used.append(True)
        return (given[0][chosen[0].to(given[0].device), chosen[1].to(given[0].device)][None], *given[1:])

    head = network.get_output_embeddings()
    handle = head.register_forward_pre_hook(select) if head is not None else None
    try:
        yield lambda logits: logits[0] if used else logits[chosen[0].to(logits.device), chosen[1].to(logits.device)]
    finally:
        if handle is not None:
            handle.remove()


def within_memory(
    model: Loaded,
    items: Sequence[Item],
    attempt: Callable[[list[Item]], Result],
    split: Callable[[Item], list[Item]] = lambda item: [],
) -> Iterator[tuple[list[Item], Result]]:
    """(items, attempt(items)) for all items together or, where memory runs out, for the halves of a batch.

    `split` takes a single item apart. Raises StudyError if a single one that cannot be taken apart does not fit.
    """
    waiting = [list(items)]
    while waiting:
        batch, failed = waiting.pop(), ""
        try:
            result = attempt(batch)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            failed = str(error).strip().split("\n")[0] or type(error).__name__
        if not failed:
            yield batch, result
            continue
        half = len(batch) // 2
        halves = [batch[:half], batch[half:]] if half else [[part] for part in split(batch[0])]
        if not halves:
            raise StudyError(
                f'model {model.name!r} has no memory for a single text ({failed}); set dtype = "bfloat16" or '
                "another device under [scoring], or give workers more memory"
            )
        log.warning("model %r: out of memory (%s); the batch is halved and tried again", model.name, failed)
        _release(model.device)
        waiting += reversed(halves)


def out_of_memory(error: BaseException) -> bool:
    """Whether torch, on a GPU or on the CPU, or Python could not get memory."""
    import torch

    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in said or "alloc_cpu" in said


def _release(device: str) -> None:
    """What the failed attempt held."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def takes_masks(network: Any, config: Any, device: str) -> bool:
    """Whether a network heeds positions and masks, so that rows may branch and prompts may be padded at the left.

    Asked of the network itself, because positions are of many kinds: logits of a row with branches, and of a padded prompt
    with its key-value cache, must be those of each sequence alone. Windows of attention, and states that run on, are out.
    """
    import inspect

    import torch

    kinds = getattr(config, "layer_types", None)
    local = any(k != "full_attention" for k in kinds) if kinds else bool(getattr(config, "sliding_window", None))
    known = inspect.signature(network.forward).parameters
    if local or getattr(network, "_is_stateful", False) or not {"position_ids", "past_key_values"} <= set(known):
        return False
    size = config.vocab_size
    left, right = ([(7 * i * i + s) % size for i in range(9)] for s in (1, 5))
    right[:4] = left[:4]
    sequences = [np.array(s, np.int32) for s in sorted((left, right))]
    row = prefixes.plant(sequences, [0, 1])

    def tensor(values: Any) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.long, device=device)[None]

    def logits(**given: Any) -> torch.Tensor:
        return network(**given).logits[0, -1].float()

    with torch.inference_mode():
        apart = [logits(input_ids=tensor(s), use_cache=False) for s in sequences]
        try:
            mask = torch.from_numpy(prefixes.mask(row.ends[None])).to(device)
            both = network(
                input_ids=tensor(row.ids), position_ids=tensor(row.positions), attention_mask=mask, use_cache=False
            )
            together = [both.logits[0, int(nodes[-1])].float() for nodes in row.nodes]
            cache = network(
                input_ids=tensor([0] * 3 + sequences[0][:-1].tolist()),
                use_cache=True,
                position_ids=tensor([0] * 3 + list(range(8))),
                attention_mask=tensor([0] * 3 + [1] * 8),
            ).past_key_values
            cache.batch_repeat_interleave(2)
            cache.batch_select_indices(torch.tensor([1], device=device))
            padded = logits(
                input_ids=tensor(sequences[0][-1:]),
                position_ids=tensor([8]),
                past_key_values=cache,
                attention_mask=tensor([0] * 3 + [1] * 9),
                use_cache=True,
            )
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
            return False
        allowed = (1e-4 if apart[0].dtype == network.dtype else 0.1) * max(1.0, float(apart[0].std()))
        return all(
            float((a - b).abs().max()) <= allowed for a, b in zip([*apart, apart[0]], [*together, padded], strict=True)
        )

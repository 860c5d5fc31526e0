"""Forward passes: token sequences in, log-probabilities of chosen tokens out (float32 log-softmax, in nats).

Only the positions of these tokens reach the output embedding, because its product with a vocabulary of 50,000 is most of the
work of a small model. When memory runs out, a batch is halved and tried again, and that is logged.
"""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from schemas import StudyError
from tasks.models import prefixes
from tasks.models.language_model import LanguageModel
from tasks.models.probes import side

if TYPE_CHECKING:
    import torch


LOGITS_AT_ONCE = 1 << 26  # numbers in one pass's logits: 256 MB
# What errors say that are not torch.OutOfMemoryError: the CPU's allocators, CUDA outside torch's own allocator, cuBLAS.
NO_MEMORY = ("DefaultCPUAllocator", "alloc_cpu", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
log = logging.getLogger("taskgram.models")
Item = TypeVar("Item")
Result = TypeVar("Result")
Split = Callable[[Item], list[Item]]


@dataclass(frozen=True)
class ScoredSequence:
    """A sequence, and what is scored in it: log p of targets[k] after its token at positions[k]."""

    ids: np.ndarray  # int32[tokens]
    positions: np.ndarray  # int64[targets], increasing
    targets: np.ndarray  # int64[targets]


def log_probabilities(model: LanguageModel, scored: Sequence[ScoredSequence], batch_tokens: int) -> list[np.ndarray]:
    """float32[targets] for each sequence; a beginning that sequences share is run once, if the network allows it. Trees and batches
    follow from the sequences alone, so the bytes do not depend on what else runs. A batch has sequences on one side of each of the
    network's switches. Raises StudyError if not even one sequence fits into memory."""
    sequences, most = [s.ids for s in scored], 1 if model.alone else batch_tokens
    sides = [side(model.switches, len(ids)) for ids in sequences]
    tree = partial(prefixes.prefix_tree, sequences)
    trees = prefixes.pack(sequences, most, 2 * model.hidden, sides) if model.masks else [tree([i]) for i in range(len(sequences))]
    targets = [len(np.unique(np.concatenate([nodes[scored[m].positions] for m, nodes in t.paths]))) for t in trees]
    values: list[np.ndarray] = [np.zeros(0, np.float32)] * len(scored)
    of_trees = [sides[t.members[0]] for t in trees]
    forward, halve = partial(_forward, model, scored), partial(prefixes.halves, sequences)
    for batch in prefixes.batches(trees, targets, most, max(1, LOGITS_AT_ONCE // model.vocabulary), of_trees):
        for rows, result in within_memory(model, [trees[i] for i in batch], forward, halve):
            for member, value in zip((m for tree in rows for m in tree.members), result, strict=True):
                values[member] = value
    return values


def _forward(model: LanguageModel, scored: Sequence[ScoredSequence], rows: Sequence[prefixes.PrefixTree]) -> list[np.ndarray]:
    """One pass, a tree per row. Padding is at the right end, where no token of a row sees it."""
    longest = max(row.length for row in rows)
    ids, positions = np.full((len(rows), longest), model.start, np.int64), np.zeros((len(rows), longest), np.int64)
    ends = np.tile(np.arange(1, longest + 1, dtype=np.int32), (len(rows), 1))
    at: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for i, row in enumerate(rows):
        ids[i, : row.length], positions[i, : row.length], ends[i, : row.length] = row.ids, row.positions, row.ends
        for member, nodes in row.paths:
            at.append(i * longest + nodes[scored[member].positions].astype(np.int64))
            targets.append(scored[member].targets)
    unique, inverse = np.unique(np.concatenate(at), return_inverse=True)  # options that begin alike share logits
    extra: dict[str, Any] = {}
    if not all(row.chain for row in rows):
        arrays = {"attention_mask": prefixes.tree_mask(ends), "position_ids": positions}
        extra = {name: model.tensor(array) for name, array in arrays.items()}
    with logits_only_at(model.network, unique // longest, unique % longest) as selected:
        out = model.network(input_ids=model.tensor(ids), use_cache=False, **extra)
        logits = selected(out.logits).float().log_softmax(dim=-1)
    values = logits[inverse, np.concatenate(targets)].cpu().numpy()
    return np.split(values, np.cumsum([len(t) for t in targets])[:-1])


@contextmanager
def logits_only_at(network: Any, row: np.ndarray, column: np.ndarray) -> "Iterator[Callable[[torch.Tensor], torch.Tensor]]":
    """Inside, only the hidden states at (row, column) reach the output embedding; yields what selects their logits of a pass."""
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
    model: LanguageModel, items: Sequence[Item], attempt: Callable[[list[Item]], Result], split: Split[Item] = lambda item: []
) -> Iterator[tuple[list[Item], Result]]:
    """(items, attempt(items)) for all items together or, if memory runs out, for the halves of a batch. `split` cuts a single item.
    Raises StudyError if a single one that cannot be cut does not fit."""
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
            remedy = 'set dtype = "bfloat16" or another device under [scoring], or give workers more memory'
            raise StudyError(f"model {model.name!r} has not enough memory for a single text ({failed}); {remedy}")
        log.warning("model %r: out of memory (%s); the batch is halved and tried again", model.name, failed)
        release(model.device)
        waiting += reversed(halves)


def not_finite(model: LanguageModel, what: str, remedy: str = "another checkpoint") -> StudyError:
    """The error for logits or log-probabilities that are not finite."""
    return StudyError(f'model {model.name!r} gives {what} that are not finite; try dtype = "float32" under [scoring], or {remedy}')


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that torch, on a GPU or the CPU, or Python ran out of memory."""
    import torch

    message = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in message for words in NO_MEMORY)


def release(device: str) -> None:
    """Free the memory that nothing uses any more. A device is "cpu", "cuda" or "cuda:0"."""
    import torch

    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()

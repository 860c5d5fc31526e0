"""A permanent check: a drawn hundredth of each part is computed again one sequence at a time, and must be the same.

What a model says of a text must not depend on which other texts share its batch. Networks are tried out before they are used
(`tasks.models.probes`); this finds what a few tokens cannot show.
"""

from collections.abc import Sequence

import numpy as np

from schemas import StudyError
from tasks.models.language_model import LanguageModel
from tasks.models.probes import side
from tasks.models.sampling import hash64

SHARE = 0.01
ALLOWED = {"float32": 1e-3, "float16": 0.1, "bfloat16": 0.8}  # nats; with 16 bits, a hundred times the rounding of 1


def drawn(key: str, first: int, count: int) -> list[int]:
    """A hundredth of `count` indices, at least one, drawn by the key of the part and where in it they begin."""
    return sorted(np.random.default_rng(hash64(f"{key}\0{first}")).permutation(count)[: max(1, round(SHARE * count))].tolist())


def compare(model: LanguageModel, name: str, in_batch: Sequence[float] | np.ndarray, alone: np.ndarray) -> None:
    """Raises StudyError if the values of a text's tokens in a batch are not those it has alone."""
    apart = np.abs(np.asarray(in_batch, float) - alone.astype(float))
    most = ALLOWED.get(model.dtype, ALLOWED["bfloat16"])
    if not (apart <= most).all():
        worst = int(np.nan_to_num(apart, nan=np.inf).argmax())
        wider = "" if model.dtype == "float32" else 'dtype = "float32" or '
        both = f"{in_batch[worst]:.4f} in it and {alone[worst]:.4f} alone, {apart[worst]:.2g} nats apart, allowed are {most:g}"
        remedy = f"set {wider}a smaller batch_tokens under [scoring], or leave the model out of the study"
        raise StudyError(f"{name}: what model {model.name!r} says depends on the batch: token {worst + 1} has {both}; {remedy}")


def logits_of(model: LanguageModel, prompt: Sequence[int], tokens: Sequence[int]) -> np.ndarray:
    """float32[tokens]: the logit of each generated token, from passes over all tokens before it, without a cache."""
    import torch

    whole, values = [*prompt, *tokens], np.zeros(len(tokens), np.float32)
    lengths = np.arange(len(prompt), len(whole))
    sides = np.array([side(model.switches, int(n)) for n in lengths])
    with torch.inference_mode():
        for which in np.unique(sides):
            mine = lengths[sides == which]
            ids = model.tensor(np.array([whole[: mine[-1]]]))
            logits = model.network(input_ids=ids, use_cache=False).logits[0]
            values[sides == which] = logits[mine - 1, np.array(whole)[mine]].float().cpu().numpy()
    return values

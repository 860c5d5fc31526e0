"""Saved models: the files a folder must have, how a model is loaded, and how torch is configured so that bytes repeat.

Weights are safetensors, and no code that comes with a model is run, unless the study allows it for a model.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import StudyError
from tasks.models.forward_passes import out_of_memory, takes_masks
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.text.bpe.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch


PICKLES = "pytorch_model*.bin"


def model_files(folder: Path, name: str, allow_pickle_weights: bool = False) -> list[Path]:
    """config.json, tokenizer.json and the weights of a saved model, in name order: safetensors, or pickles if allowed.

    Raises StudyError that names the missing file and how to make it.
    """
    if not folder.is_dir():
        raise StudyError(
            f"model {name!r}: there is no folder {folder}; set `path` to a folder with config.json, "
            "model.safetensors and tokenizer.json"
        )
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise StudyError(
                f"model {name!r}: {folder} has no {needed}; save the model and its fast tokenizer there with save_pretrained"
            )
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if not weights and allow_pickle_weights:
        weights, index = sorted(folder.glob(PICKLES)), folder / "pytorch_model.bin.index.json"
    if not weights:
        pickles = " (its .bin files are pickles, which are opened only if the model has allow_pickle_weights = true)"
        pickles = pickles if list(folder.glob("*.bin")) else ""
        raise StudyError(f"model {name!r}: {folder} has no .safetensors file{pickles}; save the model with save_pretrained")
    if index.is_file():
        missing = sorted(set(_json(index, name)["weight_map"].values()) - {w.name for w in weights})
        if missing:
            raise StudyError(f"model {name!r}: {folder} lacks {', '.join(missing)}, which {index.name} names; copy it again")
    return [folder / "config.json", *([index] if index.is_file() else []), folder / "tokenizer.json", *weights]


def check_finite(weights: list[Path], name: str) -> None:
    """Open every file of weights and every tensor in it; StudyError if one is broken or not finite."""
    import torch
    from safetensors import SafetensorError

    for path in weights:
        try:
            for tensor, value in _tensors(path):
                if value.is_floating_point() and not torch.isfinite(value).all():
                    raise StudyError(
                        f"model {name!r}: {path}: tensor {tensor} has values that are not finite; "
                        "use another checkpoint, or copy the file again"
                    )
        except (SafetensorError, OSError) as error:
            raise StudyError(f"model {name!r}: {path} cannot be read: {error}; copy the file again") from None


def _tensors(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Name and value of each tensor. A pickle may contain tensors only; nothing else in it is run."""
    import torch
    from safetensors import safe_open

    if path.suffix == ".bin":
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # of zip files, of what is not allowed in them, …
            raise OSError(str(error).split("\n")[0]) from None
        yield from tensors.items()
        return
    with safe_open(path, framework="pt") as file:
        for tensor in file.keys():  # noqa: SIM118 - not a mapping
            yield tensor, file.get_tensor(tensor)


def count_parameters(folder: Path, name: str, trust_remote_code: bool = False) -> tuple[int, int]:
    """(all, without input and output embeddings) from config.json alone; tied weights count once."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        config = _config(folder, name, trust_remote_code)
        network = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    network.tie_weights()
    return parameters_of(network)


def parameters_of(network: torch.nn.Module) -> tuple[int, int]:
    """(all, without input and output embeddings) of a network; tied weights count once."""
    ends = [network.get_input_embeddings(), network.get_output_embeddings()]  # type: ignore[operator]
    outer = {id(p) for module in ends if module is not None for p in module.parameters()}
    sizes = [(id(p) in outer, p.numel()) for p in network.parameters()]
    return sum(n for _, n in sizes), sum(n for embeds, n in sizes if not embeds)


_LAST: dict[SavedModel, LanguageModel] = {}  # of this process; at most one


def load_once(checkpoint: SavedModel, name: str) -> LanguageModel:
    """As `load`; the last model stays in memory until another one is loaded, because jobs in a row often use the same."""
    if checkpoint not in _LAST:
        if _LAST:
            _LAST.clear()
            gc.unfreeze()  # jobs freeze the objects that are alive after them, and a network refers to itself
            gc.collect()
        _LAST[checkpoint] = load(checkpoint, name)
    return replace(_LAST[checkpoint], name=name)


def load(checkpoint: SavedModel, name: str) -> LanguageModel:
    """The model of a checkpoint, in evaluation mode.

    Raises StudyError if weights are missing or do not fit config.json, or the tokenizer does not fit the network.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    folder, device = checkpoint.folder, checkpoint.device
    files = model_files(folder, name, checkpoint.allow_pickle_weights)
    config = _config(folder, name, checkpoint.trust_remote_code)
    try:
        network_and_info: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, checkpoint.dtype),
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=checkpoint.trust_remote_code,
            use_safetensors=not any(f.suffix == ".bin" for f in files),
            **_spread(checkpoint),
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        if out_of_memory(error):
            raise StudyError(
                f'model {name!r}: {folder} does not fit into the memory of {device}; set dtype = "bfloat16" or '
                'device_map = "auto" under [scoring], or give workers more memory'
            ) from None
        raise StudyError(f"model {name!r}: {folder} cannot be loaded: {error}; save it again") from None
    network, info = network_and_info
    wrong = sorted(str(k) for kind in ("missing_keys", "mismatched_keys") for k in info.get(kind, ()))
    if wrong:  # transformers would use random numbers instead
        raise StudyError(f"model {name!r}: {folder}: the weights do not fit config.json: {', '.join(wrong[:5])}; save it again")
    tokenizer_file = next(f for f in files if f.name == "tokenizer.json")
    tokenizer = load_tokenizer(tokenizer_file.read_text(encoding="utf-8"), f"model {name!r}: {tokenizer_file}")
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise StudyError(
            f"model {name!r}: tokenizer.json has {tokenizer.get_vocab_size()} tokens, the network only "
            f"{config.vocab_size}; put the tokenizer it was trained with into {folder}"
        )
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    start = config.bos_token_id if config.bos_token_id is not None else ends[0]
    if start is None:
        raise StudyError(
            f"model {name!r}: config.json names neither bos_token_id nor eos_token_id; add the token that "
            "came before each document in training"
        )
    context = getattr(config, "max_position_embeddings", None) or 2048
    network.eval().requires_grad_(False)
    if not checkpoint.device_map:
        network.to(device)
    inputs = str(network.get_input_embeddings().weight.device)
    hidden = getattr(config, "hidden_size", None) or 1024
    end_tokens = frozenset(e for e in ends if e is not None)
    masks = takes_masks(network, config, inputs)
    return LanguageModel(name, network, tokenizer, context, start, end_tokens, config.vocab_size, inputs, hidden, masks)


def _spread(checkpoint: SavedModel) -> dict[str, str]:
    """The arguments with which transformers spreads a model over devices; {} for one device."""
    import importlib.util

    if not checkpoint.device_map:
        return {}
    if importlib.util.find_spec("accelerate") is None:
        raise StudyError(
            f"scoring.device_map = {checkpoint.device_map!r} needs the package accelerate; "
            "pip install accelerate, or remove the setting"
        )
    return {"device_map": checkpoint.device_map}


@contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Inside, torch computes with one thread and with algorithms whose bytes repeat.

    Raises StudyError if the study was planned for a GPU and this worker has none.
    """
    import os

    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    _keep_memory()
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if not torch.cuda.is_available():
            raise StudyError('this worker has no GPU, but scoring.device chose one; set device = "cpu" under [scoring]')
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_mem_efficient_sdp(False)  # their backward passes add in any order
    memory: Any = torch.utils.deterministic
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    torch.set_flush_denormal(True)  # the optimizer's averages of rare tokens become denormal, which is a hundred times slower
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        memory.fill_uninitialized_memory = before[2]


def _keep_memory() -> None:
    """Keep freed memory until the job is done (`tasks.step` returns it), so that the tensors of each layer are not mapped again:
    40,000 page faults while a small model answers 128 questions, and next to none with this."""
    import ctypes
    import sys

    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3
            libc.mallopt(mmap_threshold, 1 << 25)  # the most it takes
            libc.mallopt(trim_threshold, 1 << 30)


def _config(folder: Path, name: str, trust_remote_code: bool = False) -> Any:
    """config.json as transformers reads it."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"model {name!r}: {folder / 'config.json'} is not the configuration of a causal language model "
            f"that transformers knows: {error}; if it comes with code that you trust, set "
            "trust_remote_code = true for the model"
        ) from None


def _json(path: Path, name: str) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudyError(f"model {name!r}: {path} is not JSON: {error}; copy the file again") from None

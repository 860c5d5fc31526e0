"""Saved models: the files a folder must have, how a model is loaded, and how torch is configured so that bytes repeat.

Weights are safetensors, and no code that comes with a model is run, unless the study allows it for a model.
"""

import ctypes
import gc
import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import StudyError
from tasks.models.forward_passes import out_of_memory, release
from tasks.models.ladder import TRUSTED
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.models.probes import Probe
from tasks.models.special_tokens import OPTIONAL, read_json, special_tokens
from tasks.step import Work
from tasks.storage.layout import below_files
from tasks.text.bpe.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch


BUFFERS = re.compile(r"(inv_freq|mask|masked_bias|att(n|ention)\.bias|position_ids|_cached|alibi|version|positions\.weights)$")
PICKLES = "pytorch_model*.bin"
OTHER_TASKS = re.compile("Classification|QuestionAnswering|MultipleChoice|MaskedLM|Reward|ForPreTraining$")


def model_files(folder: Path, name: str, allow_pickle_weights: bool = False) -> list[Path]:
    """The files that decide what a saved model says, weights last. StudyError names a missing one and how to make it."""
    if not folder.is_dir():
        files = "config.json, model.safetensors and tokenizer.json"
        raise StudyError(f"model {name!r}: there is no folder {folder}; set `path` to a folder with {files}")
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            remedy = "save the model and its fast tokenizer there with save_pretrained"
            raise StudyError(f"model {name!r}: {folder} has no {needed}; {remedy}")
    weights = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if not weights and allow_pickle_weights:
        weights, index = sorted(folder.glob(PICKLES)), folder / "pytorch_model.bin.index.json"
    if not weights:
        pickles = " (its .bin files are pickles, which are opened only if the model has allow_pickle_weights = true)"
        pickles = pickles if list(folder.glob("*.bin")) else ""
        raise StudyError(f"model {name!r}: {folder} has no .safetensors file{pickles}; save the model with save_pretrained")
    if index.is_file():
        missing = sorted(set(read_json(index, name)["weight_map"].values()) - {w.name for w in weights})
        if missing:
            raise StudyError(f"model {name!r}: {folder} lacks {', '.join(missing)}, which {index.name} names; copy it again")
    more = [f for f in (index, *(folder / n for n in OPTIONAL)) if f.is_file()]
    return [folder / "config.json", *more, folder / "tokenizer.json", *weights]


def check_finite(weights: list[Path], name: str) -> None:
    """Open every file of weights and every tensor in it; StudyError if one is broken or not finite."""
    import torch
    from safetensors import SafetensorError

    for path in weights:
        try:
            for tensor, value in _tensors(path):
                value = value.float() if value.itemsize == 1 and value.is_floating_point() else value  # 8 bits know no isfinite
                if value.is_floating_point() and not torch.isfinite(value).all():
                    problem = f"tensor {tensor} has values that are not finite; use another checkpoint, or copy the file again"
                    raise StudyError(f"model {name!r}: {path}: {problem}")
        except (SafetensorError, OSError) as error:
            raise StudyError(f"model {name!r}: {path} cannot be read: {error}; copy the file again") from None


def _tensors(path: Path) -> "Iterator[tuple[str, torch.Tensor]]":
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


def count_parameters(folder: Path, name: str, weights: Sequence[Path], trust_remote_code: bool = False) -> tuple[int, int]:
    """(all, without input and output embeddings) as they will be in memory. Tied weights count once, unless the files hold two
    that differ: then transformers does not tie them, whatever config.json says."""
    import torch
    from transformers import AutoModelForCausalLM

    config = _config(folder, name, trust_remote_code)
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        network.tie_weights()
    except Exception as error:  # of any library a network needs, and of code that comes with the model
        raise StudyError(f"model {name!r}: no network can be made from {folder / 'config.json'}: {in_one_line(error)}") from None
    if tied := dict(getattr(network, "all_tied_weights_keys", None) or {}):
        saved = {key: value for path in weights for key, value in _tensors(path) if key in {*tied, *tied.values()}}
        for target, source in tied.items():
            if target in saved and source in saved and not torch.equal(saved[target], saved[source]):
                module, _, parameter = target.rpartition(".")
                setattr(network.get_submodule(module), parameter, torch.nn.Parameter(network.get_parameter(source).clone()))
    return parameters_of(network)


def parameters_of(network: "torch.nn.Module") -> tuple[int, int]:
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
            release(checkpoint.device)
        _LAST[checkpoint] = load(checkpoint, name)
    return replace(_LAST[checkpoint], name=name)


def open_checkpoint(work: Work, **instead: str) -> LanguageModel:
    """The model that this job's labels name; `instead`: fields of SavedModel that are other than the job's settings."""
    name, checkpoint = work.labels["model"], int(work.labels["checkpoint"])
    (part,), rows = work.parts("models"), work.read("models", "checkpoint", "path").to_pylist()
    folder = Path(next(r for r in rows if r["checkpoint"] == checkpoint)["path"])
    if not folder.is_absolute():  # trained here
        folder = work.folder_of(part).joinpath(*below_files(str(folder))[1:])
    chosen = {n: work.settings[n] for n in ("dtype", "device", "device_map", *TRUSTED) if n in work.settings} | instead
    return load_once(SavedModel(folder, key=part.key, **chosen), name)


def load(checkpoint: SavedModel, name: str) -> LanguageModel:
    """The model of a checkpoint, in evaluation mode, after it has been tried out (`tasks.models.probes`). Raises StudyError if
    weights are missing or do not fit config.json, the network is not causal, or a package is missing."""
    folder = checkpoint.folder
    files = model_files(folder, name, checkpoint.allow_pickle_weights)
    config = _config(folder, name, checkpoint.trust_remote_code)
    text = config.get_text_config(decoder=True)
    network = _network(checkpoint, name, config, pickles=any(f.suffix == ".bin" for f in files))
    file = folder / "tokenizer.json"
    tokenizer = load_tokenizer(file.read_text(encoding="utf-8"), f"model {name!r}: {file}")
    with _in_words(checkpoint, name, "was loaded but does not run"):
        vocabulary, context = _vocabulary(network, text), _context(network, text)
        start, ends = _special_tokens(folder, name, text, vocabulary)
        device = str(network.get_input_embeddings().weight.device)
        behavior = Probe(network, text, vocabulary, context, device).behavior(name)
    hidden, dtype = _first(text, ("hidden_size", "n_embd", "d_model")) or 1024, str(network.dtype).removeprefix("torch.")
    return LanguageModel(name, network, tokenizer, context, start, ends, vocabulary, device, hidden, dtype, **vars(behavior))


def _network(checkpoint: SavedModel, name: str, config: Any, pickles: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    folder = checkpoint.folder
    with _in_words(checkpoint, name, "cannot be loaded"):
        how = {"dtype": getattr(torch, checkpoint.dtype), "trust_remote_code": checkpoint.trust_remote_code, **_spread(checkpoint)}
        how |= {"config": config, "use_safetensors": not pickles, "output_loading_info": True}
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **how)
        network, info = loaded
        network.eval().requires_grad_(False)
        if not checkpoint.device_map:
            network.to(checkpoint.device)
    wrong = sorted(str(k) for kind in ("missing_keys", "mismatched_keys") for k in info.get(kind, ()))  # made random numbers
    if wrong or (wrong := sorted(k for k in info.get("unexpected_keys", ()) if _belongs(network, k))):
        raise StudyError(f"model {name!r}: {folder}: the weights do not fit config.json: {', '.join(wrong[:5])}; save it again")
    return network


def _belongs(network: Any, key: str) -> bool:
    """Whether a tensor that is left over changes what a network says: scales and biases of its modules, and layers beyond those
    that config.json counts do. A head for another purpose does not, nor do buffers that old versions saved."""
    import torch

    if BUFFERS.search(key):
        return False
    modules, parent = dict(network.named_modules()), key.rpartition(".")[0]
    if parent in modules:
        return bool(parent)
    while parent and parent not in modules:
        parent = parent.rpartition(".")[0]
    return isinstance(modules[parent], torch.nn.ModuleList)


@contextmanager
def _in_words(checkpoint: SavedModel, name: str, what: str) -> Iterator[None]:
    """Inside, whatever a library raises about a model becomes one line: it is the model, or what is installed, not a bug here."""
    try:
        yield
    except StudyError:
        raise
    except Exception as error:
        if out_of_memory(error):
            remedy = 'set dtype = "bfloat16" or device_map = "auto" under [scoring], or give workers more memory'
            what = f"does not fit into the memory of {checkpoint.device}"
        else:
            remedy = f"{'provide that' if isinstance(error, ImportError) else 'save it again'}, or leave it out of the study"
            what += f": {in_one_line(error)}"
        raise StudyError(f"model {name!r}: {checkpoint.folder} {what}; {remedy}") from None


def in_one_line(error: BaseException) -> str:
    """What a library says, shortened: some list all networks they know."""
    words = " ".join(str(error).split()) or "it gives no reason"
    return f"{type(error).__name__}: {words if len(words) <= 300 else words[:300] + ' …'}"


def _vocabulary(network: Any, text: Any) -> int:
    """Ids that a network can read and predict."""
    ends = [network.get_input_embeddings(), network.get_output_embeddings()]
    rows = [e.weight.shape[0] for e in ends if getattr(e, "weight", None) is not None and e.weight.dim() == 2]
    return min([*rows, *([text.vocab_size] if hasattr(text, "vocab_size") else [])])


def _context(network: Any, text: Any) -> int:
    """Most tokens of one pass. Networks of RoBERTa's kind number positions from behind the padding."""
    names = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "context_length")
    learnt = [m for n, m in network.named_modules() if n.endswith("position_embeddings") and hasattr(m, "num_embeddings")]
    return min([_first(text, names) or 2048, *(m.num_embeddings - 1 - m.padding_idx for m in learnt if m.padding_idx is not None)])


def _first(config: Any, names: Sequence[str]) -> int:
    """The first of these that a configuration has; 0 if it has none."""
    return next((v for n in names if isinstance(v := getattr(config, n, None), int) and v > 0), 0)


def _special_tokens(folder: Path, name: str, text: Any, vocabulary: int) -> tuple[int, frozenset[int]]:
    """The token before each document, and those that end an answer."""
    special = special_tokens(folder, name, text)
    if special.start is None:
        remedy = "add the token that came before each document in training"
        raise StudyError(f"model {name!r}: config.json names neither bos_token_id nor eos_token_id; {remedy}")
    configured = {i: "eos_token_id" for i, files in special.ends.items() if not all("tokenizer" in f or "map" in f for f in files)}
    for id_, key in (configured | {special.start: "bos_token_id"}).items():
        if not 0 <= id_ < vocabulary:
            problem = f"{key} = {id_}, but vocab_size = {vocabulary}: the network has no such token"
            remedy = f"set {key} in config.json and generation_config.json to the token of its training"
            raise StudyError(f"model {name!r}: {folder}: {problem}; {remedy}")
    return special.start, frozenset(i for i in special.ends if i < vocabulary)


def ends_in_words(folder: Path, name: str, trust_remote_code: bool = False) -> str:
    """The tokens that end an answer of a saved model, and the files that name them."""
    return special_tokens(folder, name, _config(folder, name, trust_remote_code).get_text_config(decoder=True)).words


def _spread(checkpoint: SavedModel) -> dict[str, str]:
    """The arguments with which transformers spreads a model over devices; {} for one device."""
    if not checkpoint.device_map:
        return {}
    if importlib.util.find_spec("accelerate") is None:
        needs = f"scoring.device_map = {checkpoint.device_map!r} needs the package accelerate"
        raise StudyError(f"{needs}; pip install accelerate, or remove the setting")
    return {"device_map": checkpoint.device_map}


@contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Inside, torch computes with one thread and repeats its bytes. StudyError if a GPU was planned and this worker has none."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    _keep_memory()
    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if not torch.cuda.is_available():
            raise StudyError('this worker has no GPU, but scoring.device chose one; set device = "cpu" under [scoring]')
    memory: Any = torch.utils.deterministic
    before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # attention on a GPU, too: its backward passes add in one order, cuDNN's is not used
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
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            libc, trim_threshold, mmap_threshold = ctypes.CDLL(None), -1, -3
            libc.mallopt(mmap_threshold, 1 << 25)  # the most it takes
            libc.mallopt(trim_threshold, 1 << 30)


def _config(folder: Path, name: str, trust_remote_code: bool = False) -> Any:
    """config.json as transformers reads it. Raises StudyError unless it is that of a causal language model."""
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
        config.get_text_config(decoder=True)
    except Exception as error:  # of the library's own checks, and of code that comes with the model
        problem = f"not the configuration of a causal language model that transformers knows: {in_one_line(error)}"
        remedy = "if it comes with code that you trust, set trust_remote_code = true for the model"
        raise StudyError(f"model {name!r}: {folder / 'config.json'} is {problem}; {remedy}") from None
    built, auto = (getattr(config, "architectures", None) or [config.model_type])[0], getattr(config, "auto_map", None) or {}
    loadable = type(config) in AutoModelForCausalLM._model_mapping or "AutoModelForCausalLM" in auto
    why = {"is an encoder-decoder": getattr(config, "is_encoder_decoder", False)}
    why |= {"was trained for another task": OTHER_TASKS.search(built)}
    why |= {"is none that AutoModelForCausalLM of transformers loads": not loadable}
    for words in (w for w, holds in why.items() if holds):
        raise StudyError(f"model {name!r}: {folder} is not a causal language model: {built} {words}; leave it out of the study")
    return config

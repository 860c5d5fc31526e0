"""An encoder maps every n-gram to a vector; the cosine of two vectors says how well two n-grams belong together.

The paper uses LASER or E5 (arXiv 2407.14985 §2). A study can name any sentence-embedding model; the default, `association`,
is trained on the mining examples and needs no external model.

    [encoder]                                              [encoder]
    kind = "sentence-transformers"                         kind = "association"
    model = "intfloat/e5-base-v2"   # or a folder
    revision = "<40 hex digits of a commit>"
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas import StudyError
from schemas.settings.base import is_hub_name
from schemas.settings.study_file import EncoderSettings
from tasks.text.encoders.association import fit_association
from tasks.text.words.analyzer import words_of
from tasks.text.words.word_ngrams import Side

Settings = Mapping[str, Any]

MODEL_FILES = (".json", ".safetensors", ".txt", ".model", ".bin", ".jinja")  # files of a model's folder that decide its vectors
_E5 = re.compile(r"(?:^|[-_])e5[-_](?!.*instruct)")


class NgramEncoder(Protocol):
    def encode(self, side: Side, ngrams: Sequence[str]) -> NDArray[np.float32]:
        """One row per n-gram, float32 [len(ngrams), d], of length 1, or 0 for an n-gram it knows nothing about."""
        ...


def encoder_settings(encoder: EncoderSettings, data: str = "") -> dict[str, Any]:
    """The settings of a job that determine the vectors. A model is a folder, relative to `data`, or a hub model at a commit: "main"
    may be another model tomorrow. StudyError if it is neither."""
    if encoder.kind == "association":
        return {"kind": encoder.kind, "dimensions": encoder.dimensions, "iterations": encoder.iterations}
    folder = Path(data) / Path(encoder.model).expanduser()
    local = folder.is_dir()
    if not local and not (re.fullmatch(r"[0-9a-f]{40}", encoder.revision) and is_hub_name(encoder.model)):
        remedy = "name a folder that exists, or a hub model and in `revision` the 40 hex digits of its commit"
        raise StudyError(f"encoder: model = {encoder.model!r}, revision = {encoder.revision!r}: {remedy}")
    default = ("query: ", "passage: ") if _E5.search(encoder.model.rstrip("/").rpartition("/")[2].lower()) else ("", "")
    prefixes = [d if c is None else c for d, c in zip(default, (encoder.input_prefix, encoder.output_prefix), strict=True)]
    device = _fastest_device() if encoder.device == "auto" else encoder.device
    model, revision = (str(folder.resolve()), "") if local else (encoder.model, encoder.revision)
    settings = {"kind": encoder.kind, "model": model, "revision": revision, "batch": encoder.batch}
    settings |= {"input_prefix": prefixes[0], "output_prefix": prefixes[1]}
    return settings | ({} if device == "cpu" else {"device": device})


def encoder_files(settings: Settings) -> list[Path]:
    """The files of a model in a local folder; they are part of the job's key."""
    folder = Path(settings["model"]) if settings["kind"] == "sentence-transformers" and not settings["revision"] else None
    return sorted(p for p in folder.rglob("*") if p.suffix in MODEL_FILES and p.is_file()) if folder else []


@lru_cache(maxsize=1)
def _fastest_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def fit(settings: Settings, examples: Sequence[tuple[str, str]]) -> NgramEncoder:
    """An encoder from `encoder_settings` and the (input, output) texts of the mining examples. A sentence-embedding model ignores
    the examples. Raises StudyError if such a model cannot be loaded."""
    return fit_association(settings, examples) if settings["kind"] == "association" else load_sentence_encoder(settings)


def ngram_text(family: str, output: str) -> str:
    """The part of an output that n-grams are taken from; it is a prefix of the output, so that offsets agree. Math: the rationale
    without GSM8K's last line "#### 42", which is the answer for a program, not language."""
    return output.split("####", 1)[0] if family == "math" else output


def generated_words(family: str, text: str, stopped: str) -> tuple[list[str], int]:
    """The words of a generation that n-grams are taken from, and how many were dropped at its end: 0 or 1. `max_new_tokens` may end
    a generation inside a word ("Tor" for "Torin"), which nobody wrote; so there the last word is dropped."""
    used = ngram_text(family, text)
    words = words_of(used)
    dropped = min(len(words), 1) if stopped == "length" and used == text else 0
    return words[: len(words) - dropped], dropped


def mining_pairs(examples: pa.Table, family: str, whole_answer: bool) -> list[tuple[str, str]]:
    """The training data of `fit`: (input, output) of the mining examples, in the order of the table. If the whole answer is the
    output n-gram, each alias is a further output of the same input. `examples` needs the columns split, input, output, aliases."""
    pairs = []
    for row in examples.select(["split", "input", "output", "aliases"]).to_pylist():
        if row["split"] == "mine":
            outputs = [row["output"], *(a for a in row["aliases"] if whole_answer and a != row["output"])]
            pairs += [(row["input"], ngram_text(family, o)) for o in outputs]
    return pairs


# -- sentence-embedding models: E5, LaBSE, MiniLM and whatever else sentence-transformers can load ---------------------------
# Vectors are normalised here in double precision, and computed with one thread and deterministic algorithms: on one kind of device
# the same n-grams give the same bytes. In another order, or with another batch size, they agree to about 1e-6.
@dataclass(frozen=True)
class SentenceEncoder:
    """A loaded model, with the prefixes it expects before texts."""

    model: Any
    name: str
    prefixes: Mapping[Side, str]
    batch: int
    device: str

    def encode(self, side: Side, ngrams: Sequence[str]) -> NDArray[np.float32]:
        """float32 [len(ngrams), d], rows of length 1. Raises StudyError if a vector is not finite."""
        if not ngrams:
            return np.zeros((0, self.model.get_embedding_dimension()), dtype=np.float32)
        texts = [self.prefixes[side] + ngram for ngram in ngrams]
        with _repeatable(self.device):
            vectors = self.model.encode(texts, batch_size=self.batch, convert_to_numpy=True, show_progress_bar=False)
        vectors = np.asarray(vectors, dtype=np.float64)
        wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if len(wrong):
            these = f"{len(wrong)} of {len(ngrams)} n-grams, {ngrams[wrong[0]]!r} among them"
            remedy = 'download it again, set device = "cpu" under [encoder], or name another model'
            why = f"its weights are damaged or overflow on this device: {remedy}"
            raise StudyError(f"encoder: {self.name} gives NaN or infinity for {these}; {why}")
        lengths = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
        return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)


def load_sentence_encoder(settings: Mapping[str, Any]) -> SentenceEncoder:
    """The model of `encoder_settings`. Only safetensors weights are read, and no code that comes with the model is run. Raises
    StudyError with a remedy."""
    name, device = settings["model"], settings.get("device", "cpu")
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        remedy = "pip install 'taskgram[encoders]'"
        raise StudyError(f'encoder: kind = "sentence-transformers" needs the package of that name: {remedy}') from None
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    if device == "cuda" and not torch.cuda.is_available():
        raise StudyError('this worker has no GPU, but encoder.device chose one; set device = "cpu" under [encoder]')
    try:
        options: dict[str, Any] = {"revision": settings["revision"] or None, "model_kwargs": {"use_safetensors": True}}
        model = SentenceTransformer(name, device=device, **options)
        model.default_prompt_name = None  # only the study's prefixes come before a text
    except Exception as error:  # transport errors of the hub's client, of transformers, of safetensors
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "the folder must contain a complete sentence-transformers model with safetensors weights; download it again"
        if settings["revision"]:
            remedy = "download it (on another machine, if this one has no network) and give its folder as `model`"
        raise StudyError(f"encoder: {name} cannot be loaded: {message}. Remedy: {remedy}") from None
    prefixes: dict[Side, str] = {"input": settings["input_prefix"], "output": settings["output_prefix"]}
    return SentenceEncoder(model, name, prefixes, settings["batch"], device)


@contextmanager
def _repeatable(device: str) -> Iterator[None]:
    """Inside, torch computes with one thread and deterministic algorithms."""
    import torch

    if device == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])

"""Sentence-embedding models as encoders of n-grams: E5, LaBSE, MiniLM and whatever else sentence-transformers can load.

Vectors are normalised here in double precision, and computed with one thread and deterministic algorithms: on one kind of
device the same n-grams give the same bytes. In another order, or with another batch size, they agree to about 1e-6.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import StudyError
from tasks.text.words.word_ngrams import Side


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

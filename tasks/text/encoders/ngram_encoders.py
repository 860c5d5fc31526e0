"""Which n-grams belong together: an encoder gives every n-gram a vector, and cosine compares them.

The paper takes LASER or E5 (arXiv 2407.14985 §2). Any sentence-embedding model can be named here; the default, `association`,
is learnt from the mining examples and needs no model from outside.

    [encoder]                                              [encoder]
    kind = "sentence-transformers"                         kind = "association"
    model = "intfloat/e5-base-v2"   # or a folder
    revision = "<40 hex digits of a commit>"
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
from tasks.text.encoders.sentence_encoder import load_sentence_encoder
from tasks.text.words.word_ngrams import Side

Settings = Mapping[str, Any]

LOADED = (".json", ".safetensors", ".txt", ".model", ".bin", ".jinja")  # files of a model's folder that decide its vectors
_E5 = re.compile(r"(?:^|[-_])e5[-_](?!.*instruct)")


class Encoder(Protocol):
    """A fitted encoder."""

    def encode(self, side: Side, ngrams: Sequence[str]) -> NDArray[np.float32]:
        """One row per n-gram, float32 [len(ngrams), d], of length 1, or 0 for one it knows nothing of."""
        ...


def encoder_settings(encoder: EncoderSettings, data: str = "") -> dict[str, Any]:
    """The settings that decide the vectors, for a job: those of another kind of encoder are left out.

    A model is a folder, looked up in `data`, or a hub model by its commit: "main" may be another model tomorrow, under the
    same key. Raises StudyError where it is neither.
    """
    if encoder.kind == "association":
        return {"kind": encoder.kind, "dimensions": encoder.dimensions, "iterations": encoder.iterations}
    folder = Path(data) / Path(encoder.model).expanduser()
    local = folder.is_dir()
    if not local and not (re.fullmatch(r"[0-9a-f]{40}", encoder.revision) and is_hub_name(encoder.model)):
        raise StudyError(
            f"encoder: model = {encoder.model!r}, revision = {encoder.revision!r}: name a folder that exists, or a hub model "
            "and in `revision` the 40 hex digits of its commit"
        )
    wanted = ("query: ", "passage: ") if _E5.search(encoder.model.rstrip("/").rpartition("/")[2].lower()) else ("", "")
    given = encoder.input_prefix, encoder.output_prefix
    prefixes = [w if g is None else g for w, g in zip(wanted, given, strict=True)]
    device = _fastest_device() if encoder.device == "auto" else encoder.device
    return {
        "kind": encoder.kind,
        "model": str(folder.resolve()) if local else encoder.model,
        "revision": "" if local else encoder.revision,
        "input_prefix": prefixes[0],
        "output_prefix": prefixes[1],
        "batch": encoder.batch,
        **({} if device == "cpu" else {"device": device}),
    }


def encoder_files(settings: Settings) -> list[Path]:
    """The files of a model that lies in a folder: another model there is another encoder."""
    folder = Path(settings["model"]) if settings["kind"] == "sentence-transformers" and not settings["revision"] else None
    return sorted(p for p in folder.rglob("*") if p.suffix in LOADED and p.is_file()) if folder else []


@lru_cache(maxsize=1)
def _fastest_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def fit(settings: Settings, mine: Sequence[tuple[str, str]]) -> Encoder:
    """An encoder from `encoder_settings` and the (input, output) texts of the mining examples.

    The examples decide nothing for a sentence-embedding model. Raises StudyError where such a model cannot be loaded.
    """
    return fit_association(settings, mine) if settings["kind"] == "association" else load_sentence_encoder(settings)


def encode(settings: Settings, mine: Sequence[tuple[str, str]], side: Side, ngrams: Sequence[str]) -> NDArray[np.float32]:
    """`fit`, then `encode`, for a single use."""
    return fit(settings, mine).encode(side, ngrams)


def ngram_text(family: str, output: str) -> str:
    """The part of an output that n-grams are taken from; it begins where the output begins, so that spans hold in both.

    Math: the rationale, without GSM8K's last line "#### 42", which is the answer put to a machine, not language.
    """
    return output.split("####", 1)[0] if family == "math" else output


def mining_pairs(examples: pa.Table, family: str, whole_answer: bool) -> list[tuple[str, str]]:
    """What `fit` learns from: (input, output) of the mining examples, in their order in the table.

    Where the whole answer is the output n-gram, each alias is one more output of the same input. `examples` needs the
    columns split, input, output, aliases.
    """
    pairs = []
    for row in examples.select(["split", "input", "output", "aliases"]).to_pylist():
        if row["split"] == "mine":
            outputs = [row["output"], *(a for a in row["aliases"] if whole_answer and a != row["output"])]
            pairs += [(row["input"], ngram_text(family, o)) for o in outputs]
    return pairs

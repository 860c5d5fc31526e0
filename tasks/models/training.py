"""Trains one GPT-NeoX model from scratch, deterministically, and resumes where a killed training stopped.

AdamW (β = .9, .95), linear warm-up and cosine decay, gradients clipped at norm 1, float32. Nothing random is drawn after the
initialisation, and the order of the data follows from (seed, epoch), so only weights, optimizer state, losses and the step are
saved.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from schemas import StudyError
from tasks.models.ladder import checkpoint_folder, learning_rate, log_steps

RESUME = "resume.safetensors"
WEIGHTS = "model.safetensors"


def build(settings: Mapping[str, Any], vocabulary: int, end_of_document: int) -> Any:
    """A GPTNeoXForCausalLM with tied embeddings, initialised from `settings["seed"]` alone."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    shape = {"hidden_size": settings["hidden"], "intermediate_size": 4 * settings["hidden"], "vocab_size": vocabulary}
    shape |= {"num_hidden_layers": settings["layers"], "num_attention_heads": settings["heads"]}
    shape |= {"max_position_embeddings": settings["context"], "bos_token_id": end_of_document, "eos_token_id": end_of_document}
    config = GPTNeoXConfig(**shape, tie_word_embeddings=True)
    with torch.random.fork_rng():
        torch.manual_seed(settings["seed"])
        return GPTNeoXForCausalLM._from_config(config, attn_implementation="sdpa")


def optimizer(parameters: Iterable[Any], settings: Mapping[str, Any], stacked: int = 0) -> Any:
    """AdamW whose weight decay is that of matrices only. stacked: leading dimensions of the parameters that count runs."""
    import torch

    parameters = list(parameters)
    matrices = {"params": [p for p in parameters if p.ndim - stacked > 1], "weight_decay": settings["weight_decay"]}
    others = {"params": [p for p in parameters if p.ndim - stacked <= 1], "weight_decay": 0.0}
    return torch.optim.AdamW([matrices, others], lr=settings["learning_rate"], betas=(0.9, 0.95), fused=True)


class Batches(Protocol):
    """What a network is trained on."""

    def windows(self, step: int, batch: int, context: int) -> np.ndarray:
        """int64 [batch, context + 1]: the rows of a step, counted from 0; inputs are [:, :-1], targets [:, 1:]."""


class Training:
    """A training in progress: weights, optimizer, the loss of every step so far, and the checkpoints kept so far."""

    def __init__(self, name: str, settings: Mapping[str, Any], folder: Path, tokenizer: Mapping[str, Any], device: str) -> None:
        """`tokenizer` is a row of the table of that name."""
        import torch

        self.name, self.settings, self.folder, self.tokenizer, self.device = name, settings, folder, tokenizer, device
        self.steps, self.kept = settings["steps"], tuple(settings["kept"])
        self.log_at = log_steps(self.steps, self.kept)
        self.model = build(settings, tokenizer["vocabulary_size"], tokenizer["end_of_document"]).to(device)
        self.parameters = dict(self.model.named_parameters())
        self.optimizer = optimizer(self.parameters.values(), settings)
        self.losses = torch.zeros(self.steps, dtype=torch.float32, device=device)
        self.step = 0
        self.hashes: dict[int, str] = {}

    def run(self, data: Batches) -> None:
        """Train to the end, keeping checkpoints. Raises StudyError if the loss is no longer a finite number."""
        self._resume()
        self.model.train()
        saved = time.monotonic()
        while self.step < self.steps:
            self._advance(data)
            if self.step in self.log_at:
                self._check_finite()
            if self.step in self.kept:
                self._keep()
            elif time.monotonic() - saved >= self.settings["save_every"]:
                self._check_finite()
                self._save()
                saved = time.monotonic()

    def log(self) -> list[dict[str, float]]:
        """Rows of `training_log`: the mean loss of the steps since the row before."""
        losses, rows = self.losses.double().cpu().numpy(), []
        for before, step in pairwise((0, *self.log_at)):
            loss, rate = float(losses[before:step].mean()), learning_rate(step - 1, self.steps, self.settings)
            tokens = step * self.settings["batch"] * self.settings["context"]
            rows.append({"step": step, "tokens": tokens, "loss": loss, "learning_rate": rate})
        return rows

    def inputs_and_targets(self, rows: Any) -> tuple[Any, Any]:
        """What the network reads of rows of tokens, and what it has to predict after each."""
        return rows[:, :-1], rows[:, 1:]

    def _advance(self, data: Batches) -> None:
        """One optimizer step."""
        import torch

        rate = learning_rate(self.step, self.steps, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        windows = torch.from_numpy(data.windows(self.step, self.settings["batch"], self.settings["context"])).to(self.device)
        inputs, targets = self.inputs_and_targets(windows)
        logits = self.model(input_ids=inputs, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses[self.step] = loss.detach()
        self.step += 1

    def _check_finite(self) -> None:
        import torch

        bad = torch.nonzero(~torch.isfinite(self.losses[: self.step]))
        if len(bad):
            remedy = f"lower learning_rate (now {self.settings['learning_rate']}) or raise warmup"
            raise StudyError(f"model {self.name!r}: the loss is not finite at step {int(bad[0]) + 1} of {self.steps}; {remedy}")

    def _keep(self) -> None:
        """Publish a checkpoint: its folder appears by rename, complete."""
        target = self.folder / checkpoint_folder(self.step)
        temporary = self.folder / f".{target.name}.{uuid.uuid4().hex}.tmp"
        self.model.save_pretrained(temporary)
        (temporary / "generation_config.json").unlink(missing_ok=True)
        (temporary / "tokenizer.json").write_text(self.tokenizer["json"], encoding="utf-8")
        self.hashes[self.step] = file_hash(temporary / WEIGHTS)
        if target.exists():  # kept before a kill, or by another run of the same job
            shutil.rmtree(target)
        try:
            os.rename(temporary, target)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            if not (target / WEIGHTS).is_file():
                raise

    def _save(self) -> None:
        """Write everything that a resumed training needs, atomically."""
        from safetensors.torch import save_file

        tensors = {"losses": self.losses[: self.step].clone()}
        for name, parameter in self.parameters.items():
            tensors[f"weight.{name}"] = parameter.detach()
            for kind, value in self.optimizer.state[parameter].items():
                tensors[f"{kind}.{name}"] = value
        state = {"step": self.step, "hashes": {str(k): v for k, v in self.hashes.items()}}
        temporary = self.folder / f".{RESUME}.{uuid.uuid4().hex}.tmp"
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata={"training": json.dumps(state)})
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, self.folder / RESUME)

    def _resume(self) -> None:
        """Resume a saved training, if there is one and its checkpoints are unchanged."""
        import torch
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self.folder / RESUME, framework="pt", device=self.device) as file:
                state = json.loads(file.metadata()["training"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        except (FileNotFoundError, SafetensorError):
            return
        hashes = {int(step): sha256 for step, sha256 in state["hashes"].items()}
        if not all(is_kept(self.folder, step, sha256) for step, sha256 in hashes.items()):
            return
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"weight.{name}"])
                self.optimizer.state[parameter] = {k: tensors[f"{k}.{name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
            self.losses[: state["step"]] = tensors["losses"]
        self.step, self.hashes = state["step"], hashes


def is_kept(folder: Path, step: int, sha256: str) -> bool:
    """Whether the checkpoint of a step exists, with these weights."""
    at = folder / checkpoint_folder(step)
    return all((at / f).is_file() for f in ("config.json", "tokenizer.json", WEIGHTS)) and file_hash(at / WEIGHTS) == sha256


def remove_files(folder: Path, but: Collection[str] = ()) -> None:
    """Empty a folder, `but` for some names."""
    for path in folder.iterdir():
        if path.name not in but:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def file_hash(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()

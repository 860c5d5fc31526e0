"""Trains several runs of an ensemble at once: their weights, optimizer states and batches are stacked, and `torch.func.vmap` makes
one operation of those of all runs, because a run of a small network leaves a GPU idle. On a CPU a loop over the runs is faster.

Each run has the initial weights, the data and the order that it has alone, and its gradients are clipped by its own norm, so that
it differs from a run of the loop by rounding only. Attention is `eager`: vmap has no rule for the backward pass of SDPA.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas import StudyError
from tasks.models.ladder import learning_rate
from tasks.models.training import Batches, Training, optimizer


class StackedData:
    """What each run of a stack is trained on."""

    def __init__(self, data: Sequence[Batches]) -> None:
        self.data = data

    def windows(self, step: int, batch: int, context: int) -> np.ndarray:
        """int64 [runs, batch, context + 1]."""
        return np.stack([of.windows(step, batch, context) for of in self.data])


class StackedTraining(Training):
    """Trainings of equal shapes, steps and checkpoints, which are saved and resumed together. One whose loss is no longer finite
    goes on in the stack and changes no other; `failed` has its error, by its number."""

    def __init__(self, trainings: Sequence[Training], folder: Path) -> None:
        import torch

        first = trainings[0]
        self.trainings, self.failed, self.folder = trainings, dict[int, StudyError](), folder
        self.name, self.settings, self.device = first.name, first.settings, first.device
        self.steps, self.kept, self.log_at, self.step, self.hashes = first.steps, first.kept, [], 0, {}
        self.parameters = {
            name: torch.stack([t.parameters[name].detach() for t in trainings]).requires_grad_() for name in first.parameters
        }
        self.optimizer = optimizer(self.parameters.values(), self.settings, stacked=1)
        self.losses = torch.zeros(self.steps, len(trainings), dtype=torch.float32, device=self.device)
        self.model = type(first.model)._from_config(first.model.config, attn_implementation="eager").to(self.device)
        size = self.settings["context"]
        self.mask = torch.full((1, 1, size, size), float("-inf"), device=self.device).triu(1)

    def _advance(self, data: Batches) -> None:
        """One optimizer step of every run."""
        import torch

        rate = learning_rate(self.step, self.steps, self.settings)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows = torch.from_numpy(data.windows(self.step, self.settings["batch"], self.settings["context"])).to(self.device)
        given = [training.inputs_and_targets(of) for training, of in zip(self.trainings, rows, strict=True)]
        inputs, targets = (torch.stack(of) for of in zip(*given, strict=True))
        logits = torch.func.vmap(self._logits)(self.parameters, inputs)
        losses = torch.nn.functional.cross_entropy(logits.flatten(0, 2), targets.flatten(), reduction="none")
        losses = losses.view(len(rows), -1).mean(dim=1)
        losses.sum().backward()  # a run's loss depends on its weights only
        gradients = [p.grad.view(len(rows), -1) for p in self.parameters.values()]
        norms = torch.stack([g.square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()
        for gradient in gradients:
            gradient *= (1 / (norms + 1e-6)).clamp(max=1.0)[:, None]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses[self.step] = losses.detach()
        self.step += 1

    def _logits(self, weights: Any, inputs: Any) -> Any:
        """float [batch, tokens, vocabulary] of one run."""
        import torch

        state, given = {**weights, **dict(self.model.named_buffers())}, {"input_ids": inputs, "attention_mask": self.mask}
        return torch.func.functional_call(self.model, state, kwargs=given | {"use_cache": False}).logits

    def _check_finite(self) -> None:
        """Nothing: each run is checked where it is kept."""

    def _keep(self) -> None:
        """Give each run its weights and losses; it keeps its checkpoint as it does alone."""
        import torch

        for number, training in enumerate(self.trainings):
            with torch.no_grad():
                for name, parameter in training.parameters.items():
                    parameter.copy_(self.parameters[name][number])
            training.step = self.step
            training.losses.copy_(self.losses[:, number])
            try:
                training._check_finite()
                training._keep()
            except StudyError as error:
                self.failed.setdefault(number, error)

"""Leverage and self-influence of sequences of 32 tokens in a network of 0.116 M parameters: projected Gauss-Newton with an exact
inverse, next to kronfluence's EK-FAC, both with labels drawn from the model.

Ours makes three dampings, the leave-one-out step and outlierness, too, and draws eight labels; the peer draws four. It declares
torchvision, which replaces a CPU torch: install it without its dependencies, in an environment of its own.
"""

from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case, Folders

SHAPE = {"hidden": 64, "layers": 2, "heads": 2, "context": 32, "seed": 0}
WORDS, PREFIX, PEERS_DRAWS, AT_ONCE = 256, 16, 4, 64


def _network() -> Any:
    from tasks.models.training import build

    return build(SHAPE, WORDS, 0).eval()  # random weights take as long as trained ones


def _sequences(case: Case) -> np.ndarray:
    """int64 [sequences, 1 + 32], each behind an end-of-document token."""
    ids = np.random.default_rng(0).integers(1, WORDS, (case["sequences"], 33))
    ids[:, 0] = 0
    return ids


def _none(result: Any) -> dict[str, Any]:
    """Other labels are drawn, so that no two answers are equal."""
    return {}


def ours(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Projected Gauss-Newton leverage, as the step `leverage` computes it."""
    from tasks.models.load import repeatable
    from tasks.models.sequence_leverage import SETTINGS, gradients_of_run, leverages, outlierness

    ids = _sequences(case)

    def work(network: Any) -> Any:
        with repeatable("cpu"):
            made = gradients_of_run(network, ids, PREFIX, np.ones(len(ids), np.int64), 0, SETTINGS)
            return [*leverages(made, SETTINGS["dampings"]), outlierness(made, np.arange(len(ids)))]

    return BenchmarkSide(work, len(ids), answer=_none, fresh=_network)


def kronfluence(corpora: Corpora, case: Case) -> BenchmarkSide:
    """EK-FAC factors, self-influence, and leverage as self-influence with labels that the model draws."""
    import torch
    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments
    from kronfluence.task import Task

    class Suffix(Task):
        """The log-likelihood of a suffix. `drawn`: always of labels that the model draws."""

        drawn = False

        def compute_train_loss(self, batch: Any, model: Any, sample: bool = False) -> Any:
            logits, labels = model(input_ids=batch[:, :-1], use_cache=False).logits[:, PREFIX:], batch[:, 1 + PREFIX :]
            if sample or self.drawn:
                labels = torch.distributions.Categorical(logits=logits.detach()).sample()
            return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")

        def compute_measurement(self, batch: Any, model: Any) -> Any:
            return self.compute_train_loss(batch, model)

    data: Any = list(torch.from_numpy(_sequences(case)[: case["peers"]]))
    folders = Folders()

    def work(folder: Any) -> None:
        task = Suffix()
        analyzer = Analyzer("a", prepare_model(_network(), task), task, output_dir=str(folder), disable_tqdm=True, cpu=True)
        factors = FactorArguments(strategy="ekfac", use_empirical_fisher=False)
        analyzer.fit_all_factors("factors", data, per_device_batch_size=AT_ONCE, factor_args=factors)
        for draw in range(1 + PEERS_DRAWS):
            task.drawn = draw > 0
            analyzer.compute_self_scores(f"scores-{draw}", "factors", data, per_device_train_batch_size=AT_ONCE)

    return BenchmarkSide(work, len(data), answer=_none, fresh=folders, close=(folders.close,))

"""Training the runs of an ensemble: 8 GPT-NeoX of 0.116 M parameters, each on its half of a controlled corpus, next to a plain loop
over transformers' module and to its Trainer. All have the same initial weights, batches, optimizer and learning rates.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.count_sides import in_stages
from benchmarks.side import Arrays, BenchmarkSide, Case, Folders

SETTINGS: dict[str, Any] = {"hidden": 64, "layers": 2, "heads": 2, "batch": 16, "context": 32, "save_every": 1e9, "kept": []}
SETTINGS |= {"learning_rate": 1e-3, "weight_decay": 0.1, "warmup": 0.1}
WORDS = 255
TOKENIZER = {"vocabulary_size": WORDS + 1, "end_of_document": 0, "json": "{}"}


def settings(case: Case, run: int = 0) -> dict[str, Any]:
    return SETTINGS | {"steps": case["steps"], "seed": run}


def runs_data(case: Case) -> list[Any]:
    """The data of each run: half of 1,000 sequences of 32 words."""
    from tasks.models.ensemble import RunData

    random = np.random.default_rng(0)
    ids = random.integers(1, WORDS + 1, (1_000, SETTINGS["context"]))
    return [RunData(ids, random.integers(0, 2, len(ids)), 0, run) for run in range(case["runs"])]


def _side(case: Case, train: Callable[[Any, int, Any], Any]) -> BenchmarkSide:
    """`train` gives the loss of every step from a folder, the number of a run, and its data."""
    import torch

    torch.set_num_threads(1)
    folders, data = Folders(), runs_data(case)

    def work(folder: Path) -> Arrays:
        return {"losses": np.array([train(folder, run, of) for run, of in enumerate(data)], np.float64)}

    tokens = case["runs"] * case["steps"] * SETTINGS["batch"] * SETTINGS["context"]
    return BenchmarkSide(work, tokens, fresh=folders, close=(folders.close,))


def ours(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The training of the steps `models` and `ensemble`."""
    from tasks.models.load import repeatable
    from tasks.models.training import Training

    def train(folder: Path, run: int, data: Any) -> np.ndarray:
        with repeatable("cpu"):
            training = Training(f"run {run}", settings(case, run), folder, TOKENIZER, "cpu")
            training.run(data)
        return training.losses.numpy()

    return _side(case, train)


def _network(case: Case, run: int) -> Any:
    """The module, in training mode, with our initial weights."""
    from tasks.models.training import build

    return build(settings(case, run), WORDS + 1, 0).train()


def _optimizer(model: Any, case: Case) -> tuple[Any, Any]:
    """AdamW and its schedule, as most write them."""
    import torch

    from tasks.models.ladder import learning_rate

    groups = [
        {"params": [p for p in model.parameters() if (p.ndim > 1) == matrices], "weight_decay": decay}
        for matrices, decay in ((True, SETTINGS["weight_decay"]), (False, 0.0))
    ]
    made = torch.optim.AdamW(groups, lr=SETTINGS["learning_rate"], betas=(0.9, 0.95))
    rates = torch.optim.lr_scheduler.LambdaLR(
        made, lambda step: learning_rate(step, case["steps"], SETTINGS) / SETTINGS["learning_rate"]
    )
    return made, rates


def loop(corpora: Corpora, case: Case) -> BenchmarkSide:
    """A plain loop over the module."""
    import torch

    def train(folder: Path, run: int, data: Any) -> np.ndarray:
        model, losses = _network(case, run), []
        optimizer, rates = _optimizer(model, case)
        for step in range(case["steps"]):
            rows = torch.from_numpy(data.windows(step, SETTINGS["batch"], SETTINGS["context"]))
            logits = model(input_ids=rows[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            rates.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        return np.array(losses)

    return _side(case, train)


def trainer(corpora: Corpora, case: Case) -> BenchmarkSide:
    """transformers' Trainer, with its log of every step, from which the losses are."""
    import accelerate  # noqa: F401 - Trainer needs it
    import torch
    from transformers import Trainer, TrainingArguments

    class DatasetOfRun(torch.utils.data.IterableDataset[Any]):
        def __init__(self, data: Any) -> None:
            self.data = data

        def __iter__(self) -> Iterator[dict[str, Any]]:
            for step in range(case["steps"]):
                for row in torch.from_numpy(self.data.windows(step, SETTINGS["batch"], SETTINGS["context"])):
                    yield {"input_ids": row[:-1], "labels": row[1:]}

    class Losses(Trainer):
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            """Without the shift of transformers' own, so that each row has as many targets as with us."""
            logits = model(input_ids=inputs["input_ids"]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), inputs["labels"].flatten())
            losses.append(loss.detach())
            return loss

    losses: list[Any] = []

    def train(folder: Path, run: int, data: Any) -> np.ndarray:
        model = _network(case, run)
        losses.clear()
        quiet: dict[str, Any] = {"report_to": "none", "disable_tqdm": True, "save_strategy": "no"}
        quiet |= {"logging_strategy": "no", "use_cpu": True}
        how = TrainingArguments(
            output_dir=str(folder),
            max_steps=case["steps"],
            per_device_train_batch_size=SETTINGS["batch"],
            max_grad_norm=1.0,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            **quiet,
        )
        Losses(model=model, args=how, train_dataset=DatasetOfRun(data), optimizers=_optimizer(model, case)).train()
        return torch.stack(losses).numpy()

    return _side(case, train)


# -- workers -----------------------------------------------------------------------------------------------------------
def workers(number: int) -> Callable[[Corpora, Case], BenchmarkSide]:
    """The step `ensemble` on this number of Dask workers, four runs to a job; the answer is the bytes of its tables."""

    def side(corpora: Corpora, case: Case) -> BenchmarkSide:
        from schemas import Study
        from tasks.cluster.cluster import Cluster
        from tasks.corpus.encode import TOKENIZER
        from tasks.corpus.planted.plant import PLANT
        from tasks.memorization.membership import MEMBERSHIP_STEP
        from tasks.models.ensemble import ENSEMBLE
        from tasks.step import run_job
        from tasks.storage.store import Store

        model = {"name": "m", "hidden": SETTINGS["hidden"], "layers": SETTINGS["layers"], "epochs": case["epochs"]}
        membership = {"runs": case["runs"], "models": [model]}
        study = Study.model_validate({"name": "s", "corpus": {"controlled": {}}, "membership": membership})
        base, folders = Path(tempfile.mkdtemp(prefix="taskgram-benchmark-")), Folders()
        store, here, tables = Store(str(base)), Cluster(0, "1GB", str(base)), {"documents": ()}
        for step in (PLANT, TOKENIZER, MEMBERSHIP_STEP):
            tables = in_stages(step, study, store, tables, here, run_job)
        cluster = Cluster(number, "2GB", f"{base}/.dask", address="")
        tokens = case["runs"] * model_steps(study) * SETTINGS["batch"] * SETTINGS["context"]

        def fresh() -> Store:
            folder = folders()
            for table in base.iterdir():
                (folder / table.name).symlink_to(table)
            return Store(str(folder))

        def work(store: Store) -> tuple[Store, Any]:
            return store, in_stages(ENSEMBLE, study, store, tables, cluster, run_job)["ensemble_scores"]

        def answer(result: tuple[Store, Any]) -> Arrays:
            digests = "".join(result[0].sha256(result[0].part_path(p)) for p in result[1])
            return {"bytes": np.frombuffer(bytes.fromhex(digests), np.uint8)}

        close = (cluster.close, folders.close, lambda: shutil.rmtree(base))
        return BenchmarkSide(work, tokens, answer, fresh, close=close)

    return side


def model_steps(study: Any) -> int:
    """Optimizer steps of each run."""
    return int(study.membership.models[0].steps(study.membership.instances(study.corpus.controlled)))

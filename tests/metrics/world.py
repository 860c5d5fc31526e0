"""A small planted task, written as the tables `measure` reads: their content is chosen, so every answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from schemas import Study
from tasks.storage.store import Part
from tests.support import write_part

TAIL = " and then some words that follow"


@dataclass
class World:
    """A qa task whose example i asks "where is sI" with the answer "aJ" (and a tail of other words after it).

    count[i], inputs[i]: C(s_x, s_y) and df(s_x) of example i; outputs[i]: df(s_y); answer[i]: J.
    """

    count: np.ndarray
    inputs: np.ndarray
    outputs: np.ndarray
    answer: np.ndarray
    log_p: dict[str, np.ndarray] = field(default_factory=dict)
    """by model: log P_LLM of each example's answer"""
    tails: np.ndarray | None = None
    """log-probability of what follows the answer"""
    others: Callable[[int, int], float] | None = None
    """log P_LLM of example i's answer after example o's input"""
    generations: dict[str, list[str]] = field(default_factory=dict)
    stopped: str = "length"
    infinity: np.ndarray | None = None
    planted: bool = False
    kind: str = "exposure"
    similarity: float = 0.9

    def __len__(self) -> int:
        return len(self.count)

    def study(self, **task: object) -> Study:
        """One qa task of order 1, and a ladder named after the models."""
        return Study.model_validate(
            {
                "name": "s",
                "corpus": {"planted": {}},
                "measures": {"bootstrap": 100, "bins": 2},
                "tasks": [{"name": "t", "family": "qa", "reader": "planted", "orders": [1], **task}],
            }
        )

    def tables(self, root: Path) -> dict[str, tuple[Part, ...]]:
        """Write everything."""
        label = {"task": "t"}
        names = [f"e{i:04d}" for i in range(len(self))]
        outputs = [f"a{j}{TAIL if self.tails is not None else ''}" for j in self.answer]
        n = len(self)
        parts = {
            "examples": [
                write_part(
                    root,
                    "examples",
                    {
                        "task": ["t"] * n,
                        "split": ["evaluate"] * n,
                        "example": names,
                        "row": list(range(1, n + 1)),
                        "group": ["odd" if i % 2 else "even" for i in range(n)],
                        "input": [f"where is s{i}" for i in range(n)],
                        "output": outputs,
                        "prompt": ["p"] * n,
                        "separator": [""] * n,
                        "aliases": [[f"the alias {i}"] for i in range(n)],
                        "options": [[]] * n,
                        "answer": [-1] * n,
                        "sha256": [""] * n,
                    },
                    label,
                )
            ],
            "example_ngrams": [self._ngrams(root, names, label)],
            "task_grams": [self._task_grams(root, label)],
            "pair_counts": [self._pair_counts(root)],
            "ngram_stats": [self._stats(root)],
            "models": [
                write_part(
                    root,
                    "models",
                    {
                        "model": [m],
                        "checkpoint": [9],
                        "source": ["folder"],
                        "revision": [""],
                        "path": [""],
                        "sha256": [""],
                        "parameters": [100 * (k + 1)],
                        "parameters_non_embedding": [50],
                        "tokens_seen": [-1],
                        "loss": [None],
                        "seed": [-1],
                        "membership": [""],
                    },
                    {"model": m},
                )
                for k, m in enumerate(sorted(self.log_p))
            ],
            "token_scores": [self._scores(root, m, names) for m in sorted(self.log_p)],
            "generations": [
                write_part(
                    root,
                    "generations",
                    {
                        "model": [m] * n,
                        "checkpoint": [9] * n,
                        "task": ["t"] * n,
                        "example": names,
                        "text": texts,
                        "tokens": [[1]] * n,
                        "stopped": [self.stopped] * n,
                    },
                    {"model": m, "checkpoint": "9", "task": "t"},
                )
                for m, texts in sorted(self.generations.items())
            ],
        }
        if self.infinity is not None:
            p = self.infinity
            parts["infinigram"] = [
                write_part(
                    root,
                    "infinigram",
                    {
                        "task": ["t"] * n,
                        "example": names,
                        "position": [0] * n,
                        "token": [0] * n,
                        "start": [0] * n,
                        "end": [len(f"a{j}") for j in self.answer],
                        "suffix": [1] * n,
                        "numerator": [int(v) for v in p],
                        "denominator": [1000] * n,
                        "backoff_suffix": [0] * n,
                        "backoff_numerator": [max(1, int(v)) for v in p],
                        "backoff_denominator": [1000] * n,
                    },
                )
            ]
        if self.planted:
            parts["truth"] = [self._truth(root)]
        return {table: tuple(p) for table, p in parts.items()}

    def _ngrams(self, root: Path, names: list[str], label: dict[str, str]) -> Part:
        rows = []
        for i, name in enumerate(names):
            rows.append((name, "input", f"s{i}", 9, 9 + len(f"s{i}")))
            rows.append((name, "output", f"a{self.answer[i]}", 0, len(f"a{self.answer[i]}")))
        return write_part(
            root,
            "example_ngrams",
            {
                "task": ["t"] * len(rows),
                "split": ["evaluate"] * len(rows),
                "example": [r[0] for r in rows],
                "side": [r[1] for r in rows],
                "order": [1] * len(rows),
                "ngram": [r[2] for r in rows],
                "length": [1] * len(rows),
                "starts": [[r[3]] for r in rows],
                "ends": [[r[4]] for r in rows],
            },
            label,
        )

    def _task_grams(self, root: Path, label: dict[str, str]) -> Part:
        pairs = sorted((f"s{i}", f"a{self.answer[i]}") for i in range(len(self)))
        return write_part(
            root,
            "task_grams",
            {
                "task": ["t"] * len(pairs),
                "order": [1] * len(pairs),
                "input_ngram": [p[0] for p in pairs],
                "output_ngram": [p[1] for p in pairs],
                "similarity": [self.similarity] * len(pairs),
                "shares_word": [False] * len(pairs),
                "examples": [1] * len(pairs),
            },
            label,
        )

    def _pair_counts(self, root: Path) -> Part:
        rows = sorted((f"s{i}", f"a{self.answer[i]}", int(self.count[i])) for i in range(len(self)))
        return write_part(
            root,
            "pair_counts",
            {"input_ngram": [r[0] for r in rows], "output_ngram": [r[1] for r in rows], "documents": [r[2] for r in rows]},
        )

    def _stats(self, root: Path) -> Part:
        df = {f"s{i}": int(v) for i, v in enumerate(self.inputs)} | {
            f"a{j}": int(v) for j, v in zip(self.answer, self.outputs, strict=True)
        }
        rows = sorted(df.items())
        return write_part(
            root,
            "ngram_stats",
            {
                "ngram": [r[0] for r in rows],
                "length": [1] * len(rows),
                "occurrences": [2 * r[1] for r in rows],
                "documents": [r[1] for r in rows],
            },
        )

    def _scores(self, root: Path, model: str, names: list[str]) -> Part:
        rows = []
        for i, name in enumerate(names):
            long = len(f"a{self.answer[i]}")
            given = {i: self.log_p[model][i]} | {o: self.others(i, o) for o in range(3) if self.others and o != i}
            for o, value in sorted(given.items()):
                tail = [(long, long + len(TAIL), float(self.tails[i]))] if self.tails is not None else []
                rows.append(
                    (name, names[o], [(-1, 1, value / 2), (1, long, value / 2), *tail])
                )  # a separator joins the first token
        return write_part(
            root,
            "token_scores",
            {
                "model": [model] * len(rows),
                "checkpoint": [9] * len(rows),
                "task": ["t"] * len(rows),
                "example": [r[0] for r in rows],
                "input_example": [r[1] for r in rows],
                "option": [-1] * len(rows),
                "tokens": [[0] * len(r[2]) for r in rows],
                "starts": [[t[0] for t in r[2]] for r in rows],
                "ends": [[t[1] for t in r[2]] for r in rows],
                "log_probabilities": [[t[2] for t in r[2]] for r in rows],
                "truncated": [0] * len(rows),
                "straddles": [False] * len(rows),
            },
            {"model": model, "checkpoint": "9", "task": "t"},
        )

    def _truth(self, root: Path) -> Part:
        n = len(self)
        optimal = [float(np.log(c / d)) if c else None for c, d in zip(self.count, self.inputs, strict=True)]
        return write_part(
            root,
            "truth",
            {
                "task": ["t"] * n,
                "pair": [f"p{i:04d}" for i in range(n)],
                "relation": ["r"] * n,
                "kind": [self.kind] * n,
                "input_ngram": [f"s{i}" for i in range(n)],
                "output_ngram": [f"a{j}" for j in self.answer],
                "pair_documents": [int(v) for v in self.count],
                "input_documents": [int(v) for v in self.inputs],
                "output_documents": [int(v) for v in self.outputs],
                "input_occurrences": [2 * int(v) for v in self.inputs],
                "output_occurrences": [2 * int(v) for v in self.outputs],
                "exposures": [int(v) % 2 for v in self.count],
                "optimal_log_probability": optimal,
                "held_out": [self.kind == "rule" and int(v) % 2 == 0 for v in self.count],
            },
        )


def world(seed: int = 0, n: int = 120, signal: float = 1.0, noise: float = 0.0) -> World:
    """P = C / df(s_x) spread over a factorial; the model "m" knows log P with noise, the model "null" knows nothing."""
    rng = np.random.default_rng(seed)
    inputs = rng.choice([32, 64, 128, 256], n)
    count = inputs * rng.choice([1, 2, 3, 4, 6, 8], n) // 16
    log_p = signal * np.log(count / inputs) + noise * rng.normal(size=n) - 3
    null = -3 + rng.normal(size=n)
    return World(count, inputs, np.full(n, 600), np.arange(n), {"m": np.minimum(log_p, 0), "null": np.minimum(null, 0)})

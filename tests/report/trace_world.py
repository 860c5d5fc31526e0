"""Made-up tables of any number of traced examples, with text that would hurt a page that trusted it."""

from __future__ import annotations

import math
from pathlib import Path

from schemas import CONTRACTS, Study
from tasks.storage.store import Part
from tests.support import write_part

MODELS = {"tiny": 62_000, "small": 224_000, "large": 3_700_000}
HOSTILE = '</script><img src=http://evil.example/x.png onerror="window.hurt=1"><!-- \u2028 \u202eabc\x00 & 🜁 “q”'
TOWN, LAND = "Quellin", "Vandoria"
INFINITY = ("log_infinity", "log_infinity_paper")
COUNTS = ("pair_documents", "input_documents", "input_occurrences", "output_documents", "window_documents")
OTHERS = ("other_examples", "other_log_probabilities", "other_similarities")
REFERENCE = ("reference_log_probability", "reference_tokens", "note")
ODD = 'odd/id "1" #%2F?'  # an identifier with all that an address could trip over


def study(tasks: tuple[str, ...] = ("capitals", "sayings")) -> Study:
    """Two tasks: one judged right or wrong, one by chrF."""
    family = {"capitals": "qa", "sayings": "translation"}
    return Study.model_validate(
        {
            "name": "made-up",
            "title": "A made-up <study>",
            "corpus": {"planted": {}},
            "tasks": [{"name": t, "family": family[t], "reader": "planted", "orders": [1, 2], "gamma_default": 0.5} for t in tasks],
        }
    )


def names(count: int) -> list[str]:
    """Identifiers in their order; the last is odd."""
    return [f"e{i:05d}" for i in range(count - 1)] + [ODD] if count > 1 else [f"e{i:05d}" for i in range(count)]


def tables(root: Path, count: int = 250, models: int = 3) -> dict[str, tuple[Part, ...]]:
    """`count` examples of the task capitals, and three of sayings; example i asks for town i.

    Pairs of order 1: (land i, town i), in i % 7 documents; and (capital, town i), in none. Every fourth answer is right. The
    input of example 3 begins with hostile text.
    """
    known = {f"model {i:02d}": 1000 * (i + 1) for i in range(models)} if models != 3 else MODELS
    found: dict[str, list[Part]] = {
        "models": [
            write_part(
                root,
                "models",
                {
                    "model": sorted(known),
                    "checkpoint": [800] * len(known),
                    "source": ["folder"] * len(known),
                    "revision": [""] * len(known),
                    "path": [""] * len(known),
                    "sha256": [""] * len(known),
                    "parameters": [known[m] for m in sorted(known)],
                    "parameters_non_embedding": [1] * len(known),
                    "tokens_seen": [-1] * len(known),
                    "loss": [None] * len(known),
                    "seed": [-1] * len(known),
                    "membership": [""] * len(known),
                },
            )
        ]
    }
    for task, size in (("capitals", count), ("sayings", 3)):
        for table, part in _task(root, task, size, sorted(known)).items():
            found.setdefault(table, []).append(part)
    found["pair_documents"] = [_documents(root, count)]
    return {t: tuple(p) for t, p in found.items()}


def land(i: int) -> str:
    """The n-gram that example i asks about."""
    return f"{LAND.lower()}{i}"


def town(i: int) -> str:
    """The n-gram of the answer to example i."""
    return f"{TOWN.lower()}{i}"


def question(i: int) -> str:
    """x of example i."""
    return f"{HOSTILE + ' ' if i == 3 else ''}What is the capital of {LAND}{i}?"


def _task(root: Path, task: str, count: int, models: list[str]) -> dict[str, Part]:
    ids, label, rows = names(count), {"task": task}, range(count)
    n = len(ids)
    answers = [f"{TOWN}{i} of old" for i in rows]
    parts = {
        "examples": write_part(
            root,
            "examples",
            {
                "task": [task] * n,
                "split": ["evaluate"] * n,
                "example": ids,
                "row": list(range(1, n + 1)),
                "group": ["rivers & <b>lands</b>"] * n,
                "input": [question(i) for i in rows],
                "output": answers,
                "prompt": ["p"] * n,
                "separator": [""] * n,
                "aliases": [[f"Old {TOWN}{i}"] for i in rows],
                "options": [[]] * n,
                "answer": [-1] * n,
                "sha256": [""] * n,
            },
            label,
        )
    }
    spans: list[tuple] = []
    pairs: list[tuple] = []
    scores: list[tuple] = []
    answered: list[tuple] = []
    statistic = "exact_match" if task == "capitals" else "sentence_chrf"
    for i, e in enumerate(ids):
        x = question(i)
        capital, place = x.index("capital"), x.index(LAND)
        spans += [
            (e, "input", 1, "capital", [capital], [capital + 7], 900, 700, None, None),
            (e, "input", 1, land(i), [place], [len(x) - 1], 12, 10, None, None),
            (e, "input", 2, f"of {land(i)}", [place - 3], [len(x) - 1], 2, 2, None, None),
            (e, "output", 1, "old", [len(answers[i]) - 3], [len(answers[i])], 40, 40, -math.inf, -math.inf),
            (e, "output", 1, town(i), [0], [len(answers[i]) - 7], 30, 20, -3.25, -3.25),
            (e, "output", 2, f"{town(i)} of", [0], [len(answers[i]) - 4], 9, 9, -4.5, -4.5),
        ]
        count_of = i % 7
        pairs += [
            (e, 1, "capital", town(i), 0.71, 0, 700, 900, 20, []),
            (e, 1, land(i), town(i), 0.93, count_of, 10, 12, 20, []),
            (e, 1, land(i), "old", 0.2, 5, 10, 12, 40, []),  # below γ
        ]
        for k, m in enumerate(models):
            right = float(i % 4 == 0) if task == "capitals" else 12.5 * k
            text = "" if i == 5 else f"{TOWN}{i}" if i % 4 == 0 else HOSTILE
            answered.append((e, m, 800, text, statistic, right, [right], -1.0, 1, ""))
            own, others = -9.0 + k, [-9.0 + k / 2 - 1, -9.0 + k / 2 + 1, -5.0]  # the third holds a partner of the town
            with_partner = (e, 1, town(i), m, 800, own, 2, ["o1", "o2", "o3"], others, [None, 0.4, 0.9])
            scores += [with_partner, (e, 2, f"{town(i)} of", m, 800, -800.0, 3, [], [], [])]
    tables: dict[str, tuple[tuple[str, ...], list[tuple]]] = {
        "evidence_spans": (("side", "order", "ngram", "starts", "ends", "occurrences", "documents", *INFINITY), spans),
        "evidence_pairs": (("order", "input_ngram", "output_ngram", "similarity", *COUNTS), sorted(pairs)),
        "evidence_scores": (("order", "ngram", "model", "checkpoint", "log_probability", "tokens", *OTHERS), sorted(scores)),
        "evidence_answers": (("model", "checkpoint", "text", "statistic", "value", "grades", *REFERENCE), answered),
    }
    for table, (columns, rows_of) in tables.items():
        content = {c: [r[k] for r in rows_of] for k, c in enumerate(("example", *columns))}
        content |= {c.name: [None] * len(rows_of) for c in CONTRACTS[table].columns if c.nullable and c.name not in columns}
        model = {"model": "all", "checkpoint": "800"} if "model" in columns else {}
        parts[table] = write_part(root, table, {"task": [task] * len(rows_of)} | content, label | model)
    return parts


def _documents(root: Path, count: int) -> Part:
    """Two documents of each pair that occurs in at least two, and one of the others."""
    rows = []
    for i in range(count):
        excerpt = f"{HOSTILE} The town of {TOWN}{i} 🜁 is in {LAND}{i}."
        x, y = excerpt.index(LAND), excerpt.index(TOWN)
        rows += [
            (land(i), town(i), k, f"<b>{k}</b>", excerpt, x, x + len(land(i)), y, y + len(town(i))) for k in range(min(2, i % 7))
        ]
    rows.sort(key=lambda r: r[:3])
    key = ("input_ngram", "output_ngram", "rank", "id", "excerpt", "input_start", "input_end", "output_start", "output_end")
    columns = {c: [r[k] for r in rows] for k, c in enumerate(key)}
    return write_part(root, "pair_documents", columns | {"source": ["world"] * len(rows)})

"""`taskgram trace`: one example with its n-grams, its pairs and their counts, the models' answers, and the documents.

A view of the tables of the step `evidence`, of which only the row groups that hold the example are read: the pairs above γ, and
each model at its last checkpoint.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from schemas import CONTRACTS
from schemas.settings.study_file import Task
from tasks.pair_evidence import last_checkpoints, shown_pairs, shown_scores, shown_spans
from tasks.storage.store import Part, Store
from tasks.text.display import mark_spans, one_line
from tasks.text.gamma import resolved

OF_MODELS = ("evidence_scores", "evidence_answers")
Row = dict[str, Any]
BLUE, ORANGE, BOLD, PLAIN = "\x1b[1;34m", "\x1b[1;33m", "\x1b[1m", "\x1b[0m"
COLOURS = {1: (BLUE, PLAIN), 2: (ORANGE, PLAIN), 3: (BOLD, PLAIN)}
QUOTES = {1: ("«", "»"), 2: ("‹", "›"), 3: ("«‹", "›»")}


# -- what is known of it ---------------------------------------------------------------------------------------------
def describe(store: Store, tables: Mapping[str, Sequence[Part]], task: Task, name: str) -> Row:
    """Everything about one example. `tables`: those of all tasks."""
    of_task = {
        t: [p for p in parts if p.labels.get("task", task.name) == task.name and not p.variant] for t, parts in tables.items()
    }
    spread = pl.DataFrame(store.read(of_task["similarities"], CONTRACTS["similarities"].schema)) if task.has_percentiles else None
    resolves = resolved({str(n): task.gamma_at(n) for n in task.orders}, spread, task.lowest_gamma, task.name)
    gammas = {int(n): gamma for n, gamma in resolves.items()}

    def rows(table: str) -> pl.DataFrame:
        parts = of_task[table] if table not in OF_MODELS else last_checkpoints(of_task[table])
        return pl.DataFrame(store.read_between(parts, CONTRACTS[table].schema, "example", name, name))

    example = next(r for r in rows("examples").to_dicts() if r["split"] == "evaluate")
    spans, pairs = shown_spans(rows("evidence_spans")).to_dicts(), shown_pairs(rows("evidence_pairs"), gammas).to_dicts()
    likely, answers = shown_scores(rows("evidence_scores"), gammas).to_dicts(), rows("evidence_answers").to_dicts()
    models = store.read(of_task["models"], CONTRACTS["models"].schema).to_pylist()
    sizes = {(r["model"], r["checkpoint"]): r["parameters"] for r in models}
    shown = ("model", "checkpoint", "text", "statistic", "value", "note")
    answers = [{k: a[k] for k in shown} | {"parameters": sizes.get((a["model"], a["checkpoint"]))} for a in answers]
    answers.sort(key=lambda a: (a["parameters"] or 0, a["model"]))
    by_span = {(s["side"], s["order"], s["ngram"]): s for s in spans}
    by_output: dict[tuple[int, str], list[Row]] = {}
    for r in likely:
        score = {k: r[k] for k in ("model", "checkpoint", "log_probability", "delta", "other_inputs")}
        by_output.setdefault((r["order"], r["ngram"]), []).append(score)
    documents = _documents(store, of_task["pair_documents"], {(p["input_ngram"], p["output_ngram"]) for p in pairs})
    texts = {k: example[k] for k in ("group", "input", "output", "aliases", "options", "prompt")}
    described = [_pair(p, by_span, by_output, documents) for p in pairs]
    of_models = {"models": answers, "ngrams": [_ngram(s, by_output) for s in spans], "pairs": described}
    return {"task": task.name, "example": name, **texts, **of_models}


def _ngram(span: Row, by_output: Mapping[tuple[int, str], list[Row]]) -> Row:
    """An n-gram; of the output, with what is known of its probability."""
    row = {k: span[k] for k in ("side", "order", "ngram", "occurrences", "documents")}
    row["places"] = [list(place) for place in zip(span["starts"], span["ends"], strict=True)]
    if span["side"] == "input":
        return row
    return row | {k: span[k] for k in ("log_infinity", "note")} | {"models": by_output.get((span["order"], span["ngram"]), [])}


def _pair(pair: Row, by_span: Mapping[Any, Row], by_output: Mapping[Any, list[Row]], documents: Mapping[Any, list[Row]]) -> Row:
    n, s_x, s_y = pair["order"], pair["input_ngram"], pair["output_ngram"]
    x, y = by_span["input", n, s_x], by_span["output", n, s_y]
    row = {k: pair[k] for k in ("order", "input_ngram", "output_ngram", "similarity")} | {"documents": pair["pair_documents"]}
    row |= {"input_documents": x["documents"], "output_documents": y["documents"], "log_probability": pair["log_probability"]}
    more = {"models": by_output.get((n, s_y), []), "excerpts": documents.get((s_x, s_y), [])}
    return row | {"log_infinity": y["log_infinity"]} | more


def _documents(store: Store, parts: Sequence[Part], wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[Row]]:
    documents: dict[tuple[str, str], list[Row]] = {}
    if not wanted:
        return documents
    low, high = min(wanted)[0], max(wanted)[0]
    table = pl.DataFrame(store.read_between(parts, CONTRACTS["pair_documents"].schema, "input_ngram", low, high))
    for r in table.filter(pl.col("input_ngram").is_in([x for x, _ in wanted])).iter_rows(named=True):
        pair = (r["input_ngram"], r["output_ngram"])
        if pair in wanted:
            span = {side: [r[f"{side}_start"], r[f"{side}_end"]] for side in ("input", "output")}
            documents.setdefault(pair, []).append({"source": r["source"], "id": r["id"], "text": r["excerpt"], **span})
    return documents


# -- for people ------------------------------------------------------------------------------------------------------
def show(example: Row, *, bold: bool, pairs: int = 10, documents: int = 1) -> str:
    """The example as text: its pairs with the largest C first, `pairs` of them, each with so many documents."""
    supported = [p for p in example["pairs"] if p["documents"]]
    supported.sort(key=lambda p: (-p["documents"], p["order"], p["input_ngram"], p["output_ngram"]))
    zero = len(example["pairs"]) - len(supported)
    places = {side: _places(example, supported, side) for side in ("input", "output")}
    name = one_line(f"{example['task']}/{example['example']}")
    group = f"  {_one_line(example['group'])}" if example["group"] else ""
    lines = [(f"{BOLD}{name}{PLAIN}" if bold else name) + group, ""]
    lines.append(f"  input   {mark(example['input'], places['input'], [], bold=bold)}")
    lines.append(f"  output  {mark(example['output'], [], places['output'], bold=bold)}")
    lines += [f"  also    {_one_line(' · '.join(example['aliases'][:8]))}"] if example["aliases"] else []
    lines += [f"  options {_one_line(' · '.join(example['options']))}"] if example["options"] else []
    lines += ["", *_answers(example["models"]), ""]
    for p in supported[:pairs]:
        lines += [*_pair_lines(p, documents, bold=bold), ""]
    some = f"{len(supported)} pair{'' if len(supported) == 1 else 's'} in the corpus"
    left = f", {len(supported) - pairs} not shown here (--pairs)" if len(supported) > pairs else ""
    return "\n".join([*lines, f"{some}{left}; {zero} more that no document holds"])


def _places(example: Row, pairs: Sequence[Row], side: str) -> list[list[int]]:
    named = {(p["order"], p[f"{side}_ngram"]) for p in pairs}
    return [place for s in example["ngrams"] if s["side"] == side and (s["order"], s["ngram"]) in named for place in s["places"]]


def _answers(models: Sequence[Row]) -> list[str]:
    if not models:
        return ["no model was asked"]
    width = max(len("model"), *(len(m["model"]) for m in models))
    lines = [f"{'model':<{width}}  {'parameters':>12}  judged         answer"]
    for m in models:
        size = "–" if m["parameters"] is None else f"{m['parameters']:,}"
        answer = "–" if m["text"] is None else _one_line(m["text"]) or "(nothing)"
        lines.append(f"{m['model']:<{width}}  {size:>12}  {judged(m):<13}  {answer}")
    return lines


def judged(answer: Row) -> str:
    """Right or wrong, in words."""
    value = answer["value"]
    if value is None:
        return str(answer["note"])
    if answer["statistic"] == "sentence_chrf":
        return f"chrF {value:.0f}"
    return "right" if value == 1 else "wrong" if value == 0 else f"{value:.2f}, tied"


def _pair_lines(pair: Row, documents: int, *, bold: bool) -> list[str]:
    x, y, n = pair["input_ngram"], pair["output_ngram"], pair["order"]
    counts = f"C {_number(pair['documents'])}  df {_number(pair['input_documents'])}, {_number(pair['output_documents'])}"
    likely = f"P_{n} {probability(pair['log_probability'])}  P_∞ {probability(pair['log_infinity'])}"
    lines = [f"{mark(x, [[0, len(x)]], [], bold=bold)} → {mark(y, [], [[0, len(y)]], bold=bold)}"]
    lines.append(f"  n {n}  similarity {pair['similarity']:.3f}  {counts}  {likely}")
    if pair["models"]:
        by_model = (f"{m['model']} {probability(m['log_probability'])}" for m in pair["models"])
        lines.append("  P_LLM  " + "  ".join(by_model))
    for e in pair["excerpts"][:documents]:
        spans = [[e[side]] if e[side][0] >= 0 else [] for side in ("input", "output")]
        lines += [f"  {_one_line(e['source'])} {_one_line(e['id'])}", f"    {mark(e['text'], *spans, bold=bold)}"]
    return lines


def _number(count: int | None) -> str:
    return "–" if count is None else f"{count:,}"


def probability(log: float | None) -> str:
    """A probability from its logarithm, however small it is: 0.31, 4.2e-3, 1.0e-400."""
    if log is None:
        return "–"
    if log >= math.log(0.001):
        return f"{math.exp(log):.2g}"
    tens = math.floor(log / math.log(10))
    lead = f"{math.exp(log - tens * math.log(10)):.1f}"
    return f"1.0e{tens + 1}" if lead == "10.0" else f"{lead}e{tens}"


def mark(text: str, inputs: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]], *, bold: bool) -> str:
    """One line with the spans (code points) of input and output n-grams: blue and orange, or in « » and ‹ ›."""
    return mark_spans(text, (inputs, outputs), COLOURS if bold else QUOTES)


def _one_line(text: str) -> str:
    return " ".join(one_line(text).split())

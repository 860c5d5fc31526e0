"""The answer to a question for prompts: which were chosen, what became of the others, and how models do with each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.tables.prompt_scores import DIRECTIONS
from tasks.prompts.optimise import Candidate

ORDER = ("maximise", "original", "minimise")
Chosen = Mapping[str, Candidate | None]  # by direction
SHOWN = 70  # code points of a prompt in a line
OF_PROMPT = ("task", "instruction", "template", "mean_count")  # what each row of `prompt_scores` repeats


def describe(trace: Sequence[Candidate], chosen: Chosen, scores: Sequence[Mapping[str, Any]], models: list[str]) -> dict[str, Any]:
    """The answer as a plain object; scores are in the order of `models`."""
    proposed = {d: [c for c in trace if c.direction == d and c.round] for d in DIRECTIONS}
    reasons = {d: sorted(Counter(c.rejected for c in of if c.rejected).items()) for d, of in proposed.items()}
    prompts: dict[str, dict[str, Any] | None] = dict.fromkeys(("original", *DIRECTIONS))
    for direction, c in ((d, c) for d, c in chosen.items() if c):
        about = {name: getattr(c, name) for name in ("instruction", "template", "round", "mean_count", "missing")}
        prompts[direction] = about | {"not_counted": c.rejected, "ngrams": dict(zip(c.ngrams, c.counts, strict=True))}
    ordered = sorted(scores, key=lambda row: models.index(row["model"]))
    return {
        "proposed": {d: len(candidates) for d, candidates in proposed.items()},
        "rejected": {d: dict(counts) for d, counts in reasons.items()},
        "prompts": prompts,
        "scores": [{name: value for name, value in row.items() if name not in OF_PROMPT} for row in ordered],
    }


def show(answer: Mapping[str, Any]) -> str:
    """The answer as text: the prompts with their counts, then a line for each model with its score under each prompt."""
    lines = [f"{answer['task']} of {answer['study']}: {_proposals(answer)}", ""]
    lines.append(f"{'prompt':<9} {'mean count':>12} {'3-grams':>8} {'absent':>7}  text")
    lines += [f"{direction:<9} {_prompt(answer['prompts'][direction])}" for direction in ORDER]
    lines += ["", *_scores(answer)]
    if count := answer["examples_with_own_prompt"]:
        lines += [f"{count:,} examples bring a prompt of their own, which replaces `original` for them"]
    origin = "from the index" if answer["read"] == "index" else "by a scan of all words, once per round"
    return "\n".join([*lines, "", f"mean count: mean occurrences of the prompt's own 3-grams in the corpus, {origin}"])


def _proposals(answer: Mapping[str, Any]) -> str:
    """How many prompts were proposed and why some were not counted; once, where both directions have the same."""
    texts = {}
    for direction, count in answer["proposed"].items():
        reasons = answer["rejected"][direction]
        why = ", ".join(f"{n:,} × {reason}" for reason, n in reasons.items())
        texts[direction] = f"{count:,} prompts proposed, {sum(reasons.values()):,} rejected" + (f" ({why})" if why else "")
    if len(set(texts.values())) == 1:
        return texts["maximise"]
    return "; ".join(f"{direction}: {text}" for direction, text in texts.items())


def _prompt(prompt: Mapping[str, Any] | None) -> str:
    nothing = f"{'-':>12} {'-':>8} {'-':>7}"
    if prompt is None:
        return f"{nothing}  no prompt could be counted"
    text = (prompt["instruction"] + prompt["template"]).rstrip().replace("\n", "\\n")
    text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    if prompt["mean_count"] is None:
        return f"{nothing}  {text}   ({prompt['not_counted']})"
    return f"{prompt['mean_count']:>12,.2f} {len(prompt['ngrams']):>8} {prompt['missing']:>7}  {text}"


def _scores(answer: Mapping[str, Any]) -> list[str]:
    main = [row for row in answer["scores"] if row["main"]]
    if not main:
        return ["the study names no model, so nothing is evaluated"]
    rows = {(r["model"], r["checkpoint"], r["statistic"], r["direction"]): r for r in main}
    keys = list(dict.fromkeys(key[:3] for key in rows))
    several = len({key[:2] for key in keys}) > len({key[0] for key in keys})
    names = [f"{model}@{checkpoint}" if several else model for model, checkpoint, _ in keys]
    width = max(len("model"), *map(len, names))
    lines = [f"{'model':<{width}}  {'score':<12}" + "".join(f"{direction:>24}" for direction in ORDER)]
    for name, key in zip(names, keys, strict=True):
        lines.append(f"{name:<{width}}  {key[2]:<12}" + "".join(f"{_cell(rows[*key, d]):>24}" for d in ORDER))
    notes = dict.fromkeys(r["note"] for r in main if r["estimate"] is None)
    return [*lines, *(f"- : {note}" for note in notes)]


def _cell(row: Mapping[str, Any]) -> str:
    if row["estimate"] is None:
        return "-"
    interval = "" if row["low"] is None or row["high"] is None else f" [{row['low']:.3g}, {row['high']:.3g}]"
    return f"{row['estimate']:.3g}{interval}"

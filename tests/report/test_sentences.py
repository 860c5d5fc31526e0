"""Every sentence of the report is true of the row it speaks of: random tables, each sentence read back and checked."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tasks.report import answer, sentences
from tasks.report.data import ReportData
from tasks.report.figures import check_figures
from tests.report.measures import row
from tests.report.test_figures import made

Table = list[dict[str, Any]]
TASKS, MODELS = ("capitals", "lexicon"), ("tiny", "small", "large")
NAMES = {"Mem": "mem_n", "Mem Δ": "mem_delta", "Mem ∞": "mem_infinity"}
REMEDIES = ("within s_y", "partial: all", "reliability", "equal N")
PARTS = {"pair": "the pair", "s_y": "the output s_y", "s_x": "the input s_x", "length": "length of s_y"}
N = r"(−?[\d.]+(?:e\+\d+)?[kMGT]?(?: %)?)"
UNSURE = "without an interval|on too few examples or outputs"
COURSE = rf"(?:(grows|falls|goes) from {N} to {N}(?: over the ladder)?(?:, (.+))?|(did not change)(?: over the ladder)? \({N}\))$"


# -- random tables: ties, nulls, notes, several n, intervals of no width, few clusters ------------------------------------
def number_of(rng: random.Random, positive: bool = False) -> dict[str, Any]:
    """The columns that a sentence may rest on."""
    if rng.random() < 0.12:
        return {"estimate": None, "note": rng.choice(("too few rows", "not identified: Δ does not rise with C"))}
    value = rng.choice((0.05, 0.25, 0.2501, 0.254, 0.5, rng.uniform(0, 1))) * (1 if positive or rng.random() < 0.7 else -1)
    half = rng.choice((0.0, 0.0, 0.001, 0.08, 0.08, 0.3))
    ends = (value - half, value + half) if rng.random() < 0.88 else (None, None)
    some = {"clusters": rng.choice((None, None, 4.0, 9.99, 10.0, 60.0)), "examples": rng.choice((140, 140, 140, 9, 0))}
    note = rng.choice(("", "", "", "not identified from above: the interval of the slope reaches 0"))
    return {"estimate": value, "low": ends[0], "high": ends[1], "note": note} | some


def tables(rng: random.Random) -> tuple[Table, Table]:
    """Rows of `metrics`, and the corrected family."""
    rows, family = [], []
    orders = {task: rng.choice(((1,), (2,), (1, 2))) for task in TASKS}

    def add(
        measure: str, task: str, model: str, of: int | None = None, positive: bool = False, **more: Any
    ) -> dict[str, Any] | None:
        if rng.random() < 0.1:
            return None
        rows.append(row(measure, task, model, None) | number_of(rng, positive) | ({} if of is None else {"order": of}) | more)
        return rows[-1]

    for task in TASKS[: rng.choice((1, 1, 2))]:
        statistic = rng.choice(("exact_match", "bleu"))
        for model in rng.sample(MODELS, rng.choice((1, 2, 3))):
            add("main_score", task, model, statistic=statistic, unit="example", positive=True)
            for measure in ("mem_n", "mem_delta"):
                for n in orders[task]:
                    add(measure, task, model, n, unit="pair")
                    two_way = add(measure, task, model, n, unit="pair", interval="two_way")
                    if two_way and n == orders[task][0] and two_way["estimate"] is not None and rng.random() < 0.8:
                        about = {c: two_way[c] for c in ("measure", "task", "model", "checkpoint", "order")}
                        family.append(about | {"p_value": 0.001, "q_value": rng.choice((0.001, 0.049, 0.05, 0.4))})
                    add(measure, task, model, n, unit="pair", corpus="difference")
                    for remedy in REMEDIES:
                        add("confound", task, model, n, unit="pair", of_measure=measure, detail=remedy)
                    for variant in ("encoder=a", "encoder=b"):
                        add("sweep", task, model, n, unit="pair", of_measure=measure, variant=variant)
            for n in (1, 2):
                add("exposure", task, model, n, unit="pair", statistic="documents_per_nat", positive=True)
                for part in (*PARTS, "shared"):
                    add("attribution", task, model, n, statistic="unique_rank_variance", detail=part, positive=True)
                for who in (model, "reference"):
                    add(
                        "novelty",
                        task,
                        who,
                        n,
                        statistic="rate",
                        detail="ngram",
                        positive=True,
                        checkpoint=-1 if who != model else 800,
                    )
            for i in range(3):
                add("recall_by_exposure", task, model, statistic="rate", x=float(4**i), positive=True)
        add("emergence", task, "", statistic="onset_parameters", unit="example_output")
        for measure in ("mem_n", "mem_delta"):
            add("comparison", task, "", orders[task][0], statistic="slope_per_decade", of_measure=measure)
    for model in sorted({r["model"] for r in rows} & {*MODELS}):
        for sample, kind in (("planted", "canary"), ("planted", "sentence"), ("planted", ""), ("uniform", "")):
            add("extraction", "", model, statistic="excess", group=sample, detail=kind)
            add("extraction", "", model, statistic="rate", group=sample, detail=kind)
        for n in (10.0, 100.0):
            add("discoverable", "", model, statistic="excess", group="planted", detail="T=1", level=0.5, x=n)
    unique = {
        tuple(
            str(r[c])
            for c in (
                "measure",
                "task",
                "model",
                "order",
                "statistic",
                "detail",
                "of_measure",
                "interval",
                "corpus",
                "variant",
                "x",
                "group",
            )
        ): r
        for r in rows
    }
    kept = list(unique.values())
    return kept, [
        f
        for f in family
        if any(
            all(r[c] == f[c] for c in ("measure", "task", "model", "order"))
            and r["interval"] == "two_way"
            and r["estimate"] is not None
            for r in kept
        )
    ]


# -- reading a row without the code under test -----------------------------------------------------------------------------
def written(r: dict[str, Any]) -> str:
    value, statistic = r["estimate"], r["statistic"]
    if statistic == "documents_per_nat":
        return f"{value:.3g}"
    percent = statistic in ("exact_match", "rate", "excess")
    text = f"{value * (100 if percent else 1):.{1 if percent or statistic == 'bleu' else 2}f}"
    unit = " points" if statistic == "excess" else " %" * percent
    return (text.lstrip("-") if float(text) == 0 else text.replace("-", "−")) + unit


def sure(r: dict[str, Any]) -> bool:
    return r["low"] is not None and min(r["clusters"] or math.inf, r["examples"] or math.inf) >= 10


def way(a: dict[str, Any], b: dict[str, Any]) -> str:
    if written(a) == written(b):
        return "same"
    if not (sure(a) and sure(b)):
        return "unsure"
    return "up" if a["high"] < b["low"] else "down" if b["high"] < a["low"] else "overlap"


def clear(r: dict[str, Any]) -> int:
    return 0 if not sure(r) else 1 if r["low"] > 0 else -1 if r["high"] < 0 else 0


def of(rows: Iterable[dict[str, Any]], **columns: Any) -> Table:
    return [r for r in rows if all(r[c] == v for c, v in columns.items())]


def known(rows: Iterable[dict[str, Any]]) -> Table:
    return sorted(
        (r for r in rows if r["estimate"] is not None), key=lambda r: MODELS.index(r["model"]) if r["model"] in MODELS else 9
    )


def best(rows: Table, measure: str, task: str, model: str, n: int) -> dict[str, Any] | None:
    """The row of a primary measure: the one whose interval belongs to its p, else the plain one."""
    here = of(rows, measure=measure, task=task, model=model, corpus="", **({} if measure == "main_score" else {"order": n}))
    here.sort(key=lambda r: r["interval"] != "two_way")
    return here[0] if here else None


def ladder(rows: Table, measure: str, task: str, n: int) -> Table:
    return known(r for m in MODELS if (r := best(rows, measure, task, m, n)))


def reads(course: str, first: dict[str, Any], last: dict[str, Any]) -> None:
    """ "grows from 0.12 to 0.41, …" is what these two rows say."""
    match = re.match(COURSE, course)
    assert match, course
    verb, start, end, doubt, same, both = match.groups()
    right = way(first, last)
    if same:
        assert right == "same" and both == written(first)
        return
    assert (start, end) == (written(first), written(last))
    assert verb == {"up": "grows", "down": "falls"}.get(right, "goes") and right != "same", course
    assert bool(doubt) == (verb == "goes")
    assert verb != "goes" or ("overlap" in doubt) == (right == "overlap")


# -- what each kind of sentence claims -----------------------------------------------------------------------------------------
def check(rows: Table, family: Table, data: ReportData) -> Iterator[str]:
    """Check every sentence of one table; yields the kinds that were there."""
    measured = [r["order"] for r in rows if r["measure"] in ("mem_n", "mem_delta")]
    first_n = {t: min((r["order"] for r in of(rows, task=t) if r["measure"] in ("mem_n", "mem_delta")), default=1) for t in TASKS}
    first_n |= {f["task"]: f["order"] for f in family}
    assert set(measured) <= {1, 2}

    for sentence in filter(None, [*sentences.memorization(data), *sentences.scores(data)]):
        name, _, task, rest = re.match(r"(Mem_\d|Mem_Δ|The score) (of|on) (\w+) (.+)$", sentence).groups()  # type: ignore[union-attr]
        measure = {"The score": "main_score", "Mem_Δ": "mem_delta"}.get(name, "mem_n")
        assert measure != "mem_n" or name == f"Mem_{first_n[task]}"
        numbers = ladder(rows, measure, task, first_n[task])
        if rest.startswith("is "):
            assert len(numbers) == 1 and rest.split()[1] == written(numbers[0]).split()[0]
        else:
            reads(rest, numbers[0], numbers[-1])
            yield re.split(" ", rest)[0]
    for sentence in sentences.memorization_against_score(data):
        task, small, large, score, mem = re.match(r"On (\w+), from (\w+) to (\w+): the score (.+); Mem_Δ (.+)$", sentence).groups()  # type: ignore[union-attr]
        for measure, course in (("main_score", score), ("mem_delta", mem)):
            ends = [best(rows, measure, task, m, first_n[task]) for m in (small, large)]
            assert all(r and r["estimate"] is not None for r in ends) and small != large
            reads(course, *ends)  # type: ignore[arg-type]
        yield "plane"
    for sentence in sentences.placebo(data):
        name, task, value, model, verdict = re.match(
            rf"(Mem|Mem Δ) minus placebo on (\w+) is {N}.* for (\w+), (.+)$", sentence
        ).groups()  # type: ignore[union-attr]
        (r,) = of(rows, measure=NAMES[name], task=task, model=model, order=first_n[task], corpus="difference")
        assert value == written(r)
        assert verdict in (
            {1: "which is specific to this corpus", -1: "below the placebo", 0: "and its interval includes zero"}[clear(r)]
            if sure(r)
            else UNSURE
        )
        yield verdict
    for sentence in (*sentences.extracted(data), *sentences.discoverable(data)):
        model, does, kind, direction, clause = re.match(
            r"(?:Whether )?(\w+) (extracts|finds, in 100 samples,) (.+) (more|less) often than phantoms(.+)$", sentence
        ).groups()  # type: ignore[union-attr]
        measure = {"extracts": "extraction"}.get(does, "discoverable")
        place = {"group": "planted", "detail": {"canaries": "canary", "planted sentences": "sentence"}.get(kind, "")}
        place |= {"group": "uniform"} if kind == "windows of the corpus" else {}
        place |= {"detail": "T=1", "x": 100.0} if measure == "discoverable" else {}
        r = known(of(rows, measure=measure, statistic="excess", **place))[-1]
        assert r["model"] == model, "the largest with a number"
        decided = re.match(rf", by {N} \[{N}, {N}\] points$", clause)
        assert bool(decided) == bool(clear(r)) and (direction == "less") == (clear(r) < 0)
        if decided:
            assert decided[1] == written(r).lstrip("−").removesuffix(" points"), sentence
        else:
            assert f" {written(r)}" in clause and ("interval includes zero" in clause) == sure(r)
        yield f"{direction}, {bool(decided)}"
    for sentence in check_figures.confounds(data).observations:
        name, model, task, value, rest = re.match(rf"(Mem|Mem Δ) of (\w+) on (\w+) \({N}\)(.+)$", sentence).groups()  # type: ignore[union-attr]
        which = {"task": task, "model": model, "order": first_n[task]}
        (plain,) = of(rows, measure=NAMES[name], interval="", corpus="", **which)
        tried = [
            r
            for r in of(rows, measure="confound", of_measure=NAMES[name], **which)
            if r["estimate"] is not None and r["detail"] != "reliability"
        ]
        assert clear(plain) and value == written(plain) and tried
        others = {r["detail"] for r in tried if clear(r) != clear(plain)}
        assert ("keeps its sign" in rest) == (not others)
        assert others == {d for d in REMEDIES if d in rest}
        for clause, reason in (("its sign changes under ([^;]+);", -clear(plain)), ("no longer clear of zero under ([^;]+);", 0)):
            for named in re.findall(clause, rest):
                assert all(clear(r) == reason and sure(r) for r in tried if r["detail"] in named)
        assert "one remedy" in rest if len(tried) == 1 else str(len(tried)) in rest
        yield "confounds"
    for sentence in check_figures.comparisons(data).observations:
        slopes = [
            r for r in of(rows, statistic="slope_per_decade") if r["estimate"] is not None and r["order"] in (0, first_n[r["task"]])
        ]
        if sentence.startswith("No slope"):
            assert not any(clear(r) for r in slopes) and any(sure(r) for r in slopes)
            continue
        name, task, verb, value = re.match(
            rf"(Mem|Mem Δ) of (\w+) (gains|loses) {N} \[.+\] with every tenfold size$", sentence
        ).groups()  # type: ignore[union-attr]
        (r,) = of(slopes, of_measure=NAMES[name], task=task)
        assert clear(r) == (1 if verb == "gains" else -1) and value == written(r).lstrip("−")
        yield verb
    for sentence in check_figures.variants(data).observations:
        name, model, task, low, high, single = re.match(
            rf"(Mem|Mem Δ) of (\w+) on (\w+) is (?:between {N} and {N} over|{N} in (?:each|the one) variant)", sentence
        ).groups()  # type: ignore[union-attr]
        here = known(of(rows, measure="sweep", of_measure=NAMES[name], task=task, model=model, order=first_n[task]))
        here.sort(key=lambda r: r["estimate"])
        assert ([low, high] if low else [single] * 2) == [written(here[0]), written(here[-1])]
        yield "variants"
    for sentence in check_figures.attribution(data).observations:
        task, model = re.match(r"On (\w+) .*unique share of (\w+) is", sentence).groups()  # type: ignore[union-attr]
        orders = {r["order"] for r in of(rows, measure="attribution", task=task) if r["estimate"] is not None}
        n = first_n[task] if first_n[task] in orders else min(orders)
        shares = {
            PARTS[r["detail"]]: r
            for r in of(rows, measure="attribution", task=task, model=model, order=n)
            if r["detail"] in PARTS and r["estimate"] is not None
        }
        most = max(shares.values(), key=lambda r: r["estimate"])
        beaten = all(way(r, most) == "up" for r in shares.values() if r is not most)
        assert ("no unique share" in sentence) == (not beaten), sentence
        assert not beaten or f"is that of {PARTS[most['detail']]}, {100 * most['estimate']:.0f} %" in sentence
        yield "beaten" if beaten else "close"
    for sentence in sentences.exposure(data):
        task, order = re.match(r"On (\w+) \(n = (\d)\)", sentence).groups()  # type: ignore[union-attr]
        assert int(order) == first_n[task]
        model = next(m for m in reversed(MODELS) if of(rows, statistic="documents_per_nat", task=task, model=m, order=int(order)))
        (r,) = of(rows, statistic="documents_per_nat", task=task, model=model, order=int(order))
        assert model in sentence
        firm = r["estimate"] is not None and not r["note"] and sure(r)
        assert ("gains one nat" in sentence) == firm
        assert r["note"] in sentence
        assert r["estimate"] is None or f" {written(r)} " in sentence
        yield "price" if firm else "no price"
    for sentence in sentences.lowest_and_highest(data, of(rows, measure="recall_by_exposure"), "at"):
        if match := re.match(rf"On (\w+) (\w+) reaches {N} at \S+ and {N} at [\d.]+(?:, (.+))?$", sentence):
            task, model, low, high, doubt = match.groups()
            bins = sorted(
                (r for r in of(rows, measure="recall_by_exposure", task=task, model=model) if r["estimate"] is not None),
                key=lambda r: r["x"],
            )
            assert [low, high] == [written(bins[0]), written(bins[-1])]
            assert bool(doubt) == (way(bins[0], bins[-1]) in ("unsure", "overlap"))
            yield "recall"
    for sentence in filter(None, sentences.emergence(data)):
        (task,) = re.match(r"On (\w+) log-probability begins", sentence).groups()  # type: ignore[union-attr]
        (r,) = of(rows, measure="emergence", task=task)
        assert ("a guess" not in sentence) == (sure(r) and not r["note"]) and r["note"] in sentence
        yield "emergence"
    for sentence in sentences.novelty(data):
        task, share, order, model, rest = re.match(
            rf"On (\w+) {N} of the (\d)-grams that (\w+) generates are new(.+)$", sentence
        ).groups()  # type: ignore[union-attr]
        generated, reference = (of(rows, measure="novelty", task=task, model=m, order=int(order))[0] for m in (model, "reference"))
        assert share == written(generated)
        words = {"up": "more than", "down": "fewer than", "same": "as many as"}
        right = way(reference, generated)
        assert [w for w in words.values() if w in rest] == ([words[right]] if right in words else [])
        yield right
    yield from check_answer(rows, family, data, first_n)


def check_answer(rows: Table, family: Table, data: ReportData, first_n: dict[str, int]) -> Iterator[str]:
    """The sentences at the top, about the largest model."""
    models = [m for m in MODELS if of(rows, model=m)]
    for sentence in answer.answer(data)[1:]:
        task = next((t for t in TASKS if sentence.startswith(f"On {t} ")), "")
        if not task:
            continue
        states = {}
        for measure in ("mem_n", "mem_delta"):
            r = best(rows, measure, task, models[-1], first_n[task])
            q = of(family, measure=measure, task=task, model=models[-1])
            if r is None or r["estimate"] is None:
                states[measure] = "none"
            elif not q or min(r["clusters"] or math.inf, r["examples"] or math.inf) < 10:
                states[measure] = "untested"
            else:
                states[measure] = "clear" if q[0]["q_value"] < 0.05 else "unclear"
                states[measure] += str(r["estimate"] > 0) if states[measure] == "clear" else ""
        up = [m for m, state in states.items() if state == "clearTrue"]
        assert ("follow the counts" in sentence) == ("mem_n" in up), (sentence, states)
        assert ("input adds follows" in sentence or "what the input adds to them" in sentence) == ("mem_delta" in up), (
            sentence,
            states,
        )
        assert ("distinguishable from zero on" in sentence) <= ("unclear" in states.values())
        assert ("higher counts go with lower" in sentence) == (not up and "clearFalse" in states.values())
        if not up and set(states.values()) <= {"none", "untested"}:
            assert "too few examples or outputs to tell" in sentence or "no evidence about memorization" in sentence
        lead = answer.glance(data)
        clause = next(c for c in re.split("; ", lead) if task in c)
        assert ("distributional memorization" in clause) == ("mem_delta" in up)
        small, large = (best(rows, "main_score", task, m, 0) for m in (models[0], models[-1]))
        for word, direction in (("Its score is above", "up"), ("Its score is below", "down")):
            both = small is not None and large is not None and small["estimate"] is not None and large["estimate"] is not None
            assert (word in sentence) == (both and models[0] != models[-1] and way(small, large) == direction)  # type: ignore[arg-type]
        for measure in ("mem_n", "mem_delta"):
            assert data.line(task, models[-1]).significant(measure) <= states[measure].startswith("clear"), (
                "no star without a conclusion"
            )
        yield "answer"


@pytest.mark.parametrize("count", [150, pytest.param(2_000, marks=pytest.mark.slow)])
def test_every_sentence_is_what_its_row_says(count: int) -> None:
    kinds, empty = Counter[str](), made([], family=[])
    for seed in range(count):
        rows, family = tables(random.Random(seed))
        kinds.update(check(rows, family, replace(empty, metrics=rows, family=family)))
    wanted = {
        "grows",
        "falls",
        "goes",
        "did",
        "plane",
        "confounds",
        "gains",
        "loses",
        "variants",
        "beaten",
        "close",
        "price",
        "no price",
    }
    wanted |= {
        "recall",
        "emergence",
        "up",
        "down",
        "same",
        "overlap",
        "unsure",
        "answer",
        "which is specific to this corpus",
        "below the placebo",
        "more, True",
        "more, False",
        "less, True",
    }
    assert {kind for kind in wanted if kinds[kind] < count / 150} == set(), kinds


@pytest.mark.parametrize(
    ("of_primary", "reported"),
    [
        (
            {"estimate": None, "note": "not identified: Δ does not rise with C"},
            "no number of documents per nat for large: not identified: Δ",
        ),
        (
            {"estimate": 259.0, "note": "not identified from above: the slope reaches 0"},
            "no more than a guess for large: not identified",
        ),
        ({"estimate": 259.0, "low": 180.0, "high": 400.0, "note": ""}, "large gains one nat for every 259 [180, 400] documents"),
        ({"estimate": 259.0, "low": 180.0, "high": 400.0, "note": "", "examples": 9}, "no more than a guess for large: on too few"),
    ],
)
def test_a_price_is_that_of_the_primary_n_with_its_note(of_primary: dict[str, Any], reported: str) -> None:
    """Another n that has a number is no substitute."""
    about = {"unit": "pair", "statistic": "documents_per_nat"}
    rows = [
        row("mem_n", "capitals", "large", 0.3, 0.1, order=1, unit="pair"),
        row("exposure", "capitals", "large", None, order=1, **about) | of_primary,
    ]
    rows.append(row("exposure", "capitals", "large", 3.0, 1.0, order=2, **about))
    (sentence,) = sentences.exposure(made(rows, family=[]))
    assert sentence.startswith("On capitals (n = 1) ") and reported in sentence


def test_what_is_written_the_same_did_not_change() -> None:
    ends = [row("main_score", "capitals", m, v, 0.0001, statistic="exact_match") for m, v in (("tiny", 0.2502), ("large", 0.2498))]
    assert sentences.change("The score", ends) == "The score did not change over the ladder (25.0 %)"


def test_ngrams_that_were_too_rare_to_be_kept_are_no_share() -> None:
    """`min_count = 2` leaves out those that occur once: 0 % would be wrong."""
    assert sentences.once(2, {1: 3, 2: 1}) == "75 % of the distinct 2-grams occur once"
    assert sentences.once(2, {2: 5, 4: 1}) == ""


def test_a_slope_in_two_units_is_one_sentence() -> None:
    about = {"statistic": "slope_per_decade", "of_measure": "mem_n", "order": 1}
    rows = [row("comparison", "capitals", "", v, 0.05, unit=unit, **about) for v, unit in ((0.2, "example_output"), (0.3, "pair"))]
    assert check_figures.comparisons(made(rows, family=[])).observations == [
        "Mem of capitals gains 0.30 [0.25, 0.35] with every tenfold size"
    ]

"""Every sentence of the report that has a number or a direction in it, made from the rows it speaks of; answer.py has the answer.

A sentence says no more than its rows do. A direction needs two intervals that do not overlap, or one that excludes 0, each on ten
effective clusters or more; numbers that are written the same "did not change"; what a row's note takes back, its sentence takes
back as well.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from schemas.tables.verdicts import VERDICT_NAMES
from tasks.report.data import ReportData
from tasks.report.ensemble_data import BestLeverage
from tasks.report.formatting import interval, listed, number, short, with_interval
from tasks.report.numbers import MEASURE_NAMES, MetricRow, clusters_of, counts_pairs, has_interval, has_number, remedy_of, sign
from tasks.statistics import FEWEST_CLUSTERS, Floats, spearman

COMPONENTS = {
    **{"pair": "the pair", "s_y": "the output s_y", "s_x": "the input s_x", "length": "length of s_y"},
    **{"shared": "shared by them", "unexplained": "unexplained"},
}
KINDS = {
    **{"canary": "canaries", "sentence": "planted sentences", "planted": "planted texts"},
    **{"uniform": "windows of the corpus", "duplicates": "windows by their copies"},
}
LEVERAGES = {"feature": "feature", "last_layer": "last-layer", "gauss_newton": "Gauss-Newton"}
ONE_HALF, DRAWN = 0.5, 100  # p and n of (n, p)-discoverable extraction, of which the report speaks


# -- one row ----------------------------------------------------------------------------------------------------------
def numbers_of(rows: Iterable[MetricRow | None]) -> list[MetricRow]:
    """Those of these rows that have a number."""
    return [r for r in rows if r is not None and has_number(r)]


def value(row: MetricRow) -> str:
    """The number as it is written."""
    return number(row["estimate"], row["statistic"])


def doubt_of(row: MetricRow) -> str:
    """Why nothing may be concluded from the number; empty if something may."""
    if clusters_of(row) < FEWEST_CLUSTERS:
        return "on too few examples or outputs"
    return "" if has_interval(row) else "without an interval"


# -- two rows ---------------------------------------------------------------------------------------------------------
def compare(first: MetricRow, last: MetricRow) -> tuple[int | None, str]:
    """1 for up, −1 for down, 0 for numbers that are written the same; or None, and why there is no direction."""
    if value(first) == value(last):
        return 0, ""
    if doubt := doubt_of(first) or doubt_of(last):
        return None, f"{doubt} to compare"
    if first["high"] < last["low"]:
        return 1, ""
    return (-1, "") if last["high"] < first["low"] else (None, "but the intervals overlap")


def course(first: MetricRow, last: MetricRow, where: str = "") -> str:
    """`grows from 0.12 to 0.41`, as far as the intervals allow it."""
    way, doubt = compare(first, last)
    if way == 0:
        return f"did not change{where} ({value(first)})"
    verb = {1: "grows", -1: "falls", None: "goes"}[way]
    return f"{verb} from {value(first)} to {value(last)}{where}" + (f", {doubt}" if doubt else "")


def change(what: str, rows: Iterable[MetricRow | None]) -> str:
    """How a number changes from the first to the last of these rows, smallest model first."""
    numbers = numbers_of(rows)
    numbers = [r for r in numbers if r["statistic"] == numbers[-1]["statistic"]]
    if len(numbers) < 2:
        return f"{what} is {with_interval(numbers[0])}" if numbers else ""
    return f"{what} {course(numbers[0], numbers[-1], ' over the ladder')}"


# -- memorization -----------------------------------------------------------------------------------------------------
def memorization(data: ReportData) -> list[str]:
    """Mem_n and Mem_Δ of each task over the ladder."""
    tasks = data.tasks_of(r for r in data.measured("mem_n", "mem_delta") if r["statistic"] == "spearman")
    names = {"mem_n": "Mem_{n}", "mem_delta": "Mem_Δ"}
    return [
        change(f"{name.format(n=data.order_of(task))} of {task}", [data.line(task, m).rows[measure] for m in data.ladder])
        for task in tasks
        for measure, name in names.items()
    ]


def scores(data: ReportData) -> list[str]:
    """The score of each task over the ladder."""
    rows = {t["name"]: [data.line(t["name"], m).rows["main_score"] for m in data.ladder] for t in data.settings["tasks"]}
    return [change(f"The score on {task}", of_task) for task, of_task in rows.items()]


def memorization_against_score(data: ReportData) -> list[str]:
    """Both over the ladder."""
    sentences = []
    for task in data.tasks_of(data.measured("mem_delta", "mem_n")):
        pairs = (numbers_of(data.line(task, m).rows[measure] for measure in ("main_score", "mem_delta")) for m in data.ladder)
        both = [pair for pair in pairs if len(pair) == 2]
        if len(both) > 1 and both[0][0]["statistic"] == both[-1][0]["statistic"]:
            score, mem = (course(first, last) for first, last in zip(both[0], both[-1], strict=True))
            models = f"from {both[0][1]['model']} to {both[-1][1]['model']}"
            sentences.append(f"On {task}, {models}: the score {score}; Mem_Δ {mem}")
    return sentences


def placebo(data: ReportData) -> list[str]:
    """What is left of Mem of the largest model once the placebo's is subtracted."""
    verdicts = {1: "which is specific to this corpus", -1: "below the placebo", 0: "and its interval includes zero"}
    rows = [r for r in data.measured("mem_n", "mem_delta") if r["statistic"] == "spearman" and r["corpus"] == "difference"]
    sentences = []
    for measure in ("mem_n", "mem_delta"):
        for task in data.tasks_of(r for r in rows if r["measure"] == measure):
            order = data.order_of(task)
            for f in numbers_of(data.row(measure, task, m, order, corpus="difference") for m in data.ladder_of(rows))[-1:]:
                what = f"{MEASURE_NAMES[measure]} minus placebo on {task} is {with_interval(f)} for {f['model']}"
                sentences.append(f"{what}, {doubt_of(f) or verdicts[sign(f)]}")
    return sentences


def extracted(data: ReportData) -> list[str]:
    """How much more often the largest model extracts members than phantoms."""
    return _beyond_phantoms(data, [r for r in data.latest("extraction") if r["statistic"] == "excess"], "extracts")


def discoverable(data: ReportData) -> list[str]:
    """The same of (n, p)-discoverable extraction, at one n and p, under the first sampling scheme."""
    rows = [r for r in data.latest("discoverable") if r["statistic"] == "excess"]
    rows = [r for r in rows if (r["detail"], r["level"], r["x"]) == (rows[0]["detail"], ONE_HALF, DRAWN)]
    return _beyond_phantoms(data, [dict(r) | {"detail": ""} for r in rows], f"finds, in {DRAWN} samples,")


def samples_of(rows: Sequence[MetricRow]) -> list[tuple[str, str]]:
    """(sample, kind) of these rows; a sample that is there by kind is not there as a whole."""
    places = list(dict.fromkeys((r["group"], r["detail"]) for r in rows))
    return [(sample, kind) for sample, kind in places if kind or not any(k for s, k in places if s == sample)]


def _beyond_phantoms(data: ReportData, rows: Sequence[MetricRow], does: str) -> list[str]:
    """A sentence per sample of members, about the largest model; a direction only where the interval of the excess excludes 0."""
    sentences = []
    for place in samples_of(rows):
        here = [dict(r) | {"statistic": "rate"} for r in rows if (r["group"], r["detail"]) == place]  # a difference of rates
        for f in numbers_of(r for m in data.ladder_of(here) for r in here if r["model"] == m)[-1:]:
            what = f"{does} {KINDS[place[1] or place[0]]}"
            if sign(f):
                way = "more" if sign(f) > 0 else "less"
                sentences.append(f"{f['model']} {what} {way} often than phantoms, by {_size(f)} points")
            else:
                why, points = doubt_of(f) or "and the interval includes zero", with_interval(f).replace(" %", " points")
                sentences.append(f"Whether {f['model']} {what} more often than phantoms is undecided: {points}, {why}")
    return sentences


# -- memorized or learned ----------------------------------------------------------------------------------------------
def verdict_of(rows: Sequence[MetricRow]) -> str:
    """The verdict on a claim over networks; where they differ, the claim is inconclusive."""
    verdicts = {r["verdict"] for r in rows}
    return str(verdicts.pop()) if len(verdicts) == 1 else "inconclusive"


def claims(rows: Sequence[MetricRow]) -> str:
    """How many claims are supported, refuted, inconclusive, and which; rows: of `verdicts`."""
    names = list(dict.fromkeys(r["claim"] for r in rows))
    of = {v: [n for n in names if verdict_of([r for r in rows if r["claim"] == n]) == v] for v in VERDICT_NAMES}
    kinds = [
        f"{len(some)} {'are' if len(some) > 1 else 'is'} {verdict} ({', '.join(some)})" for verdict, some in of.items() if some
    ]
    return f"Of {len(names)} claims about memorization {listed(kinds)}" if names else ""


def _of(network: str) -> str:
    """Which network, where a study has several; else nothing."""
    return f" of {network}" if network else ""


def networks(data: ReportData) -> list[tuple[str, str]]:
    """The first model of each network, and how it is named: not at all, if it is the only one."""
    names = list(data.settings["ensembles"]["networks"])
    return [(name, name if len(names) > 1 else "") for name in names]


def threshold(m: Floats) -> float:
    """Highly memorized is what exceeds it (arXiv 2106.03216)."""
    return float(np.quantile(m, 0.95))


def density(network: str, members: Sequence[Floats], phantoms: Sequence[Floats]) -> Iterator[str]:
    """How many of the highly memorized have a U in the central 90 %, next to phantoms, which nothing memorizes; U and M of both."""
    shares = []
    for (u, m), what in ((members, "members"), (phantoms, "phantoms")):
        high, (low, top) = m > threshold(m), np.quantile(u, (0.05, 0.95))
        inside = number(float(((low < u) & (u < top))[high].mean()) if high.any() else None, "share")
        shares.append(f"{inside} of the {int(high.sum())} most memorized {what} (M > {number(threshold(m))} nats)")
    yield f"{listed(shares)}{_of(network)} have a U in the central 90 %: what phantoms give is chance"
    m, at = members[1], threshold(phantoms[1])
    yield f"{int((m > at).sum())} of {len(m)} members exceed what 95 % of the phantoms do not ({number(at)} nats)"


def leverage(network: str, best: BestLeverage, rows: pl.DataFrame) -> Iterator[str]:
    """The rank correlation of M and leverage over sequences with one copy, and within groups; rows have both."""
    within = {}
    for group in sorted(set(rows["group"])):
        x, m = (rows.filter(group=group)[name].to_numpy() for name in ("leverage", "leave_group_out"))
        if len(m) >= FEWEST_CLUSTERS and min(np.ptp(x), np.ptp(m)) > 0:
            within[group] = spearman(x, m)
    what = f"M and {LEVERAGES[best.kind]} leverage{_of(network)} have a rank correlation of {number(best.correlation)}"
    groups = listed([f"{number(rho)} in {group.replace('_', ' ')}" for group, rho in sorted(within.items(), key=lambda of: -of[1])])
    yield f"{what} over {len(rows)} sequences with one copy" + (f", and within groups of {groups}" if groups else "")


def by_level(data: ReportData, model: str, single: str, several: str, detail: str) -> list[MetricRow]:
    """Mean estimates of a model by copies or twins: of a group with one copy, and of a group with several, in their order."""
    of_model = [r for r in data.measured("counterfactual_memorization") if r["model"] == model and r["statistic"] == "mean"]
    rows = [dict(r) | {"level": 1.0} if r["group"] == single else r for r in of_model if r["group"] in (single, several)]
    shares = {"statistic": "share"} if detail.startswith("extracted") else {}
    return sorted((dict(r) | shares for r in rows if r["detail"] == detail), key=lambda r: r["level"])


def _courses(data: ReportData, network: str, single: str, several: str, names: Mapping[str, str], what: str) -> str:
    """`from 1 to 16 copies M grows from 18.59 to 38.74; …` for each detail of `names`, or nothing."""
    of = {name: numbers_of(by_level(data, network, single, several, detail)) for detail, name in names.items()}
    courses = [(f"{name} {course(rows[0], rows[-1])}", rows) for name, rows in of.items() if len(rows) > 1]
    ends = f"from {courses[0][1][0]['level']:g} to {courses[0][1][-1]['level']:g} {what}" if courses else ""
    return f"{ends} {'; '.join(text for text, _ in courses)}" if courses else ""


def copies(data: ReportData) -> list[str]:
    """What copies do to M, and to extraction, of the first model of each network."""
    names = {
        "leave_group_out": "M without all copies",
        "leave_one_out": "M without one copy",
        "extracted_in": "the share extracted",
    }
    each = [(*of, kind) for of in networks(data) for kind in ("dense", "canary")]
    of = [(f"Of {k} sequences{_of(name)}", _courses(data, network, k, f"{k}_copies", names, "copies")) for network, name, k in each]
    return [f"{what}, {courses}" for what, courses in of if courses]


def twins(data: ReportData) -> list[str]:
    """What the number of trained members does to ω and M of rings, and both of canaries."""
    names, sentences = {"specificity": "ω", "leave_group_out": "M"}, []
    for network, name in networks(data):
        if courses := _courses(data, network, "", "ring", names, "trained members"):
            alone = {of: numbers_of(by_level(data, network, "canary", "", detail)) for detail, of in names.items()}
            canaries = [f"{of} {with_interval(rows[0])}" for of, rows in alone.items() if rows]
            sentences.append(f"Of rings{_of(name)}, {courses}" + (f"; canaries have {listed(canaries)}" if canaries else ""))
    return sentences


def grid(data: ReportData) -> list[dict[str, Any]]:
    """The runs of the grid of capacities at the end of their training, over all groups."""
    rows = [r for r in data.ensembles.capacity if r["kind"] == "grid" and not r["group"] and r["generalization"] is not None]
    last = {(r["cell"], r["seed"]): r["checkpoint"] for r in sorted(rows, key=lambda r: r["checkpoint"])}
    return [r for r in rows if r["checkpoint"] == last[r["cell"], r["seed"]]]


def capacity(data: ReportData) -> list[str]:
    """Whether runs that memorize more generalize better, over the whole grid and with capacity held fixed."""
    rows = {r["statistic"]: r for r in numbers_of(data.measured("capacity")) if r["detail"] == "bits"}
    if not {"spearman", "partial"} <= rows.keys():
        return []
    raw, fixed = rows["spearman"], rows["partial"]
    ways = {1: "those that memorize more generalize better", -1: "those that memorize more generalize worse"}
    none = f"{doubt_of(fixed) or 'its interval includes zero'}, so the two are not seen to move together"
    verdict = f"among runs of equal capacity {ways[sign(fixed)]}" if sign(fixed) else none
    what = f"Over {raw['rows']} runs memorization and generalization have a rank correlation of {with_interval(raw)}"
    return [f"{what}; {fixed['note'] or 'with capacity held fixed'} it is {with_interval(fixed)}: {verdict}"]


# -- checks -----------------------------------------------------------------------------------------------------------
def survives(rows: Sequence[MetricRow], plain: MetricRow | None, name: str) -> str:
    """Which remedies change the verdict on the plain number; nothing where there was no verdict."""
    if plain is None or not sign(plain):
        return ""
    tried = [r for r in numbers_of(rows) if r["model"] == plain["model"] and r["detail"] != "reliability"]
    groups: dict[str, list[str]] = {}
    for r in tried:
        if sign(r) != sign(plain):
            undecided = f"it is undecided, {doubt_of(r)}," if doubt_of(r) else "it is no longer clear of zero"
            groups.setdefault("its sign changes" if sign(r) else undecided, []).append(remedy_of(r))
    what = f"{name} of {plain['model']} on {plain['task']} ({value(plain)})"
    if not tried:
        return ""
    if not groups:
        remedies = "the one remedy" if len(tried) == 1 else f"all {len(tried)} remedies"
        return f"{what} keeps its sign under {remedies}, with intervals that exclude zero"
    tally = "one remedy was tried" if len(tried) == 1 else f"{len(tried)} remedies were tried"
    return f"{what}: {'; '.join(f'{how} under {listed(who)}' for how, who in groups.items())}; {tally}"


def slopes(rows: Sequence[MetricRow]) -> list[str]:
    """How much ρ gains or loses with every tenfold size."""
    ways = {1: "gains", -1: "loses"}
    clear = [r for r in numbers_of(rows) if sign(r)]
    named = [(MEASURE_NAMES.get(r["of_measure"], r["of_measure"]), r) for r in clear]
    sentences = [f"{name} of {r['task']} {ways[sign(r)]} {_size(r)} with every tenfold size" for name, r in named]
    tested = any(not doubt_of(r) for r in numbers_of(rows))
    return sentences or (["No slope on log size is clear of zero"] if tested else [])


def _size(row: MetricRow) -> str:
    """A slope without its sign, which the verb has."""
    ends = sorted((abs(row["low"]), abs(row["high"])))
    estimate, low, high = (number(v, row["statistic"]).removesuffix(" %") for v in (abs(row["estimate"]), *ends))
    return f"{estimate} [{low}, {high}]"


def variants(name: str, model: str, rows: Sequence[MetricRow]) -> str:
    """Between which numbers a measure lies over the variants of a study."""
    numbers = sorted(numbers_of(r for r in rows if r["model"] == model), key=lambda r: r["estimate"])
    if not numbers:
        return ""
    ends = dict.fromkeys((value(numbers[0]), value(numbers[-1])))
    what = f"{name} of {model} on {numbers[0]['task']} is"
    if len(ends) > 1:
        return f"{what} between {' and '.join(ends)} over the variants"
    return f"{what} {value(numbers[0])} in {'each' if len(numbers) > 1 else 'the one'} variant"


def attribution(model: str, shares: Mapping[str, MetricRow]) -> str:
    """What explains most of a model's rank variance alone; shares: by component."""
    unique = {COMPONENTS[c]: r for c, r in shares.items() if c not in ("shared", "unexplained") and has_number(r)}
    if not unique:
        return ""
    most, *others = sorted(unique, key=lambda name: -unique[name]["estimate"])
    pair, share = COMPONENTS["pair"], {name: f"{max(0.0, 100 * r['estimate']):.0f} %" for name, r in unique.items()}
    task, close = unique[most]["task"], [name for name in others if compare(unique[name], unique[most])[0] != 1]
    if close:
        together = listed([f"{name} ({share[name]})" for name in (most, *close)])
        return f"On {task} no unique share of {model} is clearly the largest: {together}"
    of_pair = f"; that of the pair is {share[pair]}" if pair in unique and most != pair else ""
    return f"On {task} the largest unique share of {model} is that of {most}, {share[most]}{of_pair}"


def exposure(data: ReportData) -> list[str]:
    """How many more documents with a pair raise Δ by one nat, for the largest model at the task's primary n."""
    sentences = []
    for task, rows in data.by_task(r for r in data.latest("exposure") if r["statistic"] == "documents_per_nat"):
        here = {r["model"]: r for r in rows if r["order"] == data.order_of(task)}
        for model in [m for m in data.ladder if m in here][-1:]:
            f, where = here[model], f"On {task} (n = {data.order_of(task)})"
            if not has_number(f):
                sentences.append(f"{where} no number of documents per nat for {model}: {f['note']}")
            elif why := "; ".join(filter(None, (f["note"], doubt_of(f)))):
                guess = f"one nat for every {value(f)} documents with the pair is no more than a guess for {model}: {why}"
                sentences.append(f"{where} {guess}")
            else:
                sentences.append(f"{where} {model} gains one nat for every {with_interval(f)} documents with the pair")
    return sentences


# -- performance ------------------------------------------------------------------------------------------------------
def of_primary_order(data: ReportData, rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Rows of each task's primary n where it has them, else of its smallest n; of the first statistic."""
    kept: list[MetricRow] = []
    for task, here in data.by_task(rows):
        order, statistic = data.order_among(task, here), min(r["statistic"] for r in here)
        kept += [r for r in here if r["order"] == order and r["statistic"] == statistic]
    return kept


def lowest_and_highest(data: ReportData, rows: Sequence[MetricRow], at: str) -> list[str]:
    """The largest model of each task in its lowest and its highest bin."""
    sentences = []
    for task, here in data.by_task(r for r in numbers_of(rows) if r["x"] is not None):
        for model in [*data.ladder_of(here)][-1:]:
            low, *more = sorted((r for r in here if r["model"] == model), key=lambda r: r["x"])
            if more:
                doubt = compare(low, more[-1])[1]
                ends = " and ".join(f"{value(r)} {at} {short(r['x'])}" for r in (low, more[-1]))
                sentences.append(f"On {task} {model} reaches {ends}" + (f", {doubt}" if doubt else ""))
            else:
                sentences.append(f"On {task} all scored examples of {model} are in one bin")
    return sentences


def emergence(data: ReportData) -> list[str]:
    """From which size on log-probabilities follow the counts."""
    sentences = []
    for f in numbers_of(r for r in data.measured("emergence") if r["statistic"] == "onset_parameters"):
        why = "; ".join(filter(None, (f["note"], doubt_of(f))))
        doubt = f", which is no more than a guess: {why}" if why else ""
        size = f"{value(f)} parameters {interval(f)}".strip() + doubt
        sentences += [f"On {f['task']} log-probability begins to follow the counts at {size}"] if f["estimate"] > 0 else []
    return sentences


def novelty(data: ReportData) -> list[str]:
    """New n-grams of the largest model next to those of the references, at the largest n that both have."""
    rows = [r for r in data.latest("novelty") if not counts_pairs(r) and r["statistic"] == "rate" and r["order"]]
    sentences = []
    for task, here in data.by_task(rows):
        rates = {(r["model"], r["order"]): r for r in numbers_of(here)}
        models = [m for m in data.ladder if any(m == who for who, _ in rates)]
        orders = {n for who, n in rates if who == "reference" and models and (models[-1], n) in rates}
        if orders:
            generated, reference = rates[models[-1], max(orders)], rates["reference", max(orders)]
            (way, doubt), theirs = compare(reference, generated), f"in the references ({value(reference)})"
            more = {1: f", more than {theirs}", -1: f", fewer than {theirs}", 0: ", as many as in the references"}
            compared = more[way] if way is not None else f" and {value(reference)} of those in the references, {doubt}"
            grams = f"{max(orders)}-grams that {models[-1]} generates"
            sentences.append(f"On {task} {value(generated)} of the {grams} are new{compared}")
    return sentences


def once(n: int, bins: Mapping[int, int]) -> str:
    """The share of distinct n-grams that occur once, where these were kept; bins: distinct n-grams by occurrences."""
    return f"{100 * bins[1] / sum(bins.values()):.0f} % of the distinct {n}-grams occur once" if bins.get(1) else ""

"""Every sentence of the report that has a number or a direction in it, made from the rows it speaks of.

A sentence says no more than its rows do. A direction needs two intervals that do not overlap, or one that excludes 0, each on ten
effective clusters or more; numbers that are written the same "did not change"; what a row's note takes back, its sentence takes
back as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tasks.report.data import ReportData
from tasks.report.formatting import NO_EVIDENCE, listed, number, short
from tasks.report.numbers import (
    FEWEST_CLUSTERS,
    MEASURE_NAMES,
    MetricRow,
    ResultsLine,
    clusters_of,
    counts_pairs,
    has_interval,
    has_number,
    remedy_of,
    slope_measure,
)

COMPONENTS = {
    "pair": "the pair",
    "s_y": "the output s_y",
    "s_x": "the input s_x",
    "length": "length of s_y",
    "shared": "shared by them",
    "unexplained": "unexplained",
}
KINDS = {
    "canary": "canaries",
    "sentence": "planted sentences",
    "planted": "planted texts",
    "uniform": "windows of the corpus",
    "duplicates": "windows by their copies",
}
ONE_HALF, DRAWN = 0.5, 100  # p and n of (n, p)-discoverable extraction, of which the report speaks
NO_ANSWER = "No model has been evaluated yet, so there is no answer yet."
GLANCE = {
    "follow": "on {tasks} what the input adds to the answers of {model} follows how often the corpus contains the pair: "
    "distributional memorization",
    "frequency": "on {tasks} the probabilities of {model} follow the counts, which the frequency of the outputs may explain",
    "unclear": "on {tasks} no link between the corpus and {model} is distinguishable from zero",
    "untested": "on {tasks} there are too few examples or outputs to tell for {model}",
    "none": "for {tasks} there is no evidence",
}


# -- one row ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Finding:
    """A row of `metrics` that has a number, as sentences need it; `clusters` is infinite where it is not known."""

    task: str
    measure: str
    n: int
    model: str
    statistic: str
    estimate: float
    low: float | None
    high: float | None
    note: str
    clusters: float
    x: float | None = None

    @property
    def value(self) -> str:
        """The number as it is written."""
        return _written(self.estimate, self.statistic)

    @property
    def interval(self) -> str:
        """` [0.30, 0.52]`, or nothing."""
        if self.low is None or self.high is None:
            return ""
        low, high = (_written(end, self.statistic).removesuffix(" %") for end in (self.low, self.high))
        return f" [{low}, {high}]"

    @property
    def shown(self) -> str:
        """The number with its interval."""
        return self.value + self.interval

    @property
    def doubt(self) -> str:
        """Why nothing may be concluded from the number; empty if something may."""
        if self.clusters < FEWEST_CLUSTERS:
            return "on too few examples or outputs"
        return "without an interval" if self.low is None or self.high is None else ""

    @property
    def sign(self) -> int:
        """1 or −1 where the interval excludes 0 and can be trusted, else 0."""
        if self.low is None or self.high is None or self.doubt:
            return 0
        return 1 if self.low > 0 else -1 if self.high < 0 else 0


def finding(row: MetricRow | None) -> Finding | None:
    """A row as a finding; None without a number."""
    if row is None or not has_number(row):
        return None
    low, high = (row["low"], row["high"]) if has_interval(row) else (None, None)
    named = (row["task"], row["measure"], row["order"], row["model"], row["statistic"])
    return Finding(*named, row["estimate"], low, high, row["note"], clusters_of(row), row["x"])


def findings(rows: Iterable[MetricRow | None]) -> list[Finding]:
    """Those of these rows that have a number."""
    return [f for row in rows if (f := finding(row)) is not None]


def _written(value: float, statistic: str) -> str:
    if statistic == "documents_per_nat":
        return f"{value:.3g}"
    return short(value) if statistic == "onset_parameters" else number(value, statistic)


# -- two rows ---------------------------------------------------------------------------------------------------------
def compare(first: Finding, last: Finding) -> tuple[int | None, str]:
    """1 for up, −1 for down, 0 for numbers that are written the same; or None, and why there is no direction."""
    if first.value == last.value:
        return 0, ""
    if doubt := first.doubt or last.doubt:
        return None, f"{doubt} to compare"
    assert first.low is not None and first.high is not None and last.low is not None and last.high is not None
    if first.high < last.low:
        return 1, ""
    return (-1, "") if last.high < first.low else (None, "but the intervals overlap")


def course(first: Finding, last: Finding, where: str = "") -> str:
    """`grows from 0.12 to 0.41`, as far as the intervals allow it."""
    way, doubt = compare(first, last)
    if way == 0:
        return f"did not change{where} ({first.value})"
    verb = {1: "grows", -1: "falls", None: "goes"}[way]
    return f"{verb} from {first.value} to {last.value}{where}" + (f", {doubt}" if doubt else "")


def change(what: str, rows: Iterable[MetricRow | None]) -> str:
    """How a number changes from the first to the last of these rows, smallest model first."""
    numbers = findings(rows)
    numbers = [f for f in numbers if f.statistic == numbers[-1].statistic]
    if len(numbers) < 2:
        return f"{what} is {numbers[0].shown}" if numbers else ""
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
        lines = [data.line(task, m).rows for m in data.ladder]
        pairs = [(findings([r["main_score"]]), findings([r["mem_delta"]])) for r in lines]
        both = [(score[0], mem[0]) for score, mem in pairs if score and mem]
        if len(both) > 1 and both[0][0].statistic == both[-1][0].statistic:
            (first_score, first_mem), (last_score, last_mem) = both[0], both[-1]
            ways = f"the score {course(first_score, last_score)}; Mem_Δ {course(first_mem, last_mem)}"
            sentences.append(f"On {task}, from {first_mem.model} to {last_mem.model}: {ways}")
    return sentences


def placebo(data: ReportData) -> list[str]:
    """What is left of Mem of the largest model once the placebo's is subtracted."""
    verdicts = {1: "which is specific to this corpus", -1: "below the placebo", 0: "and its interval includes zero"}
    rows = [r for r in data.measured("mem_n", "mem_delta") if r["statistic"] == "spearman" and r["corpus"] == "difference"]
    sentences = []
    for measure in ("mem_n", "mem_delta"):
        for task in data.tasks_of(r for r in rows if r["measure"] == measure):
            order = data.order_of(task)
            numbers = findings(data.row(measure, task, m, order, corpus="difference") for m in data.ladder_of(rows))
            if numbers:
                f = numbers[-1]
                what = f"{MEASURE_NAMES[measure]} minus placebo on {task} is {f.shown} for {f.model}"
                sentences.append(f"{what}, {f.doubt or verdicts[f.sign]}")
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
        here = [r for r in rows if (r["group"], r["detail"]) == place]
        here = [r for m in data.ladder_of(here) for r in here if r["model"] == m]
        numbers = findings(dict(r) | {"statistic": "rate"} for r in here)  # a difference of rates
        if not numbers:
            continue
        f, kind = numbers[-1], KINDS[place[1] or place[0]]
        if f.sign:
            way = "more" if f.sign > 0 else "less"
            sentences.append(f"{f.model} {does} {kind} {way} often than phantoms, by {_size(f)} points")
        else:
            why = f.doubt or "and the interval includes zero"
            points = f.shown.replace(" %", " points")
            sentences.append(f"Whether {f.model} {does} {kind} more often than phantoms is undecided: {points}, {why}")
    return sentences


# -- checks -----------------------------------------------------------------------------------------------------------
def survives(rows: Sequence[MetricRow], before: MetricRow | None, name: str) -> str:
    """Which remedies change the verdict on the number `before`; nothing where there was no verdict."""
    plain = finding(before)
    if plain is None or not plain.sign:
        return ""
    tried = [(remedy_of(r), f) for r in rows if r["model"] == plain.model and r["detail"] != "reliability" for f in findings([r])]
    groups: dict[str, list[str]] = {}
    for remedy, f in tried:
        if f.sign != plain.sign:
            outcome = (
                "its sign changes" if f.sign else f"it is undecided, {f.doubt}," if f.doubt else "it is no longer clear of zero"
            )
            groups.setdefault(outcome, []).append(remedy)
    what = f"{name} of {plain.model} on {plain.task} ({plain.value})"
    if not tried:
        return ""
    if not groups:
        remedies = "the one remedy" if len(tried) == 1 else f"all {len(tried)} remedies"
        return f"{what} keeps its sign under {remedies}, with intervals that exclude zero"
    tally = "one remedy was tried" if len(tried) == 1 else f"{len(tried)} remedies were tried"
    return f"{what}: {'; '.join(f'{how} under {listed(who)}' for how, who in groups.items())}; {tally}"


def slopes(rows: Sequence[MetricRow]) -> list[str]:
    """How much ρ gains or loses with every tenfold size."""
    clear = [(slope_measure(r), f) for r in rows for f in findings([r]) if f.sign]
    ways = {1: "gains", -1: "loses"}
    sentences = [f"{name} of {f.task} {ways[f.sign]} {_size(f)} with every tenfold size" for name, f in clear]
    tested = any(not f.doubt for f in findings(rows))
    return sentences or (["No slope on log size is clear of zero"] if tested else [])


def _size(f: Finding) -> str:
    """A slope without its sign, which the verb has."""
    assert f.low is not None and f.high is not None
    estimate, low, high = (number(v, f.statistic).removesuffix(" %") for v in (abs(f.estimate), *sorted((abs(f.low), abs(f.high)))))
    return f"{estimate} [{low}, {high}]"


def variants(name: str, model: str, rows: Sequence[MetricRow]) -> str:
    """Between which numbers a measure lies over the variants of a study."""
    numbers = sorted(findings(r for r in rows if r["model"] == model), key=lambda f: f.estimate)
    if not numbers:
        return ""
    ends = dict.fromkeys((numbers[0].value, numbers[-1].value))
    what = f"{name} of {model} on {numbers[0].task} is"
    if len(ends) > 1:
        return f"{what} between {' and '.join(ends)} over the variants"
    return f"{what} {numbers[0].value} in {'each' if len(numbers) > 1 else 'the one'} variant"


def attribution(model: str, shares: Mapping[str, MetricRow]) -> str:
    """What explains most of a model's rank variance alone; shares: by component."""
    unique = {COMPONENTS[c]: f for c, r in shares.items() if c not in ("shared", "unexplained") for f in findings([r])}
    if not unique:
        return ""
    order = sorted(unique, key=lambda name: -unique[name].estimate)
    most, pair, share = order[0], COMPONENTS["pair"], {name: f"{max(0.0, 100 * f.estimate):.0f} %" for name, f in unique.items()}
    task = unique[most].task
    doubts = {name: compare(unique[name], unique[most]) for name in order[1:]}
    close = [name for name in order[1:] if doubts[name][0] != 1]
    if close:
        together = listed([f"{name} ({share[name]})" for name in (most, *close)])
        return f"On {task} no unique share of {model} is clearly the largest: {together}"
    of_pair = f"; that of the pair is {share[pair]}" if pair in unique and most != pair else ""
    return f"On {task} the largest unique share of {model} is that of {most}, {share[most]}{of_pair}"


def exposure(data: ReportData) -> list[str]:
    """How many more documents with a pair raise Δ by one nat, for the largest model at the task's primary n."""
    rows = [r for r in data.latest("exposure") if r["statistic"] == "documents_per_nat"]
    sentences = []
    for task in data.tasks_of(rows):
        here = {r["model"]: r for r in rows if r["task"] == task and r["order"] == data.order_of(task)}
        model = next((m for m in reversed(data.ladder) if m in here), None)
        if model is None:
            continue
        f, where = finding(here[model]), f"On {task} (n = {data.order_of(task)})"
        if f is None:
            sentences.append(f"{where} no number of documents per nat for {model}: {here[model]['note']}")
        elif f.note or f.doubt:
            why = "; ".join(filter(None, (f.note, f.doubt)))
            sentences.append(
                f"{where} one nat for every {f.value} documents with the pair is no more than a guess for {model}: {why}"
            )
        else:
            sentences.append(f"{where} {model} gains one nat for every {f.shown} documents with the pair")
    return sentences


# -- performance ------------------------------------------------------------------------------------------------------
def of_primary_order(data: ReportData, rows: Sequence[MetricRow]) -> list[MetricRow]:
    """Rows of each task's primary n where it has them, else of its smallest n; of the first statistic."""
    kept: list[MetricRow] = []
    for task in data.tasks_of(rows):
        here = [r for r in rows if r["task"] == task]
        orders, statistic = {r["order"] for r in here}, min(r["statistic"] for r in here)
        order = data.order_of(task) if data.order_of(task) in orders else min(orders)
        kept += [r for r in here if r["order"] == order and r["statistic"] == statistic]
    return kept


def lowest_and_highest(data: ReportData, rows: Sequence[MetricRow], at: str) -> list[str]:
    """The largest model of each task in its lowest and its highest bin."""
    sentences = []
    for task in data.tasks_of(rows):
        here = [r for r in rows if r["task"] == task and has_number(r) and r["x"] is not None]
        models = list(data.ladder_of(here))
        bins = sorted(findings(r for r in here if r["model"] == models[-1]) if models else [], key=lambda f: f.x or 0.0)
        if len(bins) == 1:
            sentences.append(f"On {task} all scored examples of {models[-1]} are in one bin")
        elif bins:
            low, high = (f"{f.value} {at} {short(f.x or 0.0)}" for f in (bins[0], bins[-1]))
            doubt = compare(bins[0], bins[-1])[1]
            sentences.append(f"On {task} {models[-1]} reaches {low} and {high}" + (f", {doubt}" if doubt else ""))
    return sentences


def emergence(data: ReportData) -> list[str]:
    """From which size on log-probabilities follow the counts."""
    rows = [r for r in data.measured("emergence") if r["statistic"] == "onset_parameters"]
    sentences = []
    for f in findings(rows):
        why = "; ".join(filter(None, (f.note, f.doubt)))
        doubt = f", which is no more than a guess: {why}" if why else ""
        sentences.append(
            f"On {f.task} log-probability begins to follow the counts at {f.value} parameters{f.interval}{doubt}"
            if f.estimate > 0
            else ""
        )
    return sentences


def novelty(data: ReportData) -> list[str]:
    """New n-grams of the largest model next to those of the references, at the largest n that both have."""
    rows = [r for r in data.latest("novelty") if not counts_pairs(r) and r["statistic"] == "rate" and r["order"]]
    sentences = []
    for task in data.tasks_of(rows):
        rates = {(f.model, f.n): f for f in findings(r for r in rows if r["task"] == task)}
        models = [m for m in data.ladder if any(m == who for who, _ in rates)]
        orders = {n for who, n in rates if who == "reference" and models and (models[-1], n) in rates}
        if orders:
            generated, reference = rates[models[-1], max(orders)], rates["reference", max(orders)]
            way, doubt = compare(reference, generated)
            more = {1: f"more than in the references ({reference.value})", 0: "as many as in the references"}
            more |= {-1: f"fewer than in the references ({reference.value})"}
            compared = f", {more[way]}" if way is not None else f" and {reference.value} of those in the references, {doubt}"
            sentences.append(
                f"On {task} {generated.value} of the {max(orders)}-grams that {models[-1]} generates are new{compared}"
            )
    return sentences


def once(n: int, bins: Mapping[int, int]) -> str:
    """The share of distinct n-grams that occur once, where these were kept; bins: distinct n-grams by occurrences."""
    return f"{100 * bins[1] / sum(bins.values()):.0f} % of the distinct {n}-grams occur once" if bins.get(1) else ""


# -- the answer -------------------------------------------------------------------------------------------------------
def measured_models(data: ReportData) -> list[str]:
    """Models that have any row, smallest first."""
    return list(data.ladder_of(data.metrics))


def answer(data: ReportData) -> list[str]:
    """The answer: one sentence or two per task, about the largest model, then the comparison over sizes."""
    models, tasks = measured_models(data), data.settings["tasks"]
    if not models:
        return [NO_ANSWER]
    count = f"{len(tasks)} task{'' if len(tasks) == 1 else 's'}"
    sentences = [f"The largest model, {_with_size(data, models[-1])}, was evaluated on {count}."]
    for name in (t["name"] for t in tasks):
        line = data.line(name, models[-1])
        score = finding(line.rows["main_score"])
        reaches = f"it reaches {score.shown} ({score.statistic.replace('_', ' ')})" if score else "it has no score"
        growth = _growth(score, data.line(name, models[0])) if len(models) > 1 else ""
        sentences.append(f"On {name} {reaches}; {_memorized(line)}{growth}.")
    return sentences


def glance(data: ReportData) -> str:
    """The whole answer in one or two sentences, about the largest model."""
    models = measured_models(data)
    if not models:
        return NO_ANSWER
    groups: dict[str, list[str]] = {kind: [] for kind in GLANCE}
    for task in data.settings["tasks"]:
        groups[_verdict(data.line(task["name"], models[-1]))].append(task["name"])
    clauses: list[str] = []
    for kind, names in groups.items():
        if names:
            model = models[-1] if clauses else _with_size(data, models[-1])
            clauses.append(GLANCE[kind].format(tasks=listed(names), model=model))
    text = "; ".join(clauses)
    return text[:1].upper() + text[1:] + "." if text else "The study names no task, so there is no answer."


def _with_size(data: ReportData, model: str) -> str:
    return f"{model} ({short(data.ladder[model])} parameters)" if data.ladder[model] else model


def _state(line: ResultsLine, measure: str) -> str:
    """What the corrected test says of a measure."""
    f = finding(line.rows[measure])
    if f is None or measure not in line.q or f.clusters < FEWEST_CLUSTERS:
        return "untested" if f else "none"
    return "unclear" if not line.significant(measure) else "up" if f.estimate > 0 else "down"


def _verdict(line: ResultsLine) -> str:
    """What Mem_Δ and Mem_n of one model on one task show."""
    mem, delta = _state(line, "mem_n"), _state(line, "mem_delta")
    if delta == "up":
        return "follow"
    if mem == "up":
        return "frequency"
    states = {mem, delta}
    return "unclear" if states & {"unclear", "down"} else "untested" if "untested" in states else "none"


def _memorized(line: ResultsLine) -> str:
    """What Mem_n and Mem_Δ show together (docs/method.md §6a: Mem_n alone cannot separate the pair from the frequency of s_y)."""
    names = {"mem_n": f"Mem_{line.order}", "mem_delta": "Mem_Δ"}
    states = {names[m]: _state(line, m) for m in names}
    if set(states.values()) == {"none"}:
        return "there is no evidence about memorization, because neither measure could be computed"
    numbers = {names[m]: finding(line.rows[m]) for m in names}
    shown = ", ".join(
        f"{name} {'is ' if i == 0 else ''}{f.shown if f else NO_EVIDENCE}" for i, (name, f) in enumerate(numbers.items())
    )
    few = "; ".join(dict.fromkeys(f.note for f in numbers.values() if f and f.note))
    return f"{shown}: {_conclusion(states)}" + (f" ({few})" if few else "")


def _conclusion(states: Mapping[str, str]) -> str:
    (mem, of_mem), (delta, of_delta) = states.items()
    if of_delta == "up":
        if of_mem == "up":
            return "its probabilities follow the counts of the pairs, and so does what the input adds to them"
        though = {"unclear": f", though {mem} alone does not show it", "down": f", though {mem} is below zero"}
        return f"what the input adds follows the counts of the pairs{though.get(of_mem, '')}"
    if of_mem == "up":
        below = f", and {delta} is below zero" if of_delta == "down" else ""
        return f"its probabilities follow the counts, but the frequency of the outputs may explain it{below}"
    down, unclear = ([name for name, state in states.items() if state == s] for s in ("down", "unclear"))
    if down:
        return f"{listed(down)} {'are' if len(down) > 1 else 'is'} below zero, so higher counts go with lower probabilities"
    if not unclear:
        return "there are too few examples or outputs to tell"
    who = "neither is" if len(unclear) > 1 else f"{unclear[0]} is not"
    return f"after correction {who} distinguishable from zero on these examples"


def _growth(large: Finding | None, smallest: ResultsLine) -> str:
    """Largest against smallest model, only where their intervals allow it."""
    small = finding(smallest.rows["main_score"])
    if small is None or large is None or small.statistic != large.statistic:
        return ""
    other, (way, doubt) = f"that of {smallest.model} ({small.shown})", compare(small, large)
    if way is None:
        return f". Its score is not distinguishable from {other}: {doubt.removeprefix('but ')}"
    return f". Its score is {({1: 'above ', 0: '', -1: 'below '})[way]}{other}"

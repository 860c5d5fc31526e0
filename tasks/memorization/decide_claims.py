"""Step `verdicts`: what the runs of an ensemble say about each claim of the argument (docs/memorization.md).

The rules are in `claim_rules.py`. A model of [membership] is one seed of a network. The verdict of a network is the one that all of
its seeds give, else it is inconclusive. Next to each verdict of a model is that of half of its runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import Study
from schemas.tables.verdicts import CLAIM_POINTS, CLAIMS, VERDICTS
from tasks.cost import Cost, Rate, Sizes
from tasks.memorization import claim_rules as rules
from tasks.memorization.capacity_claims import t2, t4
from tasks.memorization.capacity_runs import read_runs
from tasks.memorization.claim_rules import Bounds, Strings
from tasks.memorization.claims import LEVEL, STATEMENTS, Claim, without_data
from tasks.memorization.counterfactual import applies
from tasks.memorization.counterfactual_memorization import FEWEST_RUNS
from tasks.memorization.ensemble_panel import READS, EnsemblePanel, read_panel
from tasks.memorization.run_contrasts import Arms
from tasks.memorization.run_halves import Halves, half_of_runs, halves
from tasks.statistics import Floats, Ints
from tasks.step import Inputs, Job, Stage, Step, Work

BINS = 5
OF_RUNS = ("T6 strong", "T6 in expectation", "T7", "T8 leave-one-out", "T8 leave-group-out", "T9")
OF_CAPACITY = ("T2", "T4")
CAPACITY = "capacity"
OUTLIERS = ("leverage", "outlierness")


class ClaimPoint(NamedTuple):
    """A point of a figure, with its interval."""

    claim: str
    figure: str
    series: str
    x: float
    y: float
    low: float = np.nan
    high: float = np.nan


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model, and one for the grid of capacities."""
    models = [m.name for m in study.membership.models] if study.membership else []
    settings = {"seed": study.seed, "draws": rules.DRAWS}

    def of(model: str) -> dict[str, Any]:
        return {t: tuple(p for p in inputs[t] if p.labels.get("ensemble", model) == model) for t in (*READS, *OUTLIERS)}

    return [
        *(Job({"ensemble": model}, settings, of(model)) for model in models),
        Job({"claims": CAPACITY}, {"seed": study.seed}, {"capacity_runs": inputs["capacity_runs"]}),
    ]


def run(work: Work) -> None:
    """Write the claims of a model, or those of the grid of capacities, and the points of their figures."""
    if "claims" in work.labels:
        _write_claims(work, "", _claims_of_capacity(work), {})
        return
    panel = read_panel(work, work.labels["ensemble"])
    frames = {t: work.frame(t).filter(pl.col("model") == panel.model) for t in OUTLIERS}
    claims, points = _decide(panel, frames, work.settings)
    half = _decide(panel.of_runs(half_of_runs(panel)), frames, work.settings)[0]
    _write_claims(work, panel.model, claims, {c.claim: c.verdict for c in half})
    points.sort(key=lambda point: point[:3])  # stable: a series keeps its order
    number = [sum(p[:3] == q[:3] for q in points[:i]) for i, p in enumerate(points)]
    columns = {name: [getattr(p, name) for p in points] for name in ClaimPoint._fields} | {"model": [panel.model] * len(points)}
    arrays = [pa.array((columns | {"point": number})[f.name], f.type, from_pandas=True) for f in CLAIM_POINTS.schema]  # NaN is null
    work.write("claim_points", pa.table(arrays, schema=CLAIM_POINTS.schema))


def _write_claims(work: Work, model: str, claims: list[Claim], half: Mapping[str, str]) -> None:
    rows = [_row(c) | {"model": model, "half": half.get(c.claim), "note": c.note} for c in sorted(claims, key=lambda c: c.claim)]
    work.write("claims", {name: [row[name] for row in rows] for name in CLAIMS.schema.names})


def _row(claim: Claim) -> dict[str, Any]:
    numbers = {name: getattr(claim, name) for name in ("estimate", "low", "high", "null")}
    return {
        "claim": claim.claim,
        "statement": STATEMENTS[claim.claim],
        "verdict": claim.verdict,
        **{name: float(v) if np.isfinite(v) else None for name, v in numbers.items()},
        "level": LEVEL,
        "unit": claim.unit,
        "rule": claim.rule,
    }


def _claims_of_capacity(work: Work) -> list[Claim]:
    if not work.parts("capacity_runs"):
        return [without_data(claim, "the study has no [capacity]") for claim in OF_CAPACITY]
    runs = read_runs(work)
    return [t2(runs), t4(runs)]


# -- the claims of one model -------------------------------------------------------------------------------------------
def _decide(
    panel: EnsemblePanel, frames: Mapping[str, pl.DataFrame], settings: Mapping[str, Any]
) -> tuple[list[Claim], list[ClaimPoint]]:
    """All claims of a model, and the points of their figures."""
    members = panel.sequences.filter(pl.Series(panel.member))
    group, copies, twins = (members[name].to_numpy() for name in ("group", "copies", "twins"))
    single, duplicate = copies == 1, np.isin(group, ("dense_copies", "canary_copies"))
    lone, dense = (group == "ring") & (twins == 1), np.isin(group, ("dense", "dense_copies"))
    of_group, of_one = (_fewest(panel, arm) for arm in panel.arms)
    made, points = dict[str, Claim](), list[ClaimPoint]()

    def enough(*claims: str, **arms: int) -> bool:
        for what, runs in arms.items():
            if runs < FEWEST_RUNS:
                why = f"an arm of {what.replace('_', ' ')} has {runs} runs; it takes {FEWEST_RUNS}"
                made.update({claim: without_data(claim, why) for claim in claims})
        return claims[0] not in made

    if not enough(*OF_RUNS, sequences_with_one_copy=int(of_group[single].min(initial=len(panel.runs)))):
        return list(made.values()), points
    of, more = halves(panel, frames, settings["seed"]), {"draws": settings["draws"], "seed": settings["seed"]}
    names = np.where(group == "ring", members["family"].to_numpy(), members["sequence"].to_numpy())
    unit = np.unique(names.astype(str), return_inverse=True)[1]
    tokens = len(members["ids"][0]) - int(members["prefix"][0])
    score, (m, spill) = of.group_out, _full(panel)
    strong, agreements = rules.t6_strong(
        score[..., single], of.leverage[..., single], of.kinds, group[single], unit[single], tokens, **more
    )
    best = rules.best_leverage(score[..., single], of.leverage[..., single], settings["seed"])[0]
    h, added = of.leverage[:, best], list[Bounds]()
    if np.isfinite(h).all() and np.isfinite(of.extracted).all():
        added += rules.added_to_leverage(score, h * copies, of.outside, of.sparsity, of.extracted, group, unit, **more)
    pair = lone | (group == "canary")
    made |= {"T6 strong": strong, "T6 in expectation": rules.t6_in_expectation(agreements, added)}
    made |= {"T7": rules.t7(m[pair], spill[pair], lone[pair], unit[pair], **more)}
    some = dense | duplicate
    of_copies = (of.extracted[..., some], copies[some], dense[some], unit[some])
    arms = {"sequences_with_copies": int(of_group[duplicate].min(initial=len(panel.runs)))}
    one_less = {"sequences_with_one_copy_less": int(of_one[duplicate].min(initial=len(panel.runs)))}
    if enough("T8 leave-group-out", **arms):
        made["T8 leave-group-out"] = rules.t8("T8 leave-group-out", score[..., some], *of_copies, **more)
    if enough("T8 leave-one-out", "T9", **arms, **one_less):
        made["T8 leave-one-out"] = rules.t8("T8 leave-one-out", of.one_out[..., some], *of_copies, **more)
        made["T9"] = rules.t9(of.one_out, of.inside, of.leverage.mean(axis=(0, 2)), best, tokens, group, unit, **more)
    points += [ClaimPoint("T6 strong", "best leverage", of.kinds[best], 0.0, strong.estimate)]
    points += [ClaimPoint("T6 strong", "agreement", a.group or "all", a.reliability, *a.rho) for a in agreements]
    points += _highly_memorized(of, h.mean(axis=(0, 1)), tokens)
    seen = {"score": of.group_out[0, 1], "extraction": of.extracted[0, 1], "leverage": h[0, 1]}
    points += _density(seen, {"sparsity": of.sparsity[0, 0], "in log p": of.inside[0, 0]}, group, more)
    return list(made.values()), points


def _fewest(panel: EnsemblePanel, arms: Arms) -> Ints:
    """int [members]: runs on the smaller side."""
    return np.minimum(*(side[:, panel.member].sum(axis=0) for side in (arms.inside, arms.outside)))


def _full(panel: EnsemblePanel) -> tuple[Floats, Floats]:
    """(M, spill) of members from all runs; spill is NaN for those without never-trained twins."""
    log_p, spill = panel.values["log_p"][-1], np.full(len(panel.member), np.nan)
    for members, _, value, _ in panel.influences(log_p, panel.arms[0]):
        spill[members] = value.mean(axis=1)
    return panel.effect(log_p, panel.arms[0])[0][panel.member], spill[panel.member]


# -- points of figures -------------------------------------------------------------------------------------------------
def _highly_memorized(of: Halves, leverage: Floats, tokens: int) -> Iterator[ClaimPoint]:
    """Share of highly memorized sequences in each tenth of log p with them, of runs and of leverage alone: Fig. 3b of arXiv
    2106.03216 with its null."""
    score, inside = (v.reshape(-1, v.shape[-1]) for v in (of.one_out[:, ::-1], of.inside))
    shown = {"runs": (score, inside)}
    if np.isfinite(leverage).all() and len(leverage):
        alone = rules.leverage_world((of.inside - of.one_out).mean(axis=(0, 1)), leverage, tokens)
        shown["leverage alone"] = (alone[0][None], alone[1][None])
    for series, (m, u) in shown.items():
        high = m > np.quantile(m, rules.HIGH, axis=1, keepdims=True)
        tenth = u.argsort(axis=1).argsort(axis=1) * 10 // max(1, u.shape[1])
        for bin in range(10):
            share = (high & (tenth == bin)).sum(axis=1) / np.maximum(1, (tenth == bin).sum(axis=1))
            yield ClaimPoint("T9", "highly memorized", series, bin / 10 + 0.05, float(share.mean()))


def _density(seen: Mapping[str, Floats], by: Mapping[str, Floats], group: Strings, more: Mapping[str, int]) -> Iterator[ClaimPoint]:
    """L7: score, extraction and leverage in fifths of the sparsity and of log p with it, which are from the other half of the runs;
    of `dense` and `mismatch` in the densest third, where the first says what is learned there, and the second what is memorized."""
    for name, of in by.items():
        if not np.isfinite(of).all() or not len(of):
            continue
        fifth, densest = of.argsort().argsort() * BINS // len(of), of <= np.quantile(of, 1 / 3)
        bins = [(name, "", of[fifth == bin].mean(), fifth == bin) for bin in range(BINS)]
        bins += [(f"densest third by {name}", f"{kind}: ", 0.0, densest & (group == kind)) for kind in ("dense", "mismatch")]
        for (figure, kind, x, here), (series, values) in product(bins, seen.items()):
            if here.any() and np.isfinite(values).all():
                drawn = rules.resamples(np.arange(here.sum()), group[here], more["draws"], more["seed"])
                mean = drawn.bounds(drawn.mean(values[here]))
                yield ClaimPoint("T8 leave-group-out", figure, kind + series, float(x), *mean)


# -- over seeds --------------------------------------------------------------------------------------------------------
def plan_networks(study: Study, inputs: Inputs) -> list[Job]:
    """One job for all networks."""
    networks = study.membership.networks if study.membership else {}
    return [Job({}, {"networks": {name: list(models) for name, models in networks.items()}}, {"claims": inputs["claims"]})]


def run_networks(work: Work) -> None:
    """Write a row for each network and claim."""
    claims = {(row["model"], row["claim"]): row for row in work.frame("claims").to_dicts()}
    rows = []
    for network, models in sorted(work.settings["networks"].items()):
        for claim in sorted(STATEMENTS):
            seeds = [claims[model, claim] for model in models] if claim in OF_RUNS else [claims["", claim]]
            rows.append({"network": network} | over_seeds(seeds))
    work.write("verdicts", {name: [row[name] for row in rows] for name in VERDICTS.schema.names})


def over_seeds(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A claim's row over seeds: the verdict of all, else inconclusive; the mean estimate, and the ends of all intervals."""
    verdicts = [row["verdict"] for row in seeds]
    verdict = verdicts[0] if len(set(verdicts)) == 1 else "inconclusive"

    def over(name: str, of: Callable[[list[float]], float]) -> float | None:
        values = [row[name] for row in seeds if row[name] is not None]
        return float(of(values)) if len(values) == len(seeds) else None

    note = seeds[0]["note"] if verdict == verdicts[0] else "seeds disagree: " + ", ".join(verdicts)
    return dict(seeds[0]) | {
        "verdict": verdict,
        "estimate": over("estimate", lambda v: sum(v) / len(v)),
        "null": over("null", lambda v: sum(v) / len(v)),
        "low": over("low", min),
        "high": over("high", max),
        "rule": max((row["rule"] for row in seeds), key=len),
        "seeds": len(seeds),
        "agree": verdicts.count(verdict),
        "note": note,
    }


RATES = {"verdicts": Rate(2.5e4, "draws of sequences /s", "1,000 draws of 446 members, 64 runs, a core among others at work")}


def cost(sizes: Sizes) -> Cost:
    """The draws of each claim."""
    membership, controlled = sizes.study.membership, sizes.study.corpus.controlled
    if membership is None or controlled is None:
        return Cost(unit="draws of sequences")
    sequences = sum(controlled.groups.values())
    drawn = 2.0 * rules.DRAWS * sequences * len(membership.models)
    scores = membership.runs * sequences * max((len(m.checkpoints) for m in membership.models), default=0)
    memory = 0.5e9 + scores * 60.0 + rules.DRAWS * sequences * 80.0
    return Cost(len(membership.models) + 2, drawn, "draws of sequences", core=drawn / RATES["verdicts"], memory=memory, rates=RATES)


VERDICTS_STEP = Step(
    "verdicts",
    version=1,
    about="what the runs of an ensemble say about each claim: supported, refuted or inconclusive",
    reads=(*READS, *OUTLIERS, "capacity_runs"),
    stages=(
        Stage(writes=(CLAIMS, CLAIM_POINTS), plan=plan, run=run),
        Stage(writes=(VERDICTS,), plan=plan_networks, run=run_networks),
    ),
    cost=cost,
    applies=applies,
)

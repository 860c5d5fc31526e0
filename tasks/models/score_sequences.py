"""Step `score_sequences`: what a model makes of each token of a window, from one forward pass (docs/memorization.md).

    log p_t = log p(x_t | end of document, x_1 … x_{t-1})

Greedy decoding from the first k tokens gives the next l exactly if the tokens k + 1 … k + l are all the likeliest ones: by
induction, as long as all were right, the decoder has seen what this pass has seen. So exact extraction of every prefix and
suffix, the probability of a suffix under any sampling scheme, and the statistics of membership inference need no generation.
At a model's last checkpoint each suffix is also scored after prefixes of other windows, which are unrelated to it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from schemas import Study, StudyError
from schemas.settings.study_file import Model
from schemas.tables.sequences import SEQUENCE_SCORES
from tasks.cost import Cost, Rate, Sizes
from tasks.models.alone import ALLOWED, compare, drawn
from tasks.models.forward_passes import ScoredSequence, log_probabilities, not_finite, within_memory
from tasks.models.inference_cost import Passes, inference_cost
from tasks.models.ladder import LabelsSettingsInputs, checkpoint_jobs, checkpoints, piece_of, pieces
from tasks.models.language_model import LanguageModel
from tasks.models.load import open_checkpoint
from tasks.models.slices import Columns, in_slices
from tasks.step import Inputs, Job, Stage, Step, Work, asks_for_memorization
from tasks.text.bpe.tokenizer import identity
from tasks.text.split import seeded_hash

if TYPE_CHECKING:
    import torch

WINDOWS_AT_ONCE = 512  # bounds memory and what a killed run loses
NUMBERS_AT_ONCE = 1 << 22, 1 << 24  # of the logits of one pass: between these, as many as TOKENS_AT_ONCE have; on a GPU the most
TOKENS_AT_ONCE = 1 << 10  # what stays in a core's cache
UNRELATED_AT_ONCE = 16  # windows that share a reading of each prefix; few, so that no slice cuts them and changes rounding
CLOSE = 0.05  # margins below it are decided by rounding in half precision
VALUES = {"likeliest": np.int32, "ranks": np.int32, "margins": np.float32, "means": np.float32, "variances": np.float32}
Scheme = Mapping[str, Any]  # temperature, top_k, top_p
Arrays, Scores = Sequence[np.ndarray], dict[str, np.ndarray]


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per model, checkpoint and piece of the windows."""
    memorization = study.memorization
    if memorization is None or not inputs["sequences"]:
        return []
    schemes = [scheme.model_dump() for scheme in memorization.sampling]
    tables = {"sequences": inputs["sequences"], "tokenizer": inputs["tokenizer"]}

    def of(model: Model, checkpoint: int) -> list[LabelsSettingsInputs]:
        """Unrelated prefixes for the last checkpoint alone: these passes are most of the work."""
        count = memorization.unrelated_prefixes if checkpoint == checkpoints(model)[-1] else 0
        settings = {"schemes": schemes, **({"unrelated": count, "seed": study.seed} if count else {})}
        return [(piece, settings, tables) for piece in pieces(memorization.pieces)]

    return checkpoint_jobs(study, inputs, of)


def run(work: Work) -> None:
    """Score the windows, or a piece of them, with one checkpoint."""
    (part,) = work.parts("sequences")
    mine, unrelated = piece_of(work, work.count(part)), work.settings.get("unrelated", 0)
    prefixes = UnrelatedPrefixes.of(work.batches(part, *SEQUENCE_COLUMNS), unrelated, work.settings["seed"]) if unrelated else None
    read = work.in_order(part, *SEQUENCE_COLUMNS)
    schemes, batch_tokens = work.settings["schemes"], work.settings["batch_tokens"]
    precise = cache(lambda: open_checkpoint(work, dtype="float32"))

    def make(model: LanguageModel, rows: range) -> Columns:
        here = read(range(mine.start + rows.start, mine.start + rows.stop))
        some = list(np.stack(here.column("ids").to_numpy()).astype(np.int64))
        names, prefix = here.column("sequence").to_pylist(), here.column("prefix")[0].as_py()
        scores = score_windows(model, some, schemes, batch_tokens)
        alone = drawn(work.planned.key, rows.start, len(rows))
        check_alone(model, [(names[i], some[i], scores["log_probabilities"][i]) for i in alone], prefix)
        again = 0 if model.dtype == "float32" else score_close_calls(scores, precise, some, schemes, batch_tokens)
        after = prefixes.score(model, here, batch_tokens) if prefixes else [np.empty(0, np.float32)] * len(some)
        columns = {name: list(values) for name, values in scores.items()}
        columns |= {"sequence": names, "hits": list(scores["ranks"] == 1), "unrelated": after}
        columns |= {"sampled": [list(of_window) for of_window in scores["sampled"].transpose(1, 0, 2)]}
        return columns, {"windows": len(rows), "tokens_scored_again": again, "computed_alone": len(alone)}

    def check(model: LanguageModel) -> None:
        first = read(range(mine.start, mine.start + min(1, len(mine)))).to_pylist()
        check_fits(work, model, len(first[0]["ids"]) if first else 0)

    in_slices(work, SEQUENCE_SCORES, len(mine), WINDOWS_AT_ONCE, make, check)


def check_fits(work: Work, model: LanguageModel, window: int) -> None:
    """StudyError if the windows are not this model's tokens, or are longer than its context."""
    rows = work.read("models", "checkpoint", "tokenizer").to_pylist()
    used = next(r["tokenizer"] for r in rows if r["checkpoint"] == int(work.labels["checkpoint"]))
    if used != identity(work.read("tokenizer", "json").column("json")[0].as_py()):
        problem = f"model {model.name!r} has another tokenizer than the study, whose windows it could not read"
        raise StudyError(f"{problem}; set tokenizer.file to the model's tokenizer.json, or leave the model out")
    if window > model.context:
        problem = f"model {model.name!r} reads {model.context} tokens, fewer than the windows' {window}"
        raise StudyError(f"{problem}; set memorization.prefix and memorization.suffix to fewer tokens")


def check_alone(model: LanguageModel, scored: Sequence[tuple[str, np.ndarray, np.ndarray]], prefix: int) -> None:
    """StudyError if a window (name, ids, log p of its tokens) has other log p outside its batch, or its beginning without the rest.
    Networks that compute all positions of long texts in another way (LongRoPE) fail the second: a decoder, which reads the prefix
    first, then writes something else than one pass over the window says."""

    def again(ids: np.ndarray) -> np.ndarray:
        return score_windows(model, [ids], [], 1)["log_probabilities"][0]

    for name, ids, in_batch in scored:
        compare(model, f"window {name!r}", in_batch, again(ids))
    for name, ids, whole in scored[:1]:
        for length in sorted({1, min(prefix + 1, len(ids))}):
            apart = np.abs(again(ids[:length]) - whole[:length])
            if not (apart <= ALLOWED.get(model.dtype, ALLOWED["bfloat16"])).all():
                most = f", at most {model.switches[0]} together" if model.switches and model.switches[0] > length else ""
                raise StudyError(
                    f"window {name!r}: model {model.name!r} gives its first {length} tokens another log p when the rest follows, "
                    f"{apart.max():.2g} nats apart, so that one pass does not say what it writes; set memorization.prefix and "
                    f"memorization.suffix to fewer tokens{most}, or leave the model out of the study"
                )


# -- scoring ----------------------------------------------------------------------------------------------------------
def score_windows(model: LanguageModel, windows: Arrays, schemes: Sequence[Scheme], batch_tokens: int) -> Scores:
    """The columns of `sequence_scores`, [windows, tokens] each, and `sampled` [schemes, windows, tokens]. windows: int64, all of
    one length, so that none is padded. Raises StudyError for logits that are not finite."""
    import torch

    length = len(windows[0])
    least, most = NUMBERS_AT_ONCE
    numbers = most if model.device != "cpu" else min(most, max(least, TOKENS_AT_ONCE * model.vocabulary))
    at_once = max(1, min(batch_tokens // length, numbers // (length * model.vocabulary))) if not model.alone else 1
    made: list[Scores] = []
    with torch.inference_mode():
        for first in range(0, len(windows), at_once):
            batch = list(windows[first : first + at_once])
            made += [result for _, result in within_memory(model, batch, lambda some: _pass(model, some, schemes))]
    return _joined(made)


def _joined(made: Sequence[Scores]) -> Scores:
    return {name: np.concatenate([m[name] for m in made], axis=int(name == "sampled")) for name in made[0]}


def score_close_calls(scores: Scores, precise: Callable[[], LanguageModel], windows: Arrays, *how: Any) -> int:
    """Replace the columns of each token whose margin is below CLOSE by those of the same model in float32; returns how many. In
    half precision the logits of the likeliest tokens are often equal, and which of them is a hit then depends on rounding."""
    close = np.abs(scores["margins"]) < CLOSE
    rows = np.flatnonzero(close.any(axis=1))
    if len(rows):
        again = score_windows(precise(), [windows[int(row)] for row in rows], *how)
        for name, values in again.items():  # `sampled` has schemes before windows
            scores[name][..., rows, :] = np.where(close[rows], values, scores[name][..., rows, :])
    return int(close.sum())


def _pass(model: LanguageModel, windows: Arrays, schemes: Sequence[Scheme]) -> Scores:
    import torch

    ids = torch.from_numpy(np.stack(windows)).to(model.device)
    start = torch.full((len(windows), 1), model.start, dtype=torch.long, device=model.device)
    logits = model.network(input_ids=torch.cat([start, ids[:, :-1]], dim=1), use_cache=False).logits.float()
    at_once = 1 if logits.device.type == "cpu" else len(windows)  # one window's logits stay in the cache: a third of the time
    made = []
    for some, targets in zip(logits.split(at_once), ids.to(logits.device).split(at_once), strict=True):
        made.append(token_statistics(some, targets, schemes))
        if not np.isfinite(made[-1]["means"]).all():  # one logit that is not finite makes Σ p log p NaN
            raise not_finite(model, "logits")
    return _joined(made)


def token_statistics(logits: "torch.Tensor", targets: "torch.Tensor", schemes: Sequence[Scheme]) -> dict[str, np.ndarray]:
    """What `score_windows` returns, from float32[windows, tokens, vocabulary] and int64[windows, tokens]."""
    import torch

    target_logits = logits.gather(-1, targets[..., None])
    smaller = torch.arange(logits.shape[-1], device=logits.device) < targets[..., None]
    ahead = (logits > target_logits) | ((logits == target_logits) & smaller)
    ranks = 1 + ahead.count_nonzero(dim=-1)  # four times as fast as the sum
    best = logits.topk(2, dim=-1).values
    log_p = torch.log_softmax(logits, dim=-1)
    p = log_p.exp()
    means = (p * log_p).sum(dim=-1)
    values = {
        "log_probabilities": log_p.gather(-1, targets[..., None])[..., 0],
        "likeliest": logits.argmax(dim=-1),
        "ranks": ranks,
        "margins": target_logits[..., 0] - torch.where(ranks == 1, best[..., 1], best[..., 0]),
        "means": means,
        "variances": (p * (log_p - means[..., None]) ** 2).sum(dim=-1),
    }
    sampled = [scheme_log_probabilities(logits, target_logits[..., 0], ranks, **scheme) for scheme in schemes]
    columns = {name: value.cpu().numpy().astype(VALUES.get(name, np.float32)) for name, value in values.items()}
    nothing = np.empty((0, *targets.shape), np.float32)
    return columns | {"sampled": np.stack(sampled) if sampled else nothing}


def scheme_log_probabilities(
    logits: "torch.Tensor", target_logits: "torch.Tensor", ranks: "torch.Tensor", temperature: float, top_k: int, top_p: float
) -> np.ndarray:
    """float32[windows, tokens]: log p of tokens with these logits and ranks; −∞ where the scheme never draws them. Top-k keeps the
    k likeliest tokens; then top-p keeps the fewest likeliest ones that together reach top_p of what is left."""
    import torch

    kept = min(top_k or logits.shape[-1], logits.shape[-1])
    scaled = logits if kept == logits.shape[-1] and top_p == 1 else logits.topk(kept, dim=-1).values
    scaled = scaled.double() / temperature
    values = target_logits.double() / temperature - torch.logsumexp(scaled, dim=-1)
    last = torch.full_like(ranks, kept).cpu()
    values = values.cpu()
    if top_p < 1:
        below = torch.softmax(scaled, dim=-1).cpu().cumsum(dim=-1)  # on the CPU: sums on a GPU are added in any order
        last = 1 + (below < top_p).sum(dim=-1).clamp(max=kept - 1)
        values = values - below.gather(-1, last[..., None] - 1)[..., 0].log()
    return torch.where(ranks.cpu() <= last, values.clamp(max=0.0), -torch.inf).numpy().astype(np.float32)


# -- unrelated prefixes -------------------------------------------------------------------------------------------------
SEQUENCE_COLUMNS = ("sequence", "sample", "split", "source", "document", "ids", "prefix", "near_cluster")


@dataclass(frozen=True)
class UnrelatedPrefixes:
    """Prefixes of members in a seeded order, those drawn uniformly first, which are read once for the suffixes of most windows."""

    ids: np.ndarray  # int64[prefixes, tokens]
    documents: list[tuple[str, str]]
    clusters: np.ndarray  # int64[prefixes]
    count: int  # how many each suffix is scored after

    @classmethod
    def of(cls, sequences: Iterable[pa.RecordBatch], count: int, seed: int) -> "UnrelatedPrefixes":
        """Four times as many as are asked for, if there are so many, because a window leaves out those that are related to it."""
        chosen: dict[tuple[int, ...], tuple[tuple[bool, int], tuple[str, str], int]] = {}  # order, document, cluster
        last: tuple[bool, float] = (True, np.inf)
        for batch in sequences:
            names, samples, splits = (batch.column(name).to_pylist() for name in ("sequence", "sample", "split"))
            for i, split in enumerate(splits):
                if split == "member" and (order := (samples[i] != "uniform", seeded_hash(seed, "unrelated", names[i]))) <= last:
                    (row,) = batch.slice(i, 1).to_pylist()
                    prefix, of = tuple(row["ids"][: row["prefix"]]), (row["source"], row["document"])
                    if prefix not in chosen or order < chosen[prefix][0]:
                        chosen[prefix] = order, of, row["near_cluster"]
            chosen = dict(sorted(chosen.items(), key=lambda item: item[1][0])[: 4 * count])
            if len(chosen) == 4 * count:
                last = [order for order, *_ in chosen.values()][-1]
        documents, clusters = [of for _, of, _ in chosen.values()], [cluster for *_, cluster in chosen.values()]
        return cls(np.array(list(chosen), np.int64), documents, np.array(clusters, np.int64), count)

    def score(self, model: LanguageModel, sequences: pa.Table, batch_tokens: int) -> list[np.ndarray]:
        """float32[prefixes] for each of these windows: log p of its suffix, in nats, after the first prefixes that differ from its
        own and are of other documents and clusters. Fewer than asked for, or none, if no more are unrelated to it. Raises
        StudyError if one is not finite."""
        values: list[np.ndarray] = []
        rows = sequences.to_pylist()
        for first in range(0, len(rows), UNRELATED_AT_ONCE):
            values += self._score(model, rows[first : first + UNRELATED_AT_ONCE], batch_tokens)
        return values

    def _score(self, model: LanguageModel, rows: list[dict[str, Any]], batch_tokens: int) -> list[np.ndarray]:
        import torch

        scored: list[ScoredSequence] = []
        counts: list[int] = []
        for row in rows:
            suffix, k = np.array(row["ids"][row["prefix"] :], np.int64), row["prefix"]
            others = np.array([of != (row["source"], row["document"]) for of in self.documents], bool)
            others &= (self.clusters != row["near_cluster"]) & (self.ids != np.array(row["ids"][:k])).any(axis=1)
            chosen = np.flatnonzero(others)[: self.count]
            counts.append(len(chosen))
            for prefix in self.ids[chosen]:
                ids = np.concatenate([[model.start], prefix, suffix[:-1]]).astype(np.int32)
                scored.append(ScoredSequence(ids, np.arange(k, k + len(suffix)), suffix))
        with torch.inference_mode():
            values = log_probabilities(model, scored, batch_tokens)
            for i in drawn(rows[0]["sequence"], 0, len(scored))[:1]:
                name = f"the suffix of window {rows[int(np.searchsorted(np.cumsum(counts), i, 'right'))]['sequence']!r}"
                compare(model, name, values[i], log_probabilities(model, [scored[i]], 1)[0])
        sums = np.array([v.astype(np.float64).sum() for v in values])
        if not np.isfinite(sums).all():
            raise not_finite(model, "log-probabilities after unrelated prefixes", "set memorization.unrelated_prefixes = 0")
        return np.split(sums.astype(np.float32), np.cumsum(counts)[:-1])


# -- the step ---------------------------------------------------------------------------------------------------------
RATES = {"bytes of scores": Rate(32.0, "bytes for a token of a window", "five numbers and a few more", guess=True)}


def cost(sizes: Sizes) -> Cost:
    """Each window once through each checkpoint, and each suffix after unrelated prefixes through the last one of each model."""
    memorization = sizes.study.memorization
    if memorization is None:
        return Cost(unit="forward passes")
    count = sizes.study.expected_windows
    tokens = count * memorization.window
    last = len(sizes.study.models) / max(1, sizes.checkpoints)  # the share of checkpoints that are a model's last
    again = last * count * memorization.unrelated_prefixes
    written = tokens * (RATES["bytes of scores"] + 4 * len(memorization.sampling)) + 4 * again
    passes = [Passes(count + again, tokens + again * (memorization.suffix + 1), written)]
    whole = inference_cost(sizes, passes)
    parts = sizes.checkpoints * memorization.pieces
    guesses = (*whole.guesses, *RATES["bytes of scores"].as_guess(parts))
    precise = 0.0 if sizes.study.scoring.dtype == "float32" else max((4.0 * m.parameters for m in sizes.models), default=0.0)
    return replace(whole, memory=whole.memory + precise, parts=parts, guesses=guesses, rates={**whole.rates, **RATES})


ABOUT = "what each model makes of each token of the windows: log p, rank, margin, and log p under sampling schemes"
READS, STAGES = ("models", "sequences", "tokenizer"), (Stage(writes=(SEQUENCE_SCORES,), plan=plan, run=run),)
SCORE_SEQUENCES = Step("score_sequences", 4, ABOUT, READS, STAGES, cost=cost, applies=asks_for_memorization)

"""Step `recite`: what a model writes greedily after a prefix, where it does not give the suffix back (docs/memorization.md).

    suffix        5 0 2 7 1 3      hits          x x . x . .      first miss    2
    generation    5 0 8 4 4 9      from the pass 5 0 8            generated           4 4 9

Up to the first miss the generation is the suffix, and there the model writes its own likeliest token: both are known from
`score_sequences`, whose pass has seen what a decoder would have seen. Only what follows is generated, as answers are, and nothing
for windows that are extracted. A token that ends the document ends the generation and is its last one.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schemas import Study
from schemas.settings.study_file import Model
from schemas.tables.recitations import RECITATIONS
from tasks.cost import Cost, Sizes
from tasks.models.generate import Continuation, compare_alone, go_on
from tasks.models.inference_cost import Passes, inference_cost
from tasks.models.ladder import LabelsSettingsInputs, checkpoint_jobs, parts_with, piece_of
from tasks.models.language_model import LanguageModel
from tasks.models.slices import Columns, in_slices
from tasks.step import Inputs, Job, Stage, Step, Work, asks_for_recitation

SCORES = ("sequence", "hits", "likeliest")
WINDOWS_AT_ONCE = 1_024  # bounds memory and what a killed run loses


@dataclass(frozen=True)
class MissedWindow:
    """A window whose suffix is not given back: where it begins, its first token that is not the likeliest, and which one is."""

    sequence: str
    ids: list[int]
    prefix: int
    miss: int
    likeliest: int

    @property
    def begun(self) -> list[int]:
        """What is known of the generation: the suffix before the miss, and the token that the model writes there."""
        return [*self.ids[self.prefix : self.miss], self.likeliest]


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job per part of `sequence_scores`: a model, a checkpoint, a piece of the windows."""

    def of(model: Model, checkpoint: int) -> list[LabelsSettingsInputs]:
        parts = parts_with(inputs["sequence_scores"], model=model.name, checkpoint=str(checkpoint))
        return [(part.labels, {}, {"sequences": inputs["sequences"], "sequence_scores": (part,)}) for part in parts]

    return checkpoint_jobs(study, inputs, of) if asks_for_recitation(study) else []


def run(work: Work) -> None:
    """Generate what one checkpoint writes instead of the suffixes of its windows, or of a piece of them."""
    (windows,), (part,) = work.parts("sequences"), work.parts("sequence_scores")
    mine = piece_of(work, work.count(windows))  # the windows of the part of `sequence_scores`, in the same order
    read = work.in_order(windows, "sequence", "ids", "prefix"), work.in_order(part, *SCORES)

    def make(model: LanguageModel, rows: range) -> Columns:
        sequences, scores = read[0](range(mine.start + rows.start, mine.start + rows.stop)), read[1](rows)
        assert sequences.column("sequence").equals(scores.column("sequence")), "internal error: scores of other windows"
        columns = [column.to_pylist() for of in (sequences, scores.drop_columns("sequence")) for column in of.itercolumns()]
        return _recite(work, model, missed_windows(zip(*columns, strict=True)), rows)

    in_slices(work, RECITATIONS, len(mine), WINDOWS_AT_ONCE, make)


def missed_windows(rows: Iterable[tuple[str, list[int], int, list[bool], list[int]]]) -> list[MissedWindow]:
    """Those of (sequence, ids, tokens of the prefix, hits, likeliest tokens) whose suffix has a token that is no hit."""
    missed = []
    for sequence, ids, prefix, hits, likeliest in rows:
        if not all(hits[prefix:]):
            miss = hits.index(False, prefix)
            missed.append(MissedWindow(sequence, ids, prefix, miss, likeliest[miss]))
    return missed


def _recite(work: Work, model: LanguageModel, missed: Sequence[MissedWindow], rows: range) -> Columns:
    rests = write_on(model, missed, work.settings["batch_tokens"])
    again = compare_alone(work, model, rests, [f"window {window.sequence!r}" for window in missed], rows.start)
    ids = [[*window.begun, *rest.tokens] for window, rest in zip(missed, rests, strict=True)]
    columns = {"sequence": [w.sequence for w in missed], "first_miss": [w.miss - w.prefix for w in missed], "ids": ids}
    columns |= {"ended": [of[-1] in model.ends for of in ids]}
    columns |= {"generation": [hashlib.blake2b(np.array(of, "<i4").tobytes(), digest_size=16).hexdigest() for of in ids]}
    sums = {"windows": len(rows), "extracted": len(rows) - len(missed), "computed_alone": again}
    return columns, sums | {"generated": sum(len(rest.tokens) for rest in rests)}


def write_on(model: LanguageModel, missed: Sequence[MissedWindow], batch_tokens: int) -> list[Continuation]:
    """What greedy decoding writes after what is known of each, up to the window's length or the end of a document, if anything."""
    answers = [Continuation("", [model.start, *w.ids[: w.prefix], *w.begun]) for w in missed]
    left = [i for i, w in enumerate(missed) if w.miss + 1 < len(w.ids) and w.likeliest not in model.ends]
    most, names = [len(missed[i].ids) - missed[i].miss - 1 for i in left], [missed[i].sequence for i in left]
    for i, answer in zip(left, go_on(model, [answers[i] for i in left], most, names, None, batch_tokens), strict=True):
        answers[i] = answer
    return answers


def cost(sizes: Sizes) -> Cost:
    """What follows the first other token: at most the suffix of each window, in batches of `batch_tokens`."""
    memorization = sizes.study.memorization
    if memorization is None or not memorization.recite:
        return Cost(unit="forward passes")
    count, window, suffix = sizes.study.expected_windows, memorization.window, memorization.suffix
    batch = max(1.0, sizes.study.scoring.batch_tokens / window)
    whole = inference_cost(sizes, [Passes(count, count * memorization.prefix, count * (4.0 * suffix + 40), count * suffix, batch)])
    return replace(whole, parts=sizes.checkpoints * memorization.pieces)


ABOUT = "what each model writes after its first other token, for windows whose suffix it does not reproduce"
READS = ("models", "sequences", "sequence_scores")
STAGES = (Stage(writes=(RECITATIONS,), plan=plan, run=run),)
RECITE = Step("recite", version=1, about=ABOUT, reads=READS, stages=STAGES, cost=cost, applies=asks_for_recitation)

"""k-eidetic memorization: extracted windows whose suffix is in at most k documents of the corpus (arXiv 2012.07805 Def. 2).

Documents count, not occurrences: a suffix that one document repeats a hundred times is 1-eidetic, the case that matters for
privacy. The rate is that of all windows whose suffix is in at most k documents, next to that of phantoms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schemas import Study
from tasks.measures import Measure, MetricRows
from tasks.memorization.scored_windows import MEASURED, null_of, read_windows
from tasks.statistics import Estimate, difference, wilson
from tasks.step import Work, asks_for_memorization

MOST_DOCUMENTS = (1, 2, 5, 10, 100)


def run(work: Work, rows: MetricRows) -> None:
    """How many windows are k-eidetic for each k, and their share, for each sample and checkpoint."""
    for windows in read_windows(work, "extracted", of="sequence_measures"):
        exact, documents = windows.values["extracted"], windows.table["suffix_documents"].to_numpy()
        samples = dict(windows.samples())
        for sample, at in samples.items():
            for k in MOST_DOCUMENTS:
                few = at[documents[at] <= k]
                clusters = len(np.unique(windows.clusters(few)))
                more: dict[str, Any] = {"of": windows.of, "unit": "sequence", "group": sample, "level": float(k), "x": float(k)}
                more |= {"rows": len(few), "examples": clusters}
                eidetic = int(exact[few].sum())
                rows.add("eidetic", "windows", Estimate(float(eidetic)), **more)
                rows.add("eidetic", "rate", wilson(eidetic, len(few)), **more)
                if null_of(sample):
                    null = samples.get(null_of(sample), at[:0])
                    null = null[documents[null] <= k]
                    rows.add("eidetic", "excess", difference(eidetic, len(few), int(exact[null].sum()), len(null)), **more)


def settings(study: Study) -> dict[str, Any]:
    """Nothing: the windows decide."""
    return {}


MEASURE = Measure("eidetic", MEASURED, settings, run, applies=asks_for_memorization, keeps_contaminated=True, of_tasks=False)

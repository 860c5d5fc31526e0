"""k-eidetic memorization: extracted windows whose suffix is in at most k documents of the corpus (arXiv 2012.07805 Def. 2).

Documents count, not occurrences: a suffix that one document repeats a hundred times is 1-eidetic, the case that matters for
privacy. The rate is that of all windows whose suffix is in at most k documents, next to that of phantoms.
"""

from tasks.measures import MetricRows
from tasks.memorization.scored_windows import of_windows, read_windows
from tasks.statistics import Estimate
from tasks.step import Work

MOST_DOCUMENTS = (1, 2, 5, 10, 100)


def run(work: Work, rows: MetricRows) -> None:
    """How many windows are k-eidetic for each k, and their share, for each sample and checkpoint."""
    for windows in read_windows(work, rows, "eidetic", "extracted"):
        exact, documents = windows.values["extracted"], windows.table["suffix_documents"].to_numpy()
        for sample in windows.samples():
            for k in MOST_DOCUMENTS:
                few = sample.where(documents <= k, level=float(k), x=float(k))
                few.add("windows", Estimate(float(exact[few.at].sum())))
                few.add_rate(exact)


MEASURE = of_windows("eidetic", run, settings=lambda study: {})

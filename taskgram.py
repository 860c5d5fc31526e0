"""taskgram from Python: run a study, then read what it found.

    import taskgram
    study = taskgram.run("mine.toml")
    study.table("metrics")

docs/python.md shows a session. Errors that a user can fix are `taskgram.StudyError`.
"""

from __future__ import annotations

import difflib
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas import CONTRACTS, Study, StudyError, load_study

if TYPE_CHECKING:
    import polars as pl

    from flows.plan import PlannedStep
    from tasks.storage.store import Part

__all__ = ["OpenStudy", "StudyError", "open", "run"]
APART = ("variant", "corpus")  # labels of the parts of a study's variants and of its placebo corpus
SHOWN = ("step", "state", "parts", "rows", "bytes", "seconds")


def run(study: str | Path, root: str | Path | None = None, workers: int | None = None) -> OpenStudy:
    """Bring a study up to date, and open it. Finished parts are skipped, so a second call takes seconds.

    The run has a process of its own, as with `taskgram run`, so that this one keeps its environment; progress goes to sys.stderr.

    Args:
        study: a study file, or the name of a shipped study such as "sample".
        root: folder or URL for all results; default: $TASKGRAM_ROOT, else ./taskgram-data.
        workers: Dask workers; 0 runs everything in one process; default: what the study says.

    Raises:
        StudyError: the study is wrong or a step failed; the message says what to do.
    """
    opened = open(study, root)
    _command("run", "--root", opened.root, *([] if workers is None else ["--workers", str(workers)]), "--", opened.file)
    return opened


def open(study: str | Path, root: str | Path | None = None) -> OpenStudy:
    """A study and its results. Nothing is computed.

    Raises:
        StudyError: there is no such study, a setting is wrong, or `root` cannot hold results.
    """
    from flows.environment import absolute_root, keep_file_hashes
    from flows.study_files import study_path

    place = absolute_root(None if root is None else str(root))
    keep_file_hashes(place)
    return OpenStudy(str(study), place, load_study(study_path(str(study))))


class OpenStudy:
    """A study and its results, as they are on disk at each call. Made by `taskgram.open` and `taskgram.run`."""

    def __init__(self, file: str, root: str, settings: Study) -> None:
        self.file, self.root, self.settings = file, root, settings

    def __repr__(self) -> str:
        return f"<taskgram study {self.settings.name!r}>"

    @property
    def tables(self) -> list[str]:
        """Names of all tables that `table` and `contract` know."""
        return sorted(t for planned in self._plan() for t in planned.outputs)

    def table(self, name: str, *, columns: Sequence[str] = (), variants: bool = False) -> pl.DataFrame:
        """The rows of a table, for the study as its file is now.

        Args:
            name: one of `tables`, such as "metrics".
            columns: read these columns only; default: all.
            variants: add the rows of the study's variants and of its placebo corpus, with a column `variant` that names them.

        Raises:
            StudyError: there is no such table or column, or the table is not finished.
        """
        import polars as pl

        from tasks.storage.store import Store, fingerprint

        schema, store = self._contract(name).schema, Store(self.root)
        if unknown := set(columns) - set(schema.names):
            raise StudyError(f"{name} has no column {min(unknown)!r}; its columns are {', '.join(schema.names)}")
        parts = next(planned.outputs[name] for planned in self._plan() if name in planned.outputs)
        if store.manifest(name, fingerprint(parts)) is None:
            raise StudyError(f"{name} of {self.settings.name} is not finished or not up to date. {self._advice}")
        rows = pl.DataFrame(store.read([part for part in parts if not _label(part)], schema, columns))
        if not variants or "variant" in schema.names:  # `metrics` names them itself
            return rows
        others = [(label, tuple(group)) for label, group in groupby(parts, _label) if label]
        frames = [pl.DataFrame(store.read(group, schema, columns)).with_columns(variant=pl.lit(v)) for v, group in others]
        return pl.concat([rows.with_columns(variant=pl.lit("")), *frames])

    def contract(self, name: str) -> pl.DataFrame:
        """The columns of a table: name, Arrow type, whether it may be null, its place in the sort key, meaning and unit."""
        import polars as pl

        contract = self._contract(name)
        places = {column: place for place, column in enumerate(contract.key, 1)}
        rows = [(c.name, str(c.type), c.nullable, places.get(c.name), c.description) for c in contract.columns]
        return pl.DataFrame(rows, schema=["column", "type", "nullable", "key", "description"], orient="row")

    def status(self) -> pl.DataFrame:
        """The state of each step (done, stale, failed or missing) with its parts, rows, bytes and seconds of computing."""
        import polars as pl

        from flows.commands.status import describe

        return pl.DataFrame([{name: step[name] for name in SHOWN} for step in describe(self.file, self.root)])

    def count(self, *phrases: str, documents: int = 3) -> dict[str, Any]:
        """How often phrases occur in the corpus, alone and in the same document, with excerpts of `documents` documents."""
        from flows.commands.corpus_questions import count

        return count(self.file, self.root, phrases, documents)

    def trace(self, name: str) -> dict[str, Any]:
        """An example with its n-grams, pairs, counts, answers and documents; or a sequence with its documents and scored tokens.

        An example is named by its id, task/id or text of its input, a sequence by its name or the beginning of it. Raises
        StudyError, which lists what matches, if several do, and if none does.
        """
        from flows.commands.trace_choice import trace

        return trace(self.file, self.root, name)

    @property
    def report(self) -> str:
        """The report's page: a path, or a URL where the root is one. Raises StudyError if there is none yet."""
        from flows.study_files import report_page
        from tasks.storage.store import Store

        store = Store(self.root)
        page = report_page(store, self.settings.name)
        if not store.fs.exists(page):
            raise StudyError(f"{self.settings.name} has no report yet. {self._advice}")
        return page

    def _plan(self) -> list[PlannedStep]:
        from flows.plan import lay_out
        from flows.study import STEPS

        return lay_out(STEPS, self.settings)

    def _contract(self, name: str) -> Any:
        if name not in CONTRACTS or name not in self.tables:
            near = difflib.get_close_matches(name, self.tables, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise StudyError(f"there is no table {name!r}; {hint}The tables are {', '.join(self.tables)}")
        return CONTRACTS[name]

    @property
    def _advice(self) -> str:
        return f"Run: taskgram.run({self.file!r}, {self.root!r})"


def _label(part: Part) -> str:
    return next((part.labels[name] for name in APART if part.labels.get(name)), "")


def _command(*words: str) -> None:
    """Run a command of `taskgram` to its end. Raises StudyError with its message if it fails."""
    from flows.environment import isolated

    command = [sys.executable, "-P", "-m", "flows.cli", *words]  # -P: no file of the working folder is imported
    lines: list[str] = []
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    how: dict[str, Any] = {"env": isolated(os.environ), "text": True, "errors": "replace"}
    # Ctrl-C reaches this process, which then ends the run once
    with subprocess.Popen(command, start_new_session=True, **streams, **how) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                lines.append(line)
                print(line, end="", file=sys.stderr)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise StudyError("".join(lines).rpartition("taskgram: ")[2].strip() or "the run ended without a message")

"""What Prefect's UI shows of a step: log lines, progress, the tables it wrote, the checks they passed, and violations. Lines go
with the run's own thread; another thread sends the artifacts, so that a slow server never delays a step."""

import contextvars
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from flows.engine import Outcome
from flows.manifests import ContractBroken, read_again
from flows.plan import PlannedStep
from flows.session import Session
from flows.study_files import report_link, report_page
from flows.terminal import size

SECONDS_BETWEEN_ARTIFACTS = 2.0
SECONDS_BETWEEN_LINES = 5.0


class Post:
    """Sends artifacts in order from its own thread. No step fails because the server refuses one."""

    def __init__(self) -> None:
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="artifacts")

    def send(self, send: Callable[..., Any], **what: Any) -> Future[Any]:
        context = contextvars.copy_context()
        return self._sender.submit(lambda: context.run(send, **what))

    def close(self) -> None:
        """Wait until all artifacts are sent."""
        self._sender.shutdown()


class Watch:
    def __init__(self, planned: PlannedStep, session: Session, post: Post) -> None:
        self.step, self.study, self.post = planned.step.name, session.study.name, post
        self.report = report_page(session.store, self.study)
        self.link = report_link(session.store.root, self.report, self.study)
        self.name = f"{self.study}/{self.step}/{planned.fingerprint[:8]}"
        self._log = get_run_logger()
        self._progress: Future[Any] | None = None
        self._sent = self._logged = 0.0

    def line(self, text: str) -> None:
        self._log.info("%s: %s", self.name, text)

    def progress(self, done: int, total: int) -> None:
        """Report the number of finished parts. The first call reports how many were finished before this run."""
        share, now = 100.0 * done / total if total else 100.0, time.monotonic()
        if self._progress is None:
            self.line(f"starts; {done} of {total} parts are finished already and skipped, {total - done} are to be computed")
            about = {"key": key(self.study, self.step, "progress"), "description": f"{self.step}: parts done"}
            self._progress = self.post.send(create_progress_artifact, progress=share, **about)
            self._sent = self._logged = now
            return
        if now - self._logged >= SECONDS_BETWEEN_LINES:
            self.line(f"{done} of {total} parts")
            self._logged = now
        if now - self._sent >= SECONDS_BETWEEN_ARTIFACTS or done == total:
            artifact = self._progress
            self.post.send(lambda: update_progress_artifact(artifact_id=artifact.result(), progress=share))
            self._sent = now

    def part_failed(self, part: str, why: str) -> None:
        """Log a failed part; the others continue."""
        self._log.error("%s: part %s failed: %s", self.name, part, why)

    def finished(self, outcome: Outcome) -> None:
        """Report the tables that were written and their checks; one line for a skipped step."""
        if outcome.state == "skipped":
            self.line(f"is up to date and skipped: {outcome.parts} parts, {outcome.rows:,} rows")
            return
        seconds = f"{outcome.part_seconds:.1f} worker seconds, {outcome.wall_seconds:.1f} s of wall time"
        words = f"{outcome.computed} of {outcome.parts} parts computed in {seconds}"
        self.line(f"done: {words}; {outcome.rows:,} rows, {size(outcome.bytes)}, {len(outcome.checks)} checks passed")
        tables = [
            {"table": m["table"], "parts": len(m["parts"]), "rows": m["rows"], "bytes": m["bytes"]}
            | {"checks": len(m["validation"]["checks"]), "valid": m["validation"]["success"], "fingerprint": m["fingerprint"][:12]}
            for m in outcome.manifests
        ]
        self._table(tables, f"{words}. {read_again(outcome.manifests)}\n\n{self._link()}")
        checks = [
            {"table": c["table"], "check": c["check"].removeprefix(f"{c['table']}: "), "rows checked": c["rows"]}
            | {"rows that break it": c["unexpected"], "holds": c["success"]}
            for c in outcome.checks
        ]
        self._table(checks, f"every check was made on every row. {self._link()}", "checks")

    def failed(self, message: str, error: BaseException) -> None:
        """Log the message; for a broken contract, also the checks, how many rows break them, and examples."""
        self._log.error("%s: %s", self.name, message)
        broken = error.__cause__ if isinstance(error.__cause__, ContractBroken) else error
        if isinstance(broken, ContractBroken):
            names = ("table", "check", "rows that break it", "examples")
            cells = ((broken.table, c["check"], c["unexpected"], "\n".join(c["examples"])) for c in broken.checks)
            rows = [dict(zip(names, row, strict=True)) for row in cells]
            self._table(rows, f"{broken.table} breaks its contract; no later step sees it", "violations")

    def _table(self, rows: list[dict[str, Any]], about: str, *kind: str) -> None:
        named = {"key": key(self.study, self.step, *kind), "description": f"{self.name}: {about}"}
        self.post.send(create_table_artifact, table=rows, **named)

    def _link(self) -> str:
        return f"[Report of {self.study}]({self.link}), once the step report is done: {self.report}"


def key(*words: str) -> str:
    """An artifact key: lower-case letters, digits and dashes."""
    return "-".join("".join(c if c.isascii() and c.isalnum() else "-" for c in w.lower()) for w in words)

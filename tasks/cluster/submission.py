"""Calls on a Dask cluster: submitted a little ahead of the workers, several quick ones per task, each result as it ends."""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from queue import Empty, SimpleQueue
from typing import Any

Call = tuple[Any, ...]
Function = Callable[..., Any]
Needs = Callable[[Call], Mapping[str, int]]
Required = Callable[[Mapping[str, int]], dict[str, int]]

# A task costs this process and the scheduler some milliseconds, whatever its size: 10,000 calls of 5 ms would take twice as long.
SECONDS_OF_A_TASK = 0.2
CALLS_IN_A_TASK = 32  # a killed worker loses only those that it has not yet published
DEADLY = 3  # how many calls may kill their workers before no more are tried
SECONDS_BETWEEN_LOOKS = 5.0
SECONDS_OF_SILENCE = 1.0
SECONDS_OF_A_RESULT = 30.0
ALIVE = ("running", "connecting")  # states of a client


@dataclass(frozen=True)
class Finished:
    """One call that ended: its index, and either what it returned or the exception it raised."""

    index: int
    value: Any = None
    error: BaseException | None = None


def attempt(index: int, function: Function, call: Call) -> Finished:
    try:
        return Finished(index, value=function(*call))
    except Exception as error:
        return Finished(index, error=error)


@dataclass(frozen=True)
class Made:
    """The outcome of a task: values by index, the calls that raised, and its seconds; other calls were not begun."""

    values: dict[int, Any]
    raised: frozenset[int]
    seconds: float


def several(function: Function, calls: Sequence[tuple[int, Call]]) -> Made:
    """Make calls one after the other, as many as a task has time for. Runs on a worker. An error of one of several calls is only
    recorded; that of a single call is raised, so that Dask transports it."""
    values: dict[int, Any] = {}
    raised: set[int] = set()
    began = time.monotonic()
    for index, call in calls:
        if (values or raised) and time.monotonic() - began > SECONDS_OF_A_TASK:
            break
        try:
            values[index] = function(*call)
        except Exception:
            if len(calls) == 1:
                raise
            raised.add(index)
    return Made(values, frozenset(raised), time.monotonic() - began)


class Flight:
    """The calls of one function, from submission to their end. work: what a worker calls with the calls of a task: `several` and
    the function, possibly after a check of the worker. name: shown in Dask's dashboard. needs: what a worker must have for a call;
    required: the same as Dask's resources. ahead: how many tasks to keep submitted, evaluated again every few seconds; it may
    raise. (distributed's `as_completed` cannot be interrupted for that: it would wait for ever where all workers have died.)"""

    def __init__(
        self, client: Any, work: tuple[Any, ...], name: str, needs: Needs, required: Required, ahead: Callable[[], int]
    ) -> None:
        self.client, self.name, self._work, self._needs, self._required = client, name, work, needs, required
        run = uuid.uuid4().hex[:8]
        self._keys = (f"{name}-{run}-{number}" for number in count())
        self._tasks: dict[Any, list[tuple[int, Call]]] = {}  # by future
        self._done: SimpleQueue[Any] = SimpleQueue()  # futures
        self._waiting: deque[tuple[int, Call]] = deque()  # their task ran out of time
        self._alone: deque[tuple[int, Call]] = deque()
        self._suspects: list[tuple[int, Call, BaseException]] = []
        self._seconds = SECONDS_OF_A_TASK  # of a call, estimated from the last ones
        self._ahead = ahead
        self._most, self._looked = ahead(), time.monotonic()

    def run(self, calls: Iterable[Call]) -> Iterator[Finished]:
        numbered = enumerate(calls)
        self._submit(numbered)
        while self._tasks:
            yield from self._land(self._next())
            self._submit(numbered)
        yield from self._judge()

    def cancel(self) -> None:
        self.client.cancel([f for f in self._tasks if not f.done()])

    def _submit(self, numbered: Iterator[tuple[int, Call]]) -> None:
        while len(self._tasks) < self._most:
            size = max(1, min(CALLS_IN_A_TASK, int(SECONDS_OF_A_TASK / max(self._seconds, 1e-6))))
            if self._alone:
                group = [self._alone.popleft()]
            else:
                waiting = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
                group = [*waiting, *islice(numbered, size - len(waiting))]
            if not group:
                return
            self._send(group)

    def _send(self, group: list[tuple[int, Call]]) -> None:
        needed: dict[str, int] = {}
        for _, call in group:
            needed |= {name: max(n, needed.get(name, 0)) for name, n in self._needs(call).items()}
        options = {"priority": -group[0][0], "resources": self._required(needed) or None}
        future = self.client.submit(*self._work, group, key=next(self._keys), pure=False, retries=0, **options)
        self._tasks[future] = group
        future.add_done_callback(self._done.put)

    def _next(self) -> Any:
        """The next task that has ended. Raises where the client is closed, for then no further task is reported."""
        while True:
            if time.monotonic() - self._looked > SECONDS_BETWEEN_LOOKS:
                self._most, self._looked = self._ahead(), time.monotonic()
            try:
                return self._done.get(timeout=SECONDS_OF_SILENCE)
            except Empty:
                if self.client.status not in ALIVE:
                    raise RuntimeError(f"the Dask client is {self.client.status}") from None

    def _land(self, future: Any) -> Iterator[Finished]:
        """The results of a task's calls. If one of several raised, it is repeated alone, so that the error is certainly its own."""
        from distributed import KilledWorker

        if future.status in ("pending", "lost"):  # its worker died with the result meanwhile: it is computed again
            return self._look_again(future)
        group = self._tasks[future]
        made, alive = Made({}, frozenset(index for index, _ in group), 0.0), self.client.status in ALIVE
        why = "the scheduler cancelled this part; run the study again, finished parts are kept"
        error: BaseException = RuntimeError(f"{self.name}: {why}")
        if future.status != "cancelled":
            try:
                made = future.result(timeout=SECONDS_OF_A_RESULT)
                self._seconds = (self._seconds + made.seconds / len({*made.values, *made.raised})) / 2
            except Exception as raised:  # the call's own, or that of computing it again after its worker died
                if isinstance(raised, TimeoutError) and future.status != "error":  # it died just now, perhaps as the last one
                    return self._look_again(future)
                error = raised
        del self._tasks[future]
        future.release()
        for index, call in group:
            if index in made.values:
                yield Finished(index, value=made.values[index])
            elif index not in made.raised:
                self._waiting.append((index, call))
            elif len(group) > 1 and alive:
                self._alone.append((index, call))
            elif isinstance(error, KilledWorker):
                self._suspects.append((index, call, error))
            else:
                yield Finished(index, error=error)

    def _look_again(self, future: Any) -> None:
        later = threading.Timer(SECONDS_OF_SILENCE, self._done.put, [future])
        later.daemon = True
        later.start()

    def _judge(self) -> Iterator[Finished]:
        """Calls whose workers died: most of them were only waiting there with the call that killed the worker. Each is repeated
        while no other is submitted, the last first, because the one that kills came before them; if all others return, it need not
        kill another worker."""
        suspects, self._suspects = sorted(self._suspects, key=lambda s: s[0]), []
        while len(suspects) > (0 if self._suspects else 1) and len(self._suspects) < DEADLY:
            self._send([suspects.pop()[:2]])
            while self._tasks:
                yield from self._land(self._next())
        yield from (Finished(index, error=error) for index, _, error in (*suspects, *self._suspects))

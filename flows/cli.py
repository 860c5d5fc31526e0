"""The command line: `taskgram run STUDY` and its companions, from the words to the exit code."""

from __future__ import annotations

import atexit
import io
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from flows.commands.arguments import parser

_ends_with: list[int] = []  # the exit code, once it is known
_ends_at_once: list[bool] = []  # there is no server: what waits to be sent to it would be tried for minutes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong words on the command line."""
    atexit.register(_end_quietly)  # registered first, so that it runs last
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character of the corpus shows "?"
    from schemas import StudyError  # behind the words: --help imports nothing of ours
    from tasks.text.display import printable

    try:
        from flows.environment import absolute_root, prepare, refuse_strangers

        refuse_strangers()
        options.root = absolute_root(options.root)
        try:
            prepare(options.root, verbose=getattr(options, "verbose", False))
        except OSError as error:
            raise StudyError(
                f"--root {options.root:.200}: cannot be used: {error.strerror}; name a folder to write in"
            ) from None
        return int(options.command(options) or 0)
    except StudyError as error:
        print(f"taskgram: {printable(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        print(f"taskgram: {printable(_unforeseen(error, options.root or ''))}", file=sys.stderr)
        if _is_from(error, "httpx"):
            _ends_at_once.append(True)
        return 1
    except KeyboardInterrupt:
        print("taskgram: stopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _unforeseen(error: Exception, root: str) -> str:
    """What a person reads of an error that nobody has put into words: no room left, or a defect of ours and its place."""
    from tasks.storage.disk import not_written
    from tasks.storage.layout import Layout

    if words := not_written(error, root):
        return words
    if _is_from(error, "httpx"):
        return (
            f"the Prefect server does not answer: {error}. What was finished is kept, the same command goes on from there; "
            "a server that PREFECT_API_URL names must run for that"
        )
    words, trace = f"{type(error).__name__}: {error} (this is a defect of ours; its traceback ", traceback.format_exc()
    path = Layout(root, Path(root)).log(f"taskgram-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    try:
        if "://" in root:
            raise OSError
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trace, encoding="utf-8")
    except OSError:
        return f"{words}follows)\n{trace}"
    return f"{words}is in {path})"


def _is_from(error: BaseException | None, package: str) -> bool:
    """Whether an error, or what caused it, is one of that package, which this file does not import."""
    return error is not None and (type(error).__module__.split(".")[0] == package or _is_from(error.__cause__, package))


def command() -> None:
    """`taskgram` in a process of its own: run the command, clean up, and end."""
    _ends_with.append(main())
    if _ends_at_once:
        _end_quietly()
    sys.exit(_ends_with[0])


def _end_quietly() -> None:
    """End here, when all else has been cleaned up: taking the interpreter down takes seconds more, in which nothing happens but
    that DuckDB's binding complains about reference counts.
    """
    code = _ends_with[0] if _ends_with else None
    try:
        if sys.stdout is not None:  # it may have been closed before we began: `>&-`
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as error:
        print(f"taskgram: what was printed could not be written: {error.strerror}", file=sys.stderr)
        code = 1 if code is not None else None
    if sys.stderr is not None:
        sys.stderr.flush()
    if code is not None:
        os._exit(code)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # called by another program, which ends by itself


if __name__ == "__main__":
    command()

"""The command line: `taskgram run STUDY` and the other commands, from arguments to exit code."""

import atexit
import io
import os
import sys
import time
import traceback
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from flows.commands.arguments import parser

_exit_code: list[int] = []  # set once the command has ended
_exit_now: list[bool] = []  # set if there is no server: Prefect would try for minutes to send it what is left


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong arguments."""
    atexit.register(_exit_quietly)  # registered first, so that it runs last
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal shows "?" for characters that it lacks
    if strangers := _strangers():
        print(f"taskgram: {strangers}", file=sys.stderr)
        return 1
    from schemas import StudyError  # not at the top: --help imports no package of the project
    from tasks.text.display import printable

    try:
        from flows.environment import absolute_root, prepare

        options.root = absolute_root(options.root)
        try:
            if hasattr(options, "study"):  # other commands leave no folder behind
                verbose, lasting = getattr(options, "verbose", False), options.command.__name__ == "serve"
                prepare(options.root, verbose=verbose, lasting=lasting)
        except OSError as error:
            why = f"cannot be used: {error.strerror}; give a folder that you can write to"
            raise StudyError(f"--root {options.root:.200}: {why}") from None
        return int(options.command(options) or 0)
    except StudyError as error:
        print(f"taskgram: {printable(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        print(f"taskgram: {printable(_unexpected(error, options.root or ''))}", file=sys.stderr)
        if _is_from(error, "httpx"):
            _exit_now.append(True)
        return 1
    except KeyboardInterrupt:
        print("taskgram: stopped. Finished parts are kept; the same command continues from there", file=sys.stderr)
        return 130


def _strangers() -> str:
    """A message if `tasks` or `schemas` is another package with that common name; imports neither."""
    home = Path(__file__).resolve().parents[1]
    specs = {name: find_spec(name) for name in ("schemas", "tasks")}
    places = {n: s.origin or "a folder" for n, s in specs.items() if s and s.origin != str(home / n / "__init__.py")}
    others = ", ".join(f"{name} in {place}" for name, place in places.items())
    names = f"other packages have the names of taskgram's, which is in {home}"
    return f"{names}: {others}. Remove them from PYTHONPATH" if others else ""


def _unexpected(error: Exception, root: str) -> str:
    """The message for an error that is not a StudyError: no space left, no server, or an internal error with its traceback."""
    from tasks.storage.disk import not_written
    from tasks.storage.layout import Layout

    if message := not_written(error, root):
        return message
    if _is_from(error, "httpx"):
        return (
            f"the Prefect server does not answer: {error}. Finished parts are kept; the same command continues from there. "
            "If PREFECT_API_URL names a server, it must be running"
        )
    message, trace = f"internal error, please report it: {type(error).__name__}: {error}", traceback.format_exc()
    path = Layout(root, Path(root)).log(f"taskgram-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
    try:
        if "://" in root:
            raise OSError
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trace, encoding="utf-8")
    except OSError:
        return f"{message}\n{trace}"
    return f"{message} (traceback in {path})"


def _is_from(error: BaseException | None, package: str) -> bool:
    """Whether an error, or its cause, is an exception of this package, which is not imported here."""
    return error is not None and (type(error).__module__.split(".")[0] == package or _is_from(error.__cause__, package))


def command() -> None:
    """`taskgram` in its own process: run the command, clean up, and exit."""
    _exit_code.append(main())
    if _exit_now:
        _exit_quietly()
    sys.exit(_exit_code[0])


def _exit_quietly() -> None:
    """Exit after everything else has been cleaned up: a normal shutdown takes seconds more, and DuckDB's binding complains."""
    code = _exit_code[0] if _exit_code else None
    try:
        if sys.stdout is not None:  # closed before the start by `>&-`
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as error:
        print(f"taskgram: the output could not be written: {error.strerror}", file=sys.stderr)
        code = 1 if code is not None else None
    if sys.stderr is not None:
        sys.stderr.flush()
    if code is not None:
        os._exit(code)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # called by another program, which exits by itself


if __name__ == "__main__":
    command()

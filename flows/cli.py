"""The command line: `taskgram run STUDY` and its companions."""

from __future__ import annotations

import argparse
import atexit
import io
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPILOG = """\
STUDY is a study file (mine.toml) or the name of a shipped study (sample, debian, pythia, olmo).

  taskgram plan pythia                    what a study needs in files, time, memory and disk, before anything is spent
  taskgram run sample                     run the planted sample, or bring it up to date
  taskgram run sample --from score        after a failure: score and all that depends on it
  taskgram serve sample --cron "0 2 * * *"   every night at two, watched in Prefect's UI
  taskgram status sample --json           what is done, stale, failed or missing
  taskgram count sample "capital of"      how often a phrase stands in the corpus, and where
  taskgram trace sample facts/ID          an example down to its pairs, their counts, the models' answers, the documents
  taskgram prompts sample --task facts --candidates prompts.txt    which prompts the corpus knows, and how they do
  taskgram init mine                      write mine.toml, a commented study to start from

Results lie under --root (default: $TASKGRAM_ROOT, else ./taskgram-data). What is finished is never computed twice.
"""


_ends_with: list[int] = []  # the exit code, once it is known


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong words on the command line."""
    atexit.register(_end_quietly)  # registered first, so that it runs last
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character of the corpus shows "?"
    from schemas import StudyError  # behind the words: --help imports nothing of ours
    from tasks.text.shown import printable

    try:
        from flows.environment import prepare, refuse_strangers

        refuse_strangers()
        options.root = _root(options.root)
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
        return 1
    except KeyboardInterrupt:
        print("taskgram: stopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _unforeseen(error: Exception, root: str) -> str:
    """What a person reads of an error that nobody has put into words: no room left, or a defect of ours and its place."""
    from tasks.disk import no_room

    if words := no_room(error, root):
        return words
    if _is_from(error, "httpx"):
        return (f"the Prefect server does not answer: {error}. What was finished is kept, the same command goes on from there; "
                "a server that PREFECT_API_URL names must run for that")  # fmt: skip
    words, trace = f"{type(error).__name__}: {error} (this is a defect of ours; its traceback ", traceback.format_exc()
    path = Path(root) / "logs" / f"taskgram-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
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


def _stop(number: int, frame: Any) -> None:
    """SIGTERM ends a run as Ctrl-C does: workers and the temporary server go with it."""
    raise KeyboardInterrupt


def command() -> None:
    """`taskgram` in a process of its own: run the command, clean up, and end."""
    _ends_with.append(main())
    sys.exit(_ends_with[0])


def _end_quietly() -> None:
    """End here, when all else has been cleaned up: taking the interpreter down takes seconds more, in which nothing happens but
    that DuckDB's binding complains about reference counts.
    """
    code = _ends_with[0] if _ends_with else None
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except OSError as error:
        print(f"taskgram: what was printed could not be written: {error.strerror}", file=sys.stderr)
        code = 1 if code is not None else None
    sys.stderr.flush()
    if code is not None:
        os._exit(code)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # called by another program, which ends by itself


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="taskgram", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Is a language model recalling its training data, or generalizing from it? Exact counts, honest statistics.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"taskgram {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, action: Any, help: str, study: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(command=action)
        if study:
            sub.add_argument("study", metavar="STUDY", help="a study file, or the name of a shipped study")
        sub.add_argument(
            "--root", metavar="DIR", help="folder for all results (default: $TASKGRAM_ROOT, else ./taskgram-data)"
        )
        return sub

    run = command("run", _run, "bring a study up to date")
    run.add_argument("--only", metavar="STEP", help="run this step alone; its inputs must be finished")
    run.add_argument("--from", dest="start", metavar="STEP", help="run this step and those that depend on it")
    run.add_argument("--force", metavar="STEP", action="append", default=[],
                     help="compute this step again and compare; may be given several times")  # fmt: skip
    run.add_argument("--workers", type=int, metavar="N", help="Dask workers; 0 runs everything in this process")
    run.add_argument("--verify", action="store_true", help="hash the bytes of finished parts before they are skipped")
    run.add_argument("-v", "--verbose", action="store_true", help="show Prefect's log as well")
    plan = command("plan", _plan, "say what a study needs in files, time, memory and disk, before anything is spent")
    plan.add_argument("--json", action="store_true", help="print JSON, with every rate and its source")
    status = command("status", _status, "show what is done, stale, failed or missing, per step")
    status.add_argument("--json", action="store_true", help="print JSON")
    serve = command("serve", _serve, "run a study on a schedule, with a Prefect server and its UI, until Ctrl-C")
    serve.add_argument(
        "--cron", required=True, metavar="CRON", help='when, in five fields: "0 2 * * *" is every night at two'
    )
    serve.add_argument(
        "--timezone", default="UTC", metavar="ZONE", help="of the schedule, e.g. Europe/Berlin (default: UTC)"
    )
    serve.add_argument("--port", type=int, default=4200, metavar="N",
                       help="of the server; not used where PREFECT_API_URL names one (default: 4200)")  # fmt: skip
    count = command("count", _count, "count phrases in the corpus of a study, alone and together")
    count.add_argument("phrases", metavar="PHRASE", nargs="+", help="words that follow each other, as one argument")
    count.add_argument("--documents", type=int, metavar="K", default=3, help="documents shown (default: 3)")
    count.add_argument("--json", action="store_true", help="print JSON")
    trace = command(
        "trace", _trace, "follow an example down to its pairs, their counts, the models' answers and the documents"
    )
    trace.add_argument("example", metavar="EXAMPLE", help="its id, TASK/ID, or words of its input")
    trace.add_argument("--pairs", type=int, metavar="K", default=10, help="pairs shown (default: 10)")
    trace.add_argument("--documents", type=int, metavar="K", default=1, help="documents shown of each pair (default: 1)")
    trace.add_argument("--json", action="store_true", help="print JSON: all of it")
    prompts = command("prompts", _prompts, "choose prompts by what the corpus holds of them, and evaluate both extremes")
    prompts.add_argument("--task", metavar="TASK", required=True, help="the task whose prompt is chosen")
    source = prompts.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--candidates", metavar="FILE", default="", help="prompts to choose from: .txt, one a line, or .jsonl"
    )
    source.add_argument(
        "--rewriter", metavar="MODEL", default="", help="a model of the study, or a folder, that writes them"
    )
    prompts.add_argument("--rounds", type=int, metavar="N", default=3, help="rounds of rewriting (default: 3)")
    prompts.add_argument("--per-round", type=int, metavar="K", default=8, help="rewritings in each round (default: 8)")
    prompts.add_argument("--seed", type=int, metavar="S", default=0, help="of the rewriter's draws (default: 0)")
    prompts.add_argument("--models", metavar="NAME", nargs="+", default=[], help="models evaluated (default: all)")
    prompts.add_argument("--workers", type=int, metavar="N", help="Dask workers; 0 runs everything in this process")
    prompts.add_argument("--json", action="store_true", help="print JSON")
    command("report", _report, "print the results table and the path of the report")
    command("validate", _validate, "hash all bytes and check every contract again; damaged parts are set aside")
    clean = command("clean", _clean, "remove what no study records under this root")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    init = command("init", _init, "write NAME.toml, a commented study to start from", study=False)
    init.add_argument("name", metavar="NAME", help="name of the study")
    return parser


def _root(given: str | None) -> str:
    from flows.engine import default_root
    from flows.environment import check_root

    root = check_root(given or default_root())
    return root if "://" in root else str(Path(root).resolve())


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("taskgram")
    except PackageNotFoundError:
        return "(not installed)"


def _say(text: str) -> None:
    """Print what may hold words of a corpus: nothing in it commands the terminal."""
    from tasks.text.shown import printable

    print(printable(text))


def _say_json(value: Any) -> None:
    from tasks.text.shown import json_text

    print(json_text(value))


def _run(options: argparse.Namespace) -> int:
    from flows.files import study_path
    from schemas import StudyError, load_study

    load_study(study_path(options.study))  # say what is wrong with the study before a server starts
    if options.workers is not None and options.workers < 0:
        raise StudyError("--workers: give 0 (in this process) or more")
    from flows.temporary_server import TemporaryServer

    server = TemporaryServer()
    from flows.run import study

    signal.signal(signal.SIGTERM, _stop)  # Prefect puts its own handler before it, and sends the signal on to this one
    server.wait()
    study(options.study, options.root, options.only, options.start, options.force, options.workers, options.verify)
    return 0 if options.only else _report(options)


def _serve(options: argparse.Namespace) -> None:
    from flows.serve import serve_study

    serve_study(options.study, options.root, options.cron, options.timezone, options.port)


def _plan(options: argparse.Namespace) -> None:
    from flows.forecast import as_json, forecast
    from flows.forecast_table import show

    found = forecast(options.study, options.root)
    if options.json:
        _say_json(as_json(found))
    else:
        show(found)


def _status(options: argparse.Namespace) -> None:
    from flows.status import describe, table

    found = describe(options.study, options.root)
    _say_json({"steps": found}) if options.json else _say(table(found))


def _count(options: argparse.Namespace) -> None:
    from flows.questions import count, show

    found = count(options.study, options.root, options.phrases, options.documents)
    _say_json(found) if options.json else print(show(found, bold=sys.stdout.isatty()))


def _trace(options: argparse.Namespace) -> None:
    from flows.trace import show, trace
    from schemas import StudyError

    if min(options.pairs, options.documents) < 0:
        raise StudyError("--pairs and --documents: give 0 or more")
    found = trace(options.study, options.root, options.example)
    if options.json:
        _say_json(found)
    else:
        print(show(found, bold=sys.stdout.isatty(), pairs=options.pairs, documents=options.documents))


def _prompts(options: argparse.Namespace) -> None:
    from flows.files import study_path
    from flows.prompt_question import Question
    from schemas import StudyError, load_study

    if options.workers is not None and options.workers < 0:
        raise StudyError("--workers: give 0 (in this process) or more")
    asked = (options.task, options.candidates, options.rewriter, options.rounds, options.per_round, options.seed,
             options.models, options.workers)  # fmt: skip
    Question(load_study(study_path(options.study)), options.study, *asked[:-1]).check()  # before a server starts
    from flows.temporary_server import TemporaryServer

    server = TemporaryServer()
    from flows.prompts import prompts, show

    signal.signal(signal.SIGTERM, _stop)
    server.wait()
    found = prompts(options.study, options.root, *asked)
    _say_json(found) if options.json else _say(show(found))


def _report(options: argparse.Namespace) -> int:
    from flows.status import results

    text, page = results(options.study, options.root)
    _say(f"{text}\n\nReport: {page}")
    return 0


def _validate(options: argparse.Namespace) -> int:
    from flows.status import validate_all

    problems = validate_all(options.study, options.root)
    for problem in problems:
        _say(problem)
    if problems:
        print(f"\n{len(problems)} problems. `taskgram run {options.study}` makes again what was set aside.")
    else:
        print("Every byte is as recorded, every contract holds.")
    return 1 if problems else 0


def _clean(options: argparse.Namespace) -> None:
    from flows.status import clean
    from flows.terminal import size

    removed = clean(options.study, options.root, dry_run=options.dry_run)
    word = "would be removed" if options.dry_run else "removed"
    print(f"{len(removed)} files {word}, {size(sum(removed.values()))}. What a study records is kept.")


def _init(options: argparse.Namespace) -> None:
    from flows.template import write_study

    path = write_study(options.name, Path.cwd())
    print(f"{path.name} is written. Edit it, then: taskgram run {path.name}")


if __name__ == "__main__":
    command()

"""What each command does: it asks, and prints the answer. Returns the exit code, where it is not always 0.

What an action needs is imported when it is called, so that `--help` imports nothing of ours. All raise StudyError where a
person can mend what is wrong.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from typing import Any


def _say(text: str) -> None:
    """Print what may hold words of a corpus: nothing in it commands the terminal."""
    from tasks.text.display import printable

    print(printable(text))


def _say_json(value: Any) -> None:
    from tasks.text.display import json_text

    print(json_text(value))


def _stop(number: int, frame: Any) -> None:
    """SIGTERM ends a run as Ctrl-C does: workers and the temporary server go with it."""
    raise KeyboardInterrupt


def _check_workers(options: argparse.Namespace) -> None:
    from schemas import StudyError

    if options.workers is not None and options.workers < 0:
        raise StudyError("--workers: give 0 (in this process) or more")


def run(options: argparse.Namespace) -> int:
    """Bring a study up to date, then print its results."""
    from flows.study_files import study_path
    from schemas import load_study

    settings = load_study(study_path(options.study))  # say what is wrong with the study before a server starts
    _check_workers(options)
    from flows.servers.temporary_server import TemporaryServer

    server = TemporaryServer()
    from flows.run import study
    from flows.study_records import recorded_steps
    from tasks.storage.store import Store

    first = not recorded_steps(Store(options.root), settings.name)
    if first and server.process is not None:  # it has much to check, and the server takes as long to start
        from tasks.storage.expectations import load

        load()
    signal.signal(signal.SIGTERM, _stop)  # Prefect puts its own handler before it, and sends the signal on to this one
    server.wait()
    study(options.study, options.root, options.only, options.start, options.force, options.workers, options.verify)
    return 0 if options.only else report(options)


def serve(options: argparse.Namespace) -> None:
    """Run a study on a schedule, until it is stopped."""
    from flows.servers.serve import serve_study

    serve_study(options.study, options.root, options.cron, options.timezone, options.port)


def plan(options: argparse.Namespace) -> None:
    """Print what a study needs."""
    from flows.cost.forecast import as_json, forecast
    from flows.cost.forecast_table import show

    found = forecast(options.study, options.root)
    if options.json:
        _say_json(as_json(found))
    else:
        show(found)


def status(options: argparse.Namespace) -> None:
    """Print the state of each step."""
    from flows.commands.status import describe, table

    found = describe(options.study, options.root)
    _say_json({"steps": found}) if options.json else _say(table(found))


def count(options: argparse.Namespace) -> None:
    """Print how often phrases stand in the corpus."""
    from flows.commands.corpus_questions import count, show

    found = count(options.study, options.root, options.phrases, options.documents)
    _say_json(found) if options.json else print(show(found, bold=sys.stdout.isatty()))


def trace(options: argparse.Namespace) -> None:
    """Print what lies behind an example."""
    from flows.commands.example_trace import show, trace
    from schemas import StudyError

    if min(options.pairs, options.documents) < 0:
        raise StudyError("--pairs and --documents: give 0 or more")
    found = trace(options.study, options.root, options.example)
    if options.json:
        _say_json(found)
    else:
        print(show(found, bold=sys.stdout.isatty(), pairs=options.pairs, documents=options.documents))


def prompts(options: argparse.Namespace) -> None:
    """Choose prompts, evaluate them, and print how models do with them."""
    from flows.study_files import study_path
    from schemas import load_study
    from tasks.prompts.answer import show
    from tasks.prompts.question import PromptQuestion

    _check_workers(options)
    names = ("task", "candidates", "rewriter", "rounds", "per_round", "seed", "models")
    question = {name: getattr(options, name) for name in names}
    PromptQuestion(load_study(study_path(options.study)), **question).check()  # before a server starts
    from flows.servers.temporary_server import TemporaryServer

    server = TemporaryServer()
    from flows.commands.prompts import prompts

    signal.signal(signal.SIGTERM, _stop)
    server.wait()
    repeat = shlex.join(["taskgram", *sys.argv[1:]])
    answer = prompts(options.study, options.root, question, options.workers, repeat)
    _say_json(answer) if options.json else _say(show(answer))


def report(options: argparse.Namespace) -> int:
    """Print the results table, and where the report lies."""
    from flows.commands.status import results

    text, page = results(options.study, options.root)
    _say(f"{text}\n\nReport: {page}")
    return 0


def validate(options: argparse.Namespace) -> int:
    """Print what is damaged or breaks a contract; 1 if anything is."""
    from flows.commands.status import validate_all

    problems = validate_all(options.study, options.root)
    for problem in problems:
        _say(problem)
    if problems:
        print(f"\n{len(problems)} problems. `taskgram run {options.study}` makes again what was set aside.")
    else:
        print("Every byte is as recorded, every contract holds.")
    return 1 if problems else 0


def clean(options: argparse.Namespace) -> None:
    """Remove what no study records, and print how much that is."""
    from flows.commands.status import clean
    from flows.terminal import size

    removed = clean(options.study, options.root, dry_run=options.dry_run)
    word = "would be removed" if options.dry_run else "removed"
    print(f"{len(removed)} files {word}, {size(sum(removed.values()))}. What a study records is kept.")


def init(options: argparse.Namespace) -> None:
    """Write a study to start from."""
    from flows.commands.init_template import write_study

    path = write_study(options.name, Path.cwd())
    print(f"{path.name} is written. Edit it, then: taskgram run {path.name}")

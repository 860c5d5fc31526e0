"""What each command does: it computes the answer and prints it. Returns the exit code, where that is not always 0.

An action imports what it needs when it is called, so that `--help` is fast. All raise StudyError for what a user can fix.
"""

import argparse
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.servers.temporary_server import TemporaryServer
    from schemas import Study


def _print(text: str) -> None:
    """Print text that may come from a corpus, without control sequences."""
    from tasks.text.display import printable

    print(printable(text))


def _print_json(value: Any) -> None:
    from tasks.text.display import json_text

    print(json_text(value))


def _check_workers(options: argparse.Namespace) -> None:
    from schemas import StudyError

    if options.workers is not None and options.workers < 0:
        raise StudyError("--workers must be 0 (in this process) or more")


def _server() -> "TemporaryServer":
    """The run's own server, unless another is named; it starts while Prefect is imported here."""
    from flows.environment import use_own_server
    from flows.servers.temporary_server import TemporaryServer

    server = TemporaryServer()
    use_own_server()
    return server


def run(options: argparse.Namespace) -> int:
    from flows.study_files import study_path
    from schemas import load_study

    settings = load_study(study_path(options.study))
    _check_workers(options)
    if _is_done(options, settings):
        return report(options)
    server = _server()
    from flows.run import study
    from flows.study_records import recorded_steps
    from tasks.storage.store import Store

    first = not recorded_steps(Store(options.root), settings.name)
    if first and server.process is not None:  # it has many tables to check, and loading takes as long as the server's start
        from tasks.storage.validation import load

        load()
    # SIGTERM ends a run as Ctrl-C does, with its workers and server; Prefect's own handler passes the signal on to this one
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server.wait()
    study(options.study, options.root, options.only, options.start, options.force, options.workers, options.verify)
    return 0 if options.only else report(options)


def _is_done(options: argparse.Namespace, settings: "Study") -> bool:
    """Whether there is nothing to do, and nobody to report that to. Raises StudyError for what would stop the run."""
    from flows.environment import SERVER_NAMED
    from flows.session import Session
    from flows.start import choose, lay_out_run, repeat
    from flows.study import STEPS
    from tasks.cluster.cluster import Cluster
    from tasks.storage.store import Store

    store = Store(options.root)
    session = Session(settings, options.study, store, Cluster(0, "", str(store.layout.dask), ""), {*options.force}, steps=STEPS)
    plan = lay_out_run(settings, store)
    choose(plan, session, options.only, options.start)
    if options.only or options.start or options.force or options.verify or os.environ.get(SERVER_NAMED):
        return False
    try:
        return repeat(plan, session)
    finally:
        session.close()


def serve(options: argparse.Namespace) -> None:
    from flows.servers.serve import serve_study

    serve_study(options.study, options.root, options.cron, options.timezone, options.port)


def plan(options: argparse.Namespace) -> None:
    from flows.cost.forecast import as_json, forecast
    from flows.cost.forecast_table import show

    _check_workers(options)
    needs = forecast(options.study, options.root, options.workers)
    if options.json:
        _print_json(as_json(needs))
    else:
        show(needs)


def status(options: argparse.Namespace) -> None:
    from flows.commands.status import describe, table

    steps = describe(options.study, options.root)
    _print_json({"steps": steps}) if options.json else _print(table(steps))


def count(options: argparse.Namespace) -> None:
    from flows.commands.corpus_questions import count, show

    answer = count(options.study, options.root, options.phrases, options.documents)
    _print_json(answer) if options.json else print(show(answer, bold=sys.stdout.isatty()))


def words(options: argparse.Namespace) -> None:
    from flows.commands.words import show, words

    rows = words(" ".join(options.text))
    _print_json(rows) if options.json else _print(show(rows))


def trace(options: argparse.Namespace) -> None:
    from flows.commands import example_trace, run_trace, sequence_trace
    from flows.commands.trace_choice import trace
    from schemas import StudyError

    if min(options.pairs, options.documents) < 0:
        raise StudyError("--pairs and --documents must be 0 or more")
    traced = trace(options.study, options.root, options.example)
    if options.json:
        _print_json(traced)
    elif "twins" in traced:  # of a controlled corpus
        run_trace.show(traced)
    elif "sequence" in traced:
        sequence_trace.show(traced, documents=options.documents)
    else:
        print(example_trace.show(traced, bold=sys.stdout.isatty(), pairs=options.pairs, documents=options.documents))


def prompts(options: argparse.Namespace) -> None:
    from flows.study_files import study_path
    from schemas import load_study
    from tasks.prompts.prompt_answer import show
    from tasks.prompts.question import PromptQuestion

    _check_workers(options)
    names = ("task", "candidates", "rewriter", "rounds", "per_round", "seed", "models")
    question = {name: getattr(options, name) for name in names}
    settings = load_study(study_path(options.study))
    PromptQuestion(settings, **question).check()
    from flows.start import lay_out_run
    from tasks.storage.store import Store

    lay_out_run(settings, Store(options.root))
    from flows.commands.prompts import ask

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    repeat = shlex.join(["taskgram", *sys.argv[1:]])
    answer = ask(options.study, options.root, question, options.workers, repeat)
    _print_json(answer) if options.json else _print(show(answer))


def report(options: argparse.Namespace) -> int:
    from flows.commands.status import results

    _print("\n\nReport: ".join(results(options.study, options.root)))
    return 0


def validate(options: argparse.Namespace) -> int:
    """Print damaged parts and broken contracts; 1 if there are any."""
    from flows.commands.status import validate_all

    problems = validate_all(options.study, options.root)
    for problem in problems:
        _print(problem)
    if problems:
        print(f"\n{len(problems)} problems. `taskgram run {options.study}` computes the parts that were set aside again.")
    else:
        print("Every byte is as recorded, and every contract holds.")
    return 1 if problems else 0


def clean(options: argparse.Namespace) -> None:
    from flows.commands.status import clean
    from flows.terminal import size

    removed = clean(options.study, options.root, dry_run=options.dry_run)
    verb = "would be deleted" if options.dry_run else "deleted"
    print(f"{len(removed)} files {verb}, {size(sum(removed.values()))}. Files that a study needs are kept.")


def init(options: argparse.Namespace) -> None:
    from flows.commands.init_template import write_study

    path = write_study(options.name, Path.cwd(), options.full)
    print(f"Wrote {path.name}. Edit it, then run: taskgram run {path.name}")

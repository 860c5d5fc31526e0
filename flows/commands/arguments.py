"""The command line: its commands and options, what `--help` says about them, and the action that runs each command."""

import argparse
from collections.abc import Callable
from typing import Any

from flows.commands import actions

EPILOG = """\
STUDY is a study file (mine.toml) or the name of a shipped study (sample, memorization, memorization-full, debian, pythia, olmo).

  taskgram init mine                         write mine.toml, a commented study to start from
  taskgram plan pythia                       what a study needs in files, time, memory and disk, before it runs
  taskgram run sample                        run the planted sample, or bring it up to date
  taskgram run sample --from score           after a failure: run score and the steps that depend on it
  taskgram status sample --json              which steps are done, stale, failed or missing
  taskgram count sample "capital of"         how often a phrase occurs in the corpus, and where
  taskgram words "don't stop at 1.6e5"       which words a text has, as they are counted
  taskgram trace sample facts/ID             an example with its pairs, their counts, the models' answers and documents
  taskgram trace sample planted-             a sequence, as each model scores it token by token; `planted-` lists some
  taskgram trace memorization canary-00003   a sequence of a controlled corpus, in runs trained with and without it
  taskgram prompts sample --task facts --candidates prompts.txt   which prompts the corpus contains, and how models do
  taskgram serve sample --cron "0 2 * * *"   run every night at two, with Prefect's UI to watch it

Results are stored under --root. Finished parts are never computed again.
"""
ROOT = "folder or URL for all results (default: $TASKGRAM_ROOT, else ./taskgram-data)"
WORKERS = "number of Dask workers; 0 runs everything in this process (default: set by the study)"
Option = tuple[str, dict[str, Any]]
Action = Callable[[argparse.Namespace], int | None]


def option(name: str, metavar: str, help: str, **more: Any) -> Option:
    return name, {"metavar": metavar, "help": help, **more}


def switch(name: str, help: str) -> Option:
    return name, {"action": "store_true", "help": help}


JSON = switch("--json", "print JSON")


def parser() -> argparse.ArgumentParser:
    """All commands with their options; `command` of what it parses is the action to run."""
    every = argparse.ArgumentParser(
        prog="taskgram",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Is a language model recalling its training data, or generalizing from it? Exact counts, honest statistics.",
    )
    every.add_argument("--version", action="version", version=f"taskgram {_version()}")
    commands = every.add_subparsers(required=True, metavar="COMMAND")

    def command(action: Action, help: str, *options: Option, study: bool = True) -> argparse.ArgumentParser:
        sub = commands.add_parser(action.__name__, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(command=action)
        if study:
            sub.add_argument("study", metavar="STUDY", help="a study file, or the name of a shipped study")
        for name, settings in (*options, option("--root", "DIR", ROOT)):
            sub.add_argument(name, **settings)
        return sub

    run = command(
        actions.run,
        "bring a study up to date, then print its results",
        option("--only", "STEP", "run this step alone; its inputs must be finished"),
        option("--from", "STEP", "run this step and the steps that depend on it", dest="start"),
        option("--force", "STEP", "compute this step again and compare the bytes; may be repeated", action="append", default=[]),
        option("--workers", "N", WORKERS, type=int),
        switch("--verify", "hash the bytes of finished parts before skipping them"),
    )
    run.add_argument("-v", "--verbose", action="store_true", help="also print Prefect's log")
    command(
        actions.plan,
        "estimate the files, time, memory and disk that a study needs, before it runs",
        option("--workers", "N", WORKERS, type=int),
        switch("--json", "print JSON, with every rate and its source"),
    )
    command(actions.status, "show which steps are done, stale, failed or missing", JSON)
    command(
        actions.serve,
        "run a study on a schedule, with a Prefect server and its UI, until Ctrl-C",
        option("--cron", "CRON", 'when to run, as five fields: "0 2 * * *" is every night at two', required=True),
        option("--timezone", "ZONE", "time zone of the schedule, e.g. Europe/Berlin (default: UTC)", default="UTC"),
        option("--port", "N", "port of the server; ignored if PREFECT_API_URL is set (default: 4200)", type=int, default=4200),
    )
    command(
        actions.count,
        "count phrases in the corpus of a study, alone and in the same document",
        option("phrases", "PHRASE", "consecutive words, quoted as one argument", nargs="+"),
        option("--documents", "K", "number of documents to show (default: 3)", type=int, default=3),
        JSON,
    )
    text = option("text", "TEXT", "a text, quoted as one argument", nargs="+")
    command(actions.words, "show the words of a text, as they are counted; needs no study", text, JSON, study=False)
    command(
        actions.trace,
        "show an example with its pairs, counts, answers and documents; or a sequence, token by token; or one of a controlled "
        "corpus, in runs trained with and without it",
        option("example", "EXAMPLE", "its id, TASK/ID, or text of its input; of a sequence its name, or the beginning of it"),
        option("--pairs", "K", "number of pairs to show (default: 10)", type=int, default=10),
        option("--documents", "K", "documents to show, of each pair or of the sequence (default: 1)", type=int, default=1),
        switch("--json", "print everything as JSON"),
    )
    prompts = command(
        actions.prompts,
        "find the prompts that the corpus contains most and least, and evaluate the models with both",
        option("--task", "TASK", "task to find prompts for", required=True),
        option("--rounds", "N", "rounds of rewriting (default: 3)", type=int, default=3),
        option("--per-round", "K", "prompts written in each round (default: 8)", type=int, default=8),
        option("--seed", "S", "seed of the model that writes prompts (default: 0)", type=int, default=0),
        option("--models", "NAME", "models to evaluate (default: all)", nargs="+", default=[]),
        option("--workers", "N", WORKERS, type=int),
        JSON,
    )
    source = prompts.add_mutually_exclusive_group(required=True)
    source.add_argument("--candidates", metavar="FILE", default="", help="prompts to choose from: .txt, one per line, or .jsonl")
    source.add_argument("--rewriter", metavar="MODEL", default="", help="a model of the study, or a folder, that writes prompts")
    command(actions.report, "print the results table and the path of the report")
    command(actions.validate, "hash all bytes and check every contract again; damaged parts are moved aside")
    dry = switch("--dry-run", "only print what would be deleted")
    command(actions.clean, "delete files that no study under this root needs", dry)
    name, full = option("name", "NAME", "name of the study"), switch("--full", "show every setting with its default")
    command(actions.init, "write NAME.toml, a commented study to start from", name, full, study=False)
    return every


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version  # --help imports none of the packages below

    try:
        return version("taskgram")
    except PackageNotFoundError:
        return "(not installed)"

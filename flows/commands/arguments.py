"""The words of the command line: commands and options, what `--help` says of them, and which action answers."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from flows.commands import actions

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


def parser() -> argparse.ArgumentParser:
    """All commands with their words; `command` of what it parses is the action that answers."""
    every = argparse.ArgumentParser(
        prog="taskgram",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Is a language model recalling its training data, or generalizing from it? Exact counts, honest statistics.",
    )
    every.add_argument("--version", action="version", version=f"taskgram {_version()}")
    commands = every.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[argparse.Namespace], int | None], help: str, study: bool = True
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.set_defaults(command=action)
        if study:
            sub.add_argument("study", metavar="STUDY", help="a study file, or the name of a shipped study")
        sub.add_argument(
            "--root", metavar="DIR", help="folder for all results (default: $TASKGRAM_ROOT, else ./taskgram-data)"
        )
        return sub

    run = command("run", actions.run, "bring a study up to date")
    run.add_argument("--only", metavar="STEP", help="run this step alone; its inputs must be finished")
    run.add_argument("--from", dest="start", metavar="STEP", help="run this step and those that depend on it")
    run.add_argument(
        "--force",
        metavar="STEP",
        action="append",
        default=[],
        help="compute this step again and compare; may be given several times",
    )
    run.add_argument("--workers", type=int, metavar="N", help="Dask workers; 0 runs everything in this process")
    run.add_argument("--verify", action="store_true", help="hash the bytes of finished parts before they are skipped")
    run.add_argument("-v", "--verbose", action="store_true", help="show Prefect's log as well")
    plan = command("plan", actions.plan, "say what a study needs in files, time, memory and disk, before anything is spent")
    plan.add_argument("--json", action="store_true", help="print JSON, with every rate and its source")
    status = command("status", actions.status, "show what is done, stale, failed or missing, per step")
    status.add_argument("--json", action="store_true", help="print JSON")
    serve = command("serve", actions.serve, "run a study on a schedule, with a Prefect server and its UI, until Ctrl-C")
    serve.add_argument(
        "--cron", required=True, metavar="CRON", help='when, in five fields: "0 2 * * *" is every night at two'
    )
    serve.add_argument(
        "--timezone", default="UTC", metavar="ZONE", help="of the schedule, e.g. Europe/Berlin (default: UTC)"
    )
    serve.add_argument(
        "--port",
        type=int,
        default=4200,
        metavar="N",
        help="of the server; not used where PREFECT_API_URL names one (default: 4200)",
    )
    count = command("count", actions.count, "count phrases in the corpus of a study, alone and together")
    count.add_argument("phrases", metavar="PHRASE", nargs="+", help="words that follow each other, as one argument")
    count.add_argument("--documents", type=int, metavar="K", default=3, help="documents shown (default: 3)")
    count.add_argument("--json", action="store_true", help="print JSON")
    trace = command(
        "trace", actions.trace, "follow an example down to its pairs, their counts, the models' answers and the documents"
    )
    trace.add_argument("example", metavar="EXAMPLE", help="its id, TASK/ID, or words of its input")
    trace.add_argument("--pairs", type=int, metavar="K", default=10, help="pairs shown (default: 10)")
    trace.add_argument("--documents", type=int, metavar="K", default=1, help="documents shown of each pair (default: 1)")
    trace.add_argument("--json", action="store_true", help="print JSON: all of it")
    prompts = command(
        "prompts", actions.prompts, "choose prompts by what the corpus holds of them, and evaluate both extremes"
    )
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
    command("report", actions.report, "print the results table and the path of the report")
    command("validate", actions.validate, "hash all bytes and check every contract again; damaged parts are set aside")
    clean = command("clean", actions.clean, "remove what no study records under this root")
    clean.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    init = command("init", actions.init, "write NAME.toml, a commented study to start from", study=False)
    init.add_argument("name", metavar="NAME", help="name of the study")
    return every


def _version() -> str:
    from tasks.storage.versions import version

    return version("taskgram") or "(not installed)"

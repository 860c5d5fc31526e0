"""`make fuzz`: the parsers under a coverage-guided fuzzer (atheris, which is libFuzzer), one process a target.

    python -m tests.fuzz --seconds 60 read-sgm tokenizer

libFuzzer ends a case that takes more than ten seconds or two gigabytes. What breaks a parser is printed, and is to become a
regression test in test_found.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=8192", "-print_final_stats=1", "-seed=1")


def fuzz(target: str, arguments: list[str]) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["schemas", "tasks", "tomllib", "json"]):
        from tests.fuzz import targets

    def case(content: bytes) -> None:
        targets.survives(target, content)

    atheris.Setup([sys.argv[0], *arguments], case)
    atheris.Fuzz()


def start(target: str, seconds: int) -> bool:
    """Fuzz one target for so long, from its seeds; whether nothing broke."""
    from tests.fuzz.targets import FRAGMENTS, seeds_of

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "corpus").mkdir()
        for number, seed in enumerate(seeds_of(target)):
            (folder / "corpus" / str(number)).write_bytes(seed)
        words = ("".join(f"\\x{byte:02x}" for byte in f) for f in FRAGMENTS if len(f) < 64)
        (folder / "words").write_text("".join(f'"{word}"\n' for word in words))
        options = [*LIMITS, f"-max_total_time={seconds}", f"-artifact_prefix={name}/found-", f"-dict={name}/words"]
        run = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--one", target, "--", *options, f"{name}/corpus"],
            capture_output=True,
            text=True,
            errors="replace",
        )
        lines = run.stderr.splitlines()
        executed = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "?")
        reached = [line for line in lines if "cov:" in line]
        print(
            f"{target:<18} {executed:>9} cases  {reached[-1].split('cov: ')[1].split()[0] if reached else '?':>6} edges  "
            + ("nothing broke" if run.returncode == 0 else f"BROKEN ({run.returncode})"),
            flush=True,
        )
        if run.returncode:
            print("\n".join((*run.stdout.splitlines()[-30:], *lines[-60:])))  # the exception is in the first
            for path in sorted(folder.glob("found-*")):
                print(f"the case: {path.read_bytes()!r}")
        return run.returncode == 0


def main() -> int:
    """0 if nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default: 30)")
    parser.add_argument("--one", metavar="TARGET", help="fuzz in this process, with libFuzzer's own options")
    parser.add_argument("targets", nargs="*", help="default: all")
    options = parser.parse_args()
    if options.one:
        fuzz(options.one, options.targets)
    from tests.fuzz.targets import TARGETS

    if unknown := sorted(set(options.targets) - set(TARGETS)):
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    return 0 if all([start(target, options.seconds) for target in options.targets or TARGETS]) else 1


if __name__ == "__main__":
    sys.exit(main())

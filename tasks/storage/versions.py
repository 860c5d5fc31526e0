"""Versions of installed distributions."""

import importlib.metadata
from collections.abc import Iterable
from functools import cache


@cache
def version(distribution: str) -> str:
    """The version of a distribution; "" if it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def versions(distributions: Iterable[str]) -> dict[str, str]:
    return {name: version(name) for name in distributions}

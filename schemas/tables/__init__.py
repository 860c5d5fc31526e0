"""Contracts of every table, one file per topic. A contract that is defined in any of these files is in CONTRACTS."""

import importlib
import pkgutil

from schemas.contract import Contract


def _by_name() -> dict[str, Contract]:
    by_name: dict[str, Contract] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda m: m.name):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, Contract) and by_name.setdefault(value.name, value) is not value:
                raise ValueError(f"two contracts are named {value.name!r}")
    return dict(sorted(by_name.items()))


CONTRACTS = _by_name()

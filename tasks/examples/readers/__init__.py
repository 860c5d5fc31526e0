"""The readers of task files: each is a module here under the name that studies use, listed with its version in
schemas/settings/reader_versions.py. It begins with an example of what it reads, and defines

    read(file, settings)         the examples and rejects of one file
    TWO_FILES = True             the format keeps inputs and outputs in two files
    GROUPS_SHARE_SHOTS = True    solved examples are drawn from the example's own group, unless the task decides
    SETTINGS = ("subjects",)     settings of a task that only some readers take
"""

import importlib
from types import ModuleType

from schemas.settings.reader_versions import reader_kind


def reader_module(reader: str) -> ModuleType:
    """The module of a reader, by the name a study gives it: of `hf` for "hf:NAME:CONFIG"."""
    return importlib.import_module(f"{__name__}.{reader_kind(reader)}")


def takes_two_files(reader: str) -> bool:
    """Whether a reader takes inputs in one file, outputs in another."""
    return getattr(reader_module(reader), "TWO_FILES", False)


def takes_setting(reader: str, setting: str) -> bool:
    """Whether a reader heeds a setting that only some readers take."""
    return setting in getattr(reader_module(reader), "SETTINGS", ())

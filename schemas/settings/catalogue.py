"""All settings of a study as the schemas declare them: table, type, unit, default, an example and what it means.

catalogue.toml adds what a schema does not say, EXAMPLES and UNITS; every example is a valid value, other than the default.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.settings.study_file import Study, models_in

TYPES = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "object": "table"}

EXAMPLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
UNITS = {path: unit for unit, paths in EXAMPLES.pop("units").items() for path in paths.split()}


@dataclass(frozen=True)
class CatalogueEntry:
    """One setting. `table`: its table in the file, "" at the top, and `of` the class that reads it; `many`: whether it is a list
    of tables, [[…]]. `default`: None where there is none; `required`: whether a study must give it.
    """

    table: str
    of: type[BaseModel]
    name: str
    kind: str
    unit: str
    default: Any
    required: bool
    example: Any
    meaning: str
    many: bool

    @property
    def path(self) -> str:
        """Its whole name, e.g. "models.pretrain.hidden"."""
        return f"{self.table}.{self.name}".lstrip(".")


@cache
def catalogue() -> tuple[CatalogueEntry, ...]:
    """Every setting, table by table, in the order of the schemas. What two tables share is listed once."""
    return tuple(_settings(Study, "", False, {Study}))


def _settings(model: type[BaseModel], table: str, many: bool, seen: set[type[BaseModel]]) -> Iterator[CatalogueEntry]:
    declared, inner = model.model_json_schema()["properties"], list[tuple[type[BaseModel], str, bool]]()
    for name, field in model.model_fields.items():
        path, tables = f"{table}.{name}".lstrip("."), [m for m in models_in(field.annotation) if m not in seen]
        if tables:
            seen |= {tables[0]}
            inner.append((tables[0], path, str(field.annotation).startswith("tuple")))
            continue
        if path in INTERNAL:
            continue
        kind, default = _type(declared[name]), field.get_default(call_default_factory=True)
        required, unit = field.is_required(), UNITS.get(path, "")
        meaning = field.description or ""
        example = _example(path, field, declared[name])
        yield CatalogueEntry(table, model, name, kind, unit, None if required else default, required, example, meaning, many)
    for other, path, several in inner:
        yield from _settings(other, path, several, seen)


INTERNAL = ("corpus.planted.redrawn",)  # set by the study itself


def _type(schema: dict[str, Any]) -> str:
    """A type of JSON schema in words, with its limits."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(s) for s in schema["anyOf"] if s.get("type") != "null"))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else []):
        return ", ".join(f"`{v or quoted(v)}`" for v in values)
    if schema.get("type") == "array":
        several = re.sub("(number|text|path)", r"\1s", _type(schema.get("items") or schema["prefixItems"][0]))
        return " ".join(filter(None, ("list of", str(schema.get("maxItems", "")), several)))
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limited = ", ".join(f"{sign} {schema[name]:,}" for name, sign in limits.items() if name in schema)
    return f"{schema.get('format') or TYPES.get(schema.get('type', ''), 'table')} {limited}".rstrip()


def _example(path: str, field: FieldInfo, schema: dict[str, Any]) -> Any:
    given: Any = EXAMPLES
    for name in path.split("."):
        given = given.get(name) if isinstance(given, dict) else None
    default = field.get_default(call_default_factory=True)
    if given is not None:
        return given
    if "enum" in schema:
        return next(v for v in schema["enum"] if v != default)
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        double = default * 2 or 1
        allowed = double <= schema.get("maximum", double) and double < schema.get("exclusiveMaximum", double + 1)
        return double if allowed else default / 2
    return None


def quoted(value: Any) -> str:
    """A value as TOML. Numbers of five digits or more have their thousands set apart."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {quoted(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(quoted, value)) + "]"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    return json.dumps(value, ensure_ascii=False)

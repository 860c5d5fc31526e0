"""All settings of a study as the schemas declare them: table, type, unit, default, an example and what it means.

EXAMPLES and UNITS add what a schema does not say; every example is a valid value, other than the default.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from schemas.settings.study_file import Study, models_in

TYPES = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "object": "table"}

# Where the next value, twice a number or the other of true and false would be no good example.
EXAMPLES = tomllib.loads(
    r"""
name = "mine"
title = "What do my models recall?"
data = "/data/mine"
worker_memory = "8GB"
placebo = {sources = [{name = "fresh", files = ["train.jsonl"]}]}
[corpus]
partition = "1GB"
[corpus.planted]
document_frequencies = [16, 32, 48, 64]
exposures = [0, 1, 8, 64]
[corpus.sources]
name = "pile"
files = ["pile/*.jsonl.zst"]
text = "body"
id = ""
language = "en"
join = ["en", "de"]
held_out = "pages"
tokens = "300G"
documents = "210M"
[splits]
share = 0.2
field = "url"
pattern = "([^/]+)$"
[tokenizer]
file = "tokenizer.json"
end_of_document = "</s>"
[encoder]
kind = "sentence-transformers"
model = "sentence-transformers/LaBSE"
revision = "0123456789abcdef0123456789abcdef01234567"
input_prefix = "query: "
output_prefix = "passage: "
[tasks]
name = "questions"
reader = "triviaqa"
evaluate = ["questions.jsonl"]
mine = ["train.jsonl"]
split = "pages"
languages = ["en", "de"]
encoding = "latin-1"
fields = {input = "q", output = "a.text"}
revision = "0123456789abcdef0123456789abcdef01234567"
subjects = "knowledge"
templates = {P36 = "[X]'s capital is [Y]."}
translator = "refA"
prompt = "Q: {input}\nA: "
instruction = "Answer in one word."
shots = 5
shots_from = ["train.jsonl"]
shots_within_group = true
answer = "ngrams"
limit = 300
mine_limit = 5_000
repeat_of = "facts"
orders = [1, 2]
primary_order = 2
gamma = {2 = 0.85}
gamma_default = "p90"
lowest_gamma = 0.2
stop = ["\n", "."]
expected = [1319, 7473]
[models]
name = "small"
path = "models/small"
hub = "EleutherAI/pythia-70m"
revision = "step3000"
checkpoint = 3000
run = "small-40k"
[models.pretrain]
checkpoints = [0.25, 1.0]
[models.pretrain.inject]
at = 0.25
windows = 32
[counting]
all_orders = [1, 2, 3, 4, 5]
memory = "4GB"
windows = [16, 64]
contamination_orders = [13]
novelty_orders = [1, 2, 3]
[scoring]
device_map = "auto"
models_at_once = 1
temperature = 0.7
top_p = 0.9
[measures]
exclude_contaminated = 13
sweep_gammas = [0.5, 0.7, "p99"]
equal_rows = 300
[variants]
name = "authors"
stop_words = "authors"
encoder = {dimensions = 512}
gamma = "p99"
lowest_gamma = 0.4
[hardware]
cores = 64
memory = "512GB"
disk = "4TB"
gpu = "H200"
flops = "250T"
[cluster]
address = "tcp://scheduler:8786"
cluster_class = "dask_jobqueue.SLURMCluster"
cluster_kwargs = {cores = 1, memory = "4GB"}
workers = 40
most_workers = 40
resource = "A100"
gpus = 2
"""
)
_UNITS = {
    "bytes": "tokenizer.training_bytes",
    "size": "worker_memory corpus.partition counting.memory hardware.memory hardware.disk",
    "seconds": "models.pretrain.save_every cluster.wait",
    "words": "corpus.planted.tokens corpus.planted.lexicon counting.windows",
    "tokens": "corpus.sources.tokens models.pretrain.tokens models.pretrain.context scoring.batch_tokens tasks.max_new_tokens "
    "tokenizer.vocabulary counting.longest_suffix",
    "documents": "corpus.planted.document_frequencies corpus.planted.exposures corpus.planted.parallel_documents "
    "corpus.planted.monolingual_documents corpus.planted.sum_documents corpus.sources.documents counting.documents_per_pair",
    "files": "corpus.planted.shards",
    "facts": "corpus.planted.facts_per_exposure",
    "examples": "corpus.planted.examples tasks.shots tasks.limit tasks.mine_limit tasks.expected scoring.other_inputs",
    "n": "tasks.orders tasks.primary_order counting.all_orders counting.contamination_orders counting.novelty_orders "
    "measures.exclude_contaminated",
    "cosine, or percentile": "tasks.gamma tasks.gamma_default variants.gamma measures.sweep_gammas",
    "cosine": "tasks.lowest_gamma variants.lowest_gamma",
    "share": "corpus.planted.held_out_sums corpus.planted.phantoms splits.share models.pretrain.warmup models.pretrain.checkpoints "
    "models.pretrain.inject.at scoring.top_p",
    "sequences": "corpus.planted.canaries models.pretrain.batch models.pretrain.inject.windows",
    "n-grams": "encoder.batch",
    "occurrences": "counting.min_count",
    "rows": "measures.equal_rows",
    "resamples": "measures.bootstrap measures.sweep_bootstrap",
    "steps": "models.checkpoint models.pretrain.inject.every",
    "FLOP/s": "hardware.flops",
    "processes": "workers cluster.workers cluster.most_workers",
}
UNITS = {path: unit for unit, paths in _UNITS.items() for path in paths.split()}


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
        meaning = field.description or _FIRST.get(path, "")
        example = _example(path, field, declared[name])
        yield CatalogueEntry(table, model, name, kind, unit, None if required else default, required, example, meaning, many)
    for other, path, several in inner:
        yield from _settings(other, path, several, seen)


INTERNAL = ("corpus.planted.redrawn",)  # set by the study itself
_FIRST = {
    "name": "names the study's results and its report",
    "corpus.sources.name": "names the source in results",
    "tasks.name": "names the task in results",
    "tasks.family": "what its answers are, which decides how they are scored",
    "models.name": "names the model in results",
    "variants.name": "names the variant in results",
}


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
        return (
            double
            if double <= schema.get("maximum", double) and double < schema.get("exclusiveMaximum", double + 1)
            else default / 2
        )
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

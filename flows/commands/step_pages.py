"""The text of docs/steps/, one page per step, from the steps and contracts themselves, so that they cannot disagree."""

import ast
import inspect
from collections.abc import Iterator

from flows import study
from flows.study import STEPS
from schemas import Column, Contract
from tasks.step import Step


def pages() -> dict[str, str]:
    return {f"{step.name}.md": "\n".join(_page(step)) for step in STEPS} | {"README.md": "\n".join(_index())}


def _index() -> Iterator[str]:
    yield "# Steps\n"
    yield "In the order they run. Generated from the code by `make docs`.\n"
    yield "| step | what it does | reads | writes |\n|---|---|---|---|"
    for step in STEPS:
        writes = ", ".join(f"`{c.name}`" for c in step.writes)
        reads = ", ".join(f"`{t}`" for t in step.reads) or "–"
        yield f"| [{step.name}]({step.name}.md) | {_about(step)} | {reads} | {writes} |"
    yield ""


def _page(step: Step) -> Iterator[str]:
    yield f"# {step.name}\n"
    yield f"{_about(step)}. Version {step.version}. Source: `{_source(step)}`.\n"
    yield f"Reads: {', '.join(f'`{t}`' for t in step.reads) or 'no table'}.\n"
    yield f"Alone: `taskgram run STUDY --only {step.name}`. After a failure: `taskgram run STUDY --from {step.name}`.\n"
    for number, stage in enumerate(step.stages, 1):
        if len(step.stages) > 1:
            yield f"## Stage {number} of {len(step.stages)}\n"
        for contract in stage.writes:
            yield from _contract(contract)


def _about(step: Step) -> str:
    return (step.about[0].upper() + step.about[1:]).rstrip(".")


def _source(step: Step) -> str:
    """The file that declares a step, as `flows/study.py` imports it; its stages may run functions of other files."""
    imports = ast.parse(inspect.getsource(study)).body
    modules = {a.name: node.module for node in imports if isinstance(node, ast.ImportFrom) for a in node.names}
    name = next(name for name, value in vars(study).items() if value is step)
    return f"{str(modules[name]).replace('.', '/')}.py"


def _contract(contract: Contract) -> Iterator[str]:
    yield f"### `{contract.name}`\n"
    description, key = contract.description.rstrip("."), ", ".join(f"`{k}`" for k in contract.key)
    yield f"{description}. Each part is sorted by {key}, and unique in it; parts may share keys.\n"
    yield "| column | type | meaning | values |\n|---|---|---|---|"
    for column in contract.columns:
        kind = str(column.type).replace("element: ", "").replace(" not null", "")
        yield f"| `{column.name}` | {kind} | {column.description.replace('|', '∣')} | {_values(column)} |"
    yield ""
    for rule in contract.rules:
        yield f"- {rule.why}"
    for balance in contract.balances:
        yield f"- conserved: {balance.why}"
    yield ""


def _values(column: Column) -> str:
    limits = []
    if column.between:
        limits.append(f"{column.between[0]:g} … {column.between[1]:g}")
    if column.at_least is not None:
        limits.append(f"≥ {column.at_least:g}")
    if column.at_most is not None:
        limits.append(f"≤ {column.at_most:g}")
    if column.one_of:
        limits.append(", ".join(f"`{v}`" for v in column.one_of))
    return ", ".join(limits + (["may be null"] if column.nullable else []))

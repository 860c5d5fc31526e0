"""The trace page's files: the page, and next to it the examples of each task in chunks that a script tag can load.

    trace/index.html                      the page itself, with its style and script
    trace/tasks/facts/index.js            taskgramTrace("index", "facts", 0, {…}): ids, first words, right or wrong
    trace/tasks/facts/0003.js             examples 300 to 399, with their n-grams, pairs and answers
    trace/tasks/facts/documents-0003.js   documents of the pairs that come up first in those examples

A page opened from a folder may not fetch, but it may load a script; so each chunk calls the function of that name with JSON.
All text in it is data: what could end a script, a line or a direction is escaped, and the page puts it into text nodes only.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from schemas import Study
from tasks.measures import gamma_settings, gammas_of
from tasks.pair_evidence import PAIR, last_checkpoints, shown_pairs, shown_scores, shown_spans
from tasks.report.numbers import HUNDREDS, sizes
from tasks.report.trace.trace_page import page, script
from tasks.step import Inputs, Job, Work

OF_MODELS = ("evidence_scores", "evidence_answers")
READS = ("examples", "evidence_spans", "evidence_pairs", *OF_MODELS, "similarities", "pair_documents", "models")
CHUNK = 100  # examples in a chunk
CHUNKS_AT_ONCE = 5
DOCUMENTS_SHOWN = 5  # of a pair
FIRST_WORDS, FIRST_ANSWER = 100, 40  # code points of input and output in the index, for the search
Gammas, Example = Mapping[int, float], dict[str, Any]


def plan(study: Study, inputs: Inputs) -> list[Job]:
    """One job for the page, and one for the chunks of each task."""
    tasks = [{"name": t.name, "family": t.family} for t in study.tasks]
    about = {"study": study.name, "title": study.title, "tasks": tasks}
    jobs = [Job({"page": "trace"}, about, {"models": tuple(inputs.get("models", ()))})]
    for task in study.tasks:
        parts = {
            table: tuple(p for p in inputs.get(table, ()) if p.labels.get("task", task.name) == task.name)
            for table in READS
            if table != "models" and (table != "similarities" or task.has_percentiles)
        }
        parts |= {table: last_checkpoints(parts[table]) for table in OF_MODELS}
        jobs.append(Job({"task": task.name}, gamma_settings(task, task.orders), parts, cost=3.0))
    return jobs


def run(work: Work) -> None:
    """Write the page, or the chunks of one task, and then their list."""
    if "page" in work.labels:
        parameters = sizes(work.read("models", "model", "checkpoint", "parameters").to_pylist())
        models = [{"name": m, "parameters": n} for m, n in parameters.items()]
        files = iter([("trace/index.html", page({**work.settings, "models": models}))])
    else:
        files = _chunks(work, work.labels["task"])
    publish(work, "trace_files", ((name, text.encode()) for name, text in files))


def publish(work: Work, table: str, files: Iterable[tuple[str, bytes]]) -> None:
    """Write each file into the folder of the job as it comes, then the table; what an interrupted run left is removed."""
    folder, rows = work.folder(), []
    for name, content in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        rows.append((name, hashlib.sha256(content).hexdigest(), len(content)))
    for old in [p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).as_posix() not in {r[0] for r in rows}]:
        old.unlink()
    names, hashes, sizes = zip(*sorted(rows), strict=True)
    work.write(table, {"file": names, "sha256": hashes, "bytes": sizes})


# -- the chunks of a task ---------------------------------------------------------------------------------------------
def _chunks(work: Work, task: str) -> Iterator[tuple[str, str]]:
    """All files of a task; examples are read some chunks at a time."""

    def file(name: str, kind: str, number: int, content: Any) -> tuple[str, str]:
        return f"trace/tasks/{task}/{name}.js", f'taskgramTrace("{kind}",{script(task)},{number},{script(content)});\n'

    examples = work.frame("examples", "task", "split", "example", "group", "input", "output", "aliases", "options")
    examples = examples.filter(task=task, split="evaluate").drop("task", "split").sort("example")
    answers = work.frame("evidence_answers").filter(task=task).sort("example", "model")
    models = sorted(answers["model"].unique().to_list())
    gammas = gammas_of(work, task)
    documents, place = _documents(work, gammas), dict[tuple[str, str], tuple[int, int]]()
    pairs: list[int] = []
    for first in range(0, examples.height, CHUNK * CHUNKS_AT_ONCE):
        some = examples[first : first + CHUNK * CHUNKS_AT_ONCE]
        described = _examples(work, some, answers, models, gammas)
        for begin in range(0, len(described), CHUNK):
            number, chunk = (first + begin) // CHUNK, described[begin : begin + CHUNK]
            shown: list[list[Any]] = []
            for example in chunk:
                pairs.append(sum(bool(p[3]) for p in example["pairs"]))
                for pair in example["pairs"]:
                    key = (example["in"][pair[0]][1], example["out"][pair[1]][1])
                    if key in documents and key not in place:
                        place[key] = (number, len(shown))
                        shown.append(documents.pop(key))
                    pair.append(place.get(key))
            yield file(f"{number:04d}", "examples", number, chunk)
            if shown:
                yield file(f"documents-{number:04d}", "documents", number, shown)
    yield file("index", "index", 0, _index(examples, answers, models, pairs))


def _index(examples: pl.DataFrame, answers: pl.DataFrame, models: Sequence[str], pairs: list[int]) -> dict[str, Any]:
    """What a list of all examples shows: columns, one entry an example."""
    statistic = answers["statistic"][0] if len(answers) else ""
    half = 50.0 if statistic in HUNDREDS else 0.5
    mark = pl.when(pl.col("value").is_null()).then(pl.lit("-")).when(pl.col("value") >= half).then(pl.lit("1"))
    marks = answers.with_columns(mark=mark.otherwise(pl.lit("0"))).select("example", "model", "mark")
    right = []
    for model in models:
        here = examples.select("example").join(marks.filter(model=model), on="example", how="left", maintain_order="left")
        right.append("".join(here["mark"].fill_null("-").to_list()))
    index = {"chunk": CHUNK, "statistic": statistic, "models": models, "ids": examples["example"].to_list()}
    index["words"] = [_short(x, FIRST_WORDS) for x in examples["input"].to_list()]
    index["answers"] = [_short(y, FIRST_ANSWER) for y in examples["output"].to_list()]
    return index | {"right": right, "pairs": pairs}


def _short(text: str, most: int) -> str:
    plain = " ".join(text[: 4 * most].split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _documents(work: Work, gammas: Gammas) -> dict[tuple[str, str], list[Any]]:
    """Documents by pair, a few of each: [source, id, excerpt, start and end of s_x, start and end of s_y]."""
    columns = ("order", *PAIR, "similarity", "pair_documents", "input_documents")
    shown = shown_pairs(work.frame("evidence_pairs", *columns), gammas).select(PAIR).unique()
    documents: dict[tuple[str, str], list[Any]] = {}
    for part in work.parts("pair_documents"):
        for batch in work.batches(part, rows=65_536):
            rows = pl.DataFrame(batch).filter(pl.col("rank") < DOCUMENTS_SHOWN)
            rows = rows.join(shown, on=PAIR, how="semi", maintain_order="left")
            for x, y, _, *document in rows.iter_rows():
                documents.setdefault((x, y), []).append(document)
    return documents


# -- some examples ----------------------------------------------------------------------------------------------------
def _examples(work: Work, some: pl.DataFrame, answers: pl.DataFrame, models: Sequence[str], gammas: Gammas) -> list[Example]:
    """Each as an object; lists are positional, to be small (trace.js reads them)."""
    low, high = some["example"][0], some["example"][-1]
    spans = shown_spans(_between(work, "evidence_spans", low, high))
    pairs = shown_pairs(_between(work, "evidence_pairs", low, high), gammas)
    likely = shown_scores(_between(work, "evidence_scores", low, high), gammas)
    spans = spans.with_columns(at=pl.int_range(pl.len()).over("example", "side"))
    inputs, outputs = spans.filter(side="input"), spans.filter(side="output")
    given = answers.filter(pl.col("example").is_between(pl.lit(low), pl.lit(high)))
    plain = ("id", "group", "x", "y", "aliases", "options")
    by_name: dict[str, Example] = {row[0]: dict(zip(plain, row, strict=True)) for row in some.iter_rows()}
    for example in by_name.values():
        example |= {"in": [], "out": [], "pairs": [], "answers": [None] * len(models), "log": [], "delta": []}
    columns = ("example", "order", "ngram", "starts", "ends", "documents", "occurrences", "log_infinity", "note")
    for e, n, ngram, starts, ends, df, occurrences, _, _ in inputs.select(columns).iter_rows():
        by_name[e]["in"].append([n, ngram, _places(starts, ends), df, occurrences])
    for e, n, ngram, starts, ends, df, occurrences, log, note in outputs.select(columns).iter_rows():
        by_name[e]["out"].append([n, ngram, _places(starts, ends), df, occurrences, note if log is None else round(log, 4)])
    for e, *pair in _numbered(pairs, inputs, outputs).iter_rows():
        by_name[e]["pairs"].append(pair)
    number = {m: i for i, m in enumerate(models)}
    of_answers = ("example", "model", "checkpoint", "text", "value", "note")
    for e, model, checkpoint, text, value, note in given.select(of_answers).iter_rows():
        by_name[e]["answers"][number[model]] = [text, value if value is None else round(value, 2), note, checkpoint]
    _add_probabilities(by_name, likely, outputs, number)
    return list(by_name.values())


def _between(work: Work, table: str, low: str, high: str) -> pl.DataFrame:
    """The rows of these examples; the rest of the table is not read."""
    return pl.DataFrame(work.store.read_between(work.parts(table), work.contracts[table].schema, "example", low, high))


def _places(starts: list[int], ends: list[int]) -> list[int]:
    return [at for place in zip(starts, ends, strict=True) for at in place]


def _numbered(pairs: pl.DataFrame, inputs: pl.DataFrame, outputs: pl.DataFrame) -> pl.DataFrame:
    """Pairs as (example, number of s_x, number of s_y, similarity, C, log P_n)."""
    x = inputs.select("example", "order", pl.col("ngram").alias("input_ngram"), pl.col("at").alias("x"))
    y = outputs.select("example", "order", pl.col("ngram").alias("output_ngram"), pl.col("at").alias("y"))
    both = pairs.join(x, on=["example", "order", "input_ngram"]).join(y, on=["example", "order", "output_ngram"])
    numbers = (pl.col("similarity").round(4), "pair_documents", pl.col("log_probability").round(4))
    return both.sort("example", "x", "y").select("example", "x", "y", *numbers)


def _add_probabilities(by_name: dict[str, Example], likely: pl.DataFrame, outputs: pl.DataFrame, number: dict[str, int]) -> None:
    """log P_LLM and Δ: for each model (in the order of the index) one number for each output n-gram, or null."""
    at, model = outputs.select("example", "order", "ngram", "at"), pl.col("model")
    model = model.replace_strict(number, default=None, return_dtype=pl.Int64)
    rows = likely.join(at, on=["example", "order", "ngram"]).with_columns(model=model)
    rows = rows.drop_nulls("model").sort("example")  # a model without any answer row is in no list
    for (e,), group in rows.group_by("example", maintain_order=True):
        example = by_name[str(e)]
        for name, column in (("log", "log_probability"), ("delta", "delta")):
            table = np.full((len(number), len(example["out"])), np.nan)
            table[group["model"].to_numpy(), group["at"].to_numpy()] = group[column].to_numpy()
            example[name] = [[None if v != v else v for v in row] for row in table.round(4).tolist()]

"""`taskgram trace` of a sequence: its text, where it occurs in the corpus, and what each model makes of its tokens.

planted-00c1…  canary, 8 copies in 8 documents
  «mova resk tilun»  anel dorit fesk
model       step  suffix log p  right  then
neox-0.6M    488         −0.31  12/12  …
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.commands.corpus_questions import read_document
from schemas import CONTRACTS
from tasks.ngrams.index import CorpusLookup, Index, Scan
from tasks.storage.store import Part, Store
from tasks.text.bpe.tokenizer import load_tokenizer
from tasks.text.display import excerpt_around, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

DOCUMENTS = 20  # of the corpus that are looked up
WIDE, WIDTH_OF_TOKENS, WIDTH_OF_MODEL = 88, 22, 22  # columns of a file or pipe, of the tokens, and of a model
OF_MODEL = ("model", "checkpoint", "sequence")
OPTIONAL = ("recitations", "sequence_measures", "recitation_counts", "token_index")  # which not every study has
Row = dict[str, Any]


def describe(store: Store, tables: Mapping[str, Sequence[Part]], sequence: str, limit: int = DOCUMENTS) -> Row:
    """Everything about one sequence: its row of `sequences`, `limit` documents that contain it, each model at each checkpoint.
    `tables`: those that are finished; what OPTIONAL ones have is left out where they are missing."""

    def rows(table: str, column: str = "sequence", value: str = sequence) -> list[Row]:
        if not tables.get(table):
            return []
        return store.read_between(tables[table], CONTRACTS[table].schema, column, value, value).to_pylist()

    (row,) = rows("sequences")
    (of_tokenizer,) = store.read(tables["tokenizer"], CONTRACTS["tokenizer"].schema).to_pylist()
    tokenizer, ids, prefix = load_tokenizer(of_tokenizer["json"]), row["ids"], row["prefix"]

    def decode(some: Sequence[int]) -> str:
        return str(tokenizer.decode(some, skip_special_tokens=False))

    def recitation(of: Row) -> Row | None:
        if not of:
            return None
        counts = {k: r[k] for r in rows("recitation_counts", "generation", of["generation"]) for k in ("occurrences", "documents")}
        return {"text": decode(of["ids"]), "ended": of["ended"], **counts}

    text = decode(ids)
    beginning = os.path.commonprefix([decode(ids[:prefix]), text])  # a character may be cut
    models = store.read(tables["models"], CONTRACTS["models"].schema).to_pylist()
    sizes = {(r["model"], r["checkpoint"]): r["parameters"] for r in models}
    more = {table: {(r["model"], r["checkpoint"]): r for r in rows(table)} for table in OPTIONAL[:2]}
    described = []
    for scores in rows("sequence_scores"):
        key, suffix = (scores["model"], scores["checkpoint"]), scores["hits"][prefix:]
        likeliest = scores.get("likeliest") or []
        model = {"model": key[0], "checkpoint": key[1], "parameters": sizes.get(key)}
        model |= {"suffix_log_probability": sum(scores["log_probabilities"][prefix:]), "suffix_hits": sum(suffix)}
        model |= {"first_miss": None if all(suffix) else suffix.index(False)}
        model |= {name: scores[name] for name in ("log_probabilities", "ranks", "margins")}
        measures = {k: _finite(v) for k, v in more["sequence_measures"].get(key, {}).items() if k not in OF_MODEL}
        recited = recitation(more["recitations"].get(key, {}))
        described.append(model | {"likeliest": [decode([i]) for i in likeliest], "recitation": recited, "measures": measures})
    described.sort(key=lambda m: (m["parameters"] or 0, m["model"], m["checkpoint"]))
    indexed, size = tables.get("token_index"), of_tokenizer["vocabulary_size"]
    corpus = Index.of_tokens(store, indexed, size) if indexed else Scan.of_tokens(store, tables["tokens"], size)
    excerpts = list(_excerpts(store, tables["documents"], corpus, tokenizer, ids, limit)) if row["occurrences"] else []
    tokens = {"text": [beginning, text[len(beginning) :]], "tokens": [decode([i]) for i in ids], "ids": ids}
    return {k: v for k, v in row.items() if k != "ids"} | tokens | {"excerpts": excerpts, "models": described}


def _finite(value: Any) -> Any:
    """The value, with null for −∞, which JSON does not have: a scheme never draws a token."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# -- where it occurs -------------------------------------------------------------------------------------------------
def _excerpts(store: Store, parts: Sequence[Part], corpus: CorpusLookup, reader: Any, ids: list[int], most: int) -> Iterator[Row]:
    """The first documents that contain these tokens, with the text around them."""
    for match in corpus.ask([ids], most).places:
        document, first = read_document(store, parts[match.part], match.document), match.words[0]
        places = reader.encode(document["text"], add_special_tokens=False).offsets[first : first + len(ids)]
        text, (span,) = excerpt_around(document["text"], [(places[0][0], places[-1][1])])
        yield {"source": document["source"], "id": document["id"], "offset": first, "text": text, "start": span[0], "end": span[1]}


# -- for people ------------------------------------------------------------------------------------------------------
def show(window: Row, *, documents: int = 1, console: Console | None = None) -> None:
    """Print it; colours and width are the terminal's."""
    from rich.console import Console
    from rich.text import Text

    terminal = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = console or Console(highlight=False, width=None if terminal else WIDE)
    kind, place = f"{window['group']}, " if window["group"] else "", f"{window['source']} {window['document']}"
    about = f"{kind}{window['split']} of the sample {window['sample']}; {place}, after {window['offset']:,} tokens"
    console.print(Text(window["sequence"], style="bold"), Text(one_line(about)))
    console.print()
    beginning, rest = (one_line(text) for text in window["text"])
    console.print(Text.assemble("  ", (beginning, "blue"), (" | ", "dim"), (rest, "bold")))
    console.print()
    for line in _counts(window):
        console.print(f"  {line}", markup=False)
    for e in window["excerpts"][:documents]:
        cuts = (slice(e["start"]), slice(e["start"], e["end"]), slice(e["end"], None))
        before, inside, after = (one_line(e["text"][cut]) for cut in cuts)
        console.print(Text(f"\n  {one_line(e['source'])} {one_line(e['id'])}, after {e['offset']:,} tokens", style="dim"))
        console.print(Text.assemble("  ", before, ("«", "dim"), (inside, "bold"), ("»", "dim"), after))
    console.print()
    console.print(_summary(window))
    at_once = max(1, (console.width - WIDTH_OF_TOKENS) // WIDTH_OF_MODEL)
    some = [window["models"][first : first + at_once] for first in range(0, len(window["models"]), at_once)]
    measured = [of for of in some if any(v is not None for m in of for v in m["measures"].values())]
    for table in (*(_tokens(window, of) for of in some), *map(_measures, measured)):
        console.print()
        console.print(table)


def _counts(window: Row) -> Iterator[str]:

    def occurs(what: str, kind: str) -> str:
        times, documents = window[f"{kind}occurrences"], window[f"{kind}documents"]
        return f"{what} occurs {times:,} time{'s' * (times != 1)}, in {documents:,} document{'s' * (documents != 1)}"

    yield occurs("the whole window", "")
    yield occurs(f"its suffix, the last {len(window['ids']) - window['prefix']} tokens,", "suffix_")
    near = window.get("near_cluster")
    yield f"cluster {window['cluster']}" + (f", cluster of near copies {near}" if near is not None else "")
    if window.get("entropy") is not None:
        yield f"entropy of the suffix: {window['entropy']:.1f} bits"


def plain_table(*columns: str) -> Table:
    """A plain table whose first column is text and whose others are numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), header_style="bold")
    for number, column in enumerate(columns):
        table.add_column(Text(column), justify="right" if number else "left", no_wrap=number > 0, overflow="fold")
    return table


def _summary(window: Row) -> Table:
    """A line per model and checkpoint: how much of the suffix it gives, and what it says instead."""
    from rich.text import Text

    table, length = plain_table("model", "step", "suffix log p", "right"), len(window["ids"]) - window["prefix"]
    table.add_column("given the prefix, greedy decoding")
    for m in window["models"]:
        says, style = ("gives the suffix", "green") if m["first_miss"] is None else (_miss(window, m), "")
        numbers = (f"{m['checkpoint']:,}", f"{m['suffix_log_probability']:.2f}".replace("-", "−"), f"{m['suffix_hits']}/{length}")
        table.add_row(*(Text(t, style) for t in (one_line(m["model"]), *numbers, says)))
    return table


def _miss(window: Row, model: Row) -> str:
    """The first token of the suffix that greedy decoding does not give, and what it writes instead, if that is known."""
    at, written = window["prefix"] + model["first_miss"], model["recitation"]
    if written is None:
        instead = f", not “{_dotted(model['likeliest'][at])}”" if model["likeliest"] else ""
        return f"misses token {at + 1}, “{_dotted(window['tokens'][at])}”{instead}: rank {model['ranks'][at]:,}"
    documents = written.get("documents")
    where = "" if documents is None else f" ({documents:,} document{'s' * (documents != 1)} of the corpus)"
    return f"from token {at + 1}: {one_line(written['text'])}{where}"


def _dotted(token: str) -> str:
    """A token on one line; its spaces are dots, so that they are seen."""
    return one_line(token).replace(" ", "·")


def _tokens(window: Row, models: Sequence[Row]) -> Table:
    """A row per token: log p, rank and margin for each of these models; a line divides prefix and suffix."""
    from rich.text import Text

    def cell(m: Row, at: int) -> Text:
        log_p, rank, margin = m["log_probabilities"][at], m["ranks"][at], m["margins"][at]
        return Text(f"{log_p:.2f} {rank:>5,} {margin:+6.1f}".replace("-", "−"), "green" if rank == 1 else "")

    table = plain_table("token", *(f"{one_line(m['model'])} {m['checkpoint']:,}\nlog p  rank margin" for m in models))
    for at, token in enumerate(window["tokens"], 1):
        table.add_row(Text(f"{at:>3} {_dotted(token)}"), *(cell(m, at - 1) for m in models), end_section=at == window["prefix"])
    return table


def _measures(models: Sequence[Row]) -> Table:
    """A row per measure of this sequence, a column for each of these models."""
    from rich.text import Text

    every = {k: v for m in models for k, v in m["measures"].items() if v is not None}
    table = plain_table("measure", *(f"{one_line(m['model'])} {m['checkpoint']:,}" for m in models))
    for name in (name for name, value in every.items() if not isinstance(value, list)):
        table.add_row(name.replace("_", " "), *(Text(written(m["measures"].get(name))) for m in models))
    return table


def written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return one_line(value) if isinstance(value, str) else f"{value:.4g}".replace("-", "−")

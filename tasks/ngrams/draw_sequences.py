"""Step `sequences`: windows of prefix + suffix tokens, drawn by a seeded hash of their place, and how often they occur.

With prefix = 2 and suffix = 1 the document 5 0 2 7 has the windows 5 0 2 and 0 2 7. Each place of the corpus has a hash; the
windows with the smallest are a sample without replacement in which every place is equally likely, however the corpus is cut.
One scan of each part counts the drawn windows and their suffixes. Windows of a bucket of occurrences are chosen once the counts
are known, from twenty candidates for each (arXiv 2202.07646 §3.1). Phantoms are drawn from held-out documents in the same way; a
window that does occur in the corpus is no phantom, and the next one takes its place.

Of texts that were inserted into a planted corpus, and of those drawn alike and never inserted, one window each is counted and
chosen, from the middle: each offset but 0 is equally likely. Each copy is a document of its own, and its beginning would give it
away: two tokens after an end of document name the text. Entropy: the bits of the characters that the suffix's tokens stand for.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from schemas import Study, StudyError
from schemas.tables.sequences import NULLS, SAMPLES, SEQUENCE_CANDIDATES, SEQUENCE_COUNTS
from schemas.tables.sequences import SEQUENCES as SEQUENCES_TABLE
from tasks.cost import DEBIAN, Cost, Rate, Sizes
from tasks.ngrams.corpus_parts import concatenated, id_batches, same_tokenizer, with_same_labels
from tasks.statistics.bins import bucket_of
from tasks.step import Inputs, Job, Stage, Step, Work, asks_for_memorization
from tasks.text.bpe.fast_bpe import compile_tokenizer
from tasks.text.bpe.tokenizer import load_tokenizer
from tasks.text.split import seeded_hash

CANDIDATES, SPARE = 20, 4  # candidates for each window of a bucket, and for each phantom
COUNTS = ("occurrences", "documents", "suffix_occurrences", "suffix_documents")
PLACE = ["source", "document", "offset"]
KEPT = ("sample", "group", *PLACE, "entropy")


# -- drawing ----------------------------------------------------------------------------------------------------------
class SmallestHashes:
    """The windows of one sample with the smallest hashes so far: hash, document, offset, and ids [windows, tokens]."""

    def __init__(self, most: int, window: int) -> None:
        self.most, self.window = most, window
        self.hashes, self.places, self.ids = np.empty(0, np.int64), np.empty((0, 2), np.int64), np.empty((0, window), np.int32)

    def add(self, seeds: np.ndarray, ids: np.ndarray, offsets: np.ndarray, base: int) -> None:
        """Consider all windows of some documents. seeds: uint64 [documents]; the first document is number `base`."""
        from tasks.ngrams.kernels.ngram_kernels import fold

        windows = np.maximum(np.diff(offsets) - self.window + 1, 0)
        document = np.repeat(np.arange(len(windows)), windows)
        offset = np.arange(len(document)) - np.repeat(np.cumsum(windows) - windows, windows)
        hashes = (fold(seeds[document], offset.astype(np.uint64)) >> np.uint64(1)).astype(np.int64)
        if len(self.hashes) == self.most:
            few = np.flatnonzero(hashes < self.hashes[-1]) if self.most else np.empty(0, np.int64)
            hashes, document, offset = hashes[few], document[few], offset[few]
        order = np.argsort(hashes, kind="stable")[: self.most]
        document, offset = document[order], offset[order]
        drawn = ids[(offsets[document] + offset)[:, None] + np.arange(self.window)]
        all_hashes = np.concatenate([self.hashes, hashes[order]])
        keep = np.argsort(all_hashes, kind="stable")[: self.most]
        self.hashes, self.ids = all_hashes[keep], np.concatenate([self.ids, drawn])[keep]
        self.places = np.concatenate([self.places, np.stack([base + document, offset], axis=1)])[keep]


def plan_candidates(study: Study, inputs: Inputs) -> list[Job]:
    """One job per tokens part, and one per part of held-out documents. Raises StudyError if there are none of these."""
    if study.memorization is None:
        return []
    memorization, samples = study.memorization, study.memorization.samples
    shared = {"seed": study.seed, "window": memorization.window}
    drawn = {"uniform": samples.uniform, "duplicates": CANDIDATES * samples.duplicates}
    documents = with_same_labels(inputs["tokens"], inputs["documents"])
    pairs, tokenizer = zip(inputs["tokens"], documents, strict=True), {"tokenizer": inputs["tokenizer"]}
    jobs = [Job(part.labels, shared | drawn, {"tokens": (part,), "documents": (of,)} | tokenizer) for part, of in pairs]
    if samples.phantoms and not inputs["held_out_documents"]:
        remedy = "name a split in `held_out` of a source, or set phantoms = 0"
        raise StudyError(f"memorization.samples.phantoms = {samples.phantoms} needs text that is kept out of the corpus; {remedy}")
    if study.planted_windows:
        insertions = {"insertions": inputs["insertions"]} | tokenizer
        jobs.append(Job({"split": "planted"}, shared | {"prefix": memorization.prefix}, insertions))
    settings, held_out = shared | {"phantoms": SPARE * samples.phantoms}, inputs["held_out_documents"] if samples.phantoms else ()
    return jobs + [Job({**p.labels, "split": "phantom"}, settings, {"held_out_documents": (p,)} | tokenizer) for p in held_out]


def run_candidates(work: Work) -> None:
    """Draw the candidates of one part; sums: documents, and short_documents, which have no window."""
    if "insertions" in work.job.inputs:
        _write_planted(work)
        return
    same_tokenizer(work)
    (of,) = work.parts("documents" if "tokens" in work.job.inputs else "held_out_documents")
    documents = work.read(of, "id", "source", "language").to_pylist()
    window, seed, file = work.settings["window"], work.settings["seed"], work.labels.get("file", "")
    samples = {name: SmallestHashes(work.settings[name], window) for name in SAMPLES if name in work.settings}
    for ids, offsets, base in _documents(work):
        here = documents[base : base + len(offsets) - 1]
        work.add("documents", len(here))
        work.add("short_documents", int((np.diff(offsets) < window).sum()))
        for name, sample in samples.items():
            seeds = [seeded_hash(seed, "sequences", name, d["source"], file, d["id"]) for d in here]
            sample.add(np.array(seeds, np.uint64), ids, offsets, base)
    for name, sample in sorted(samples.items()):
        here = [documents[document] for document in sample.places[:, 0]]
        columns = (("group", "language"), ("document", "id"), ("source", "source"))
        values: dict[str, Any] = {column: [d[field] for d in here] for column, field in columns}
        values |= {"sample": [name] * len(here), "offset": sample.places[:, 1], "hash": sample.hashes, "ids": _lists(sample.ids)}
        work.write("sequence_candidates", values | dict.fromkeys(("entropy", "copies"), [None] * len(here)))


def _write_planted(work: Work) -> None:
    """Write the windows of planted texts. Raises StudyError for a text with no place for a window, or whose window is another's."""
    seed, prefix, window = (work.settings[name] for name in ("seed", "prefix", "window"))
    tokenizer, rows = load_tokenizer(work.read("tokenizer", "json").column(0)[0].as_py()), list[dict[str, Any]]()
    same: dict[tuple[int, ...], str] = {}
    for text in work.read("insertions").to_pylist():
        encoded = tokenizer.encode(text["text"], add_special_tokens=False)
        name, places = text["text_id"], len(encoded.ids) - window
        if places < 1:
            few = f"{len(encoded.ids)} tokens, too few for a window of {window} after its first token"
            remedy = "raise corpus.planted.insertions.words, or set memorization.prefix and suffix to fewer tokens"
            raise StudyError(f"the planted text {name} has {few}; {remedy}")
        offset = 1 + seeded_hash(seed, "offset", name) % places
        ids = encoded.ids[offset : offset + window]
        if (other := same.setdefault(tuple(ids), name)) != name:
            remedy = "set memorization.prefix or suffix to more tokens, or insert fewer sentences"
            raise StudyError(f"the windows of the planted texts {other} and {name} are the same {window} tokens; {remedy}")
        begin, end = (encoded.offsets[offset + at - 1][1] for at in (prefix, window))
        sample = "planted" if text["copies"] else "planted_phantoms"
        place = {"source": "planted", "document": min(text["documents"], default=name), "offset": offset}
        what = {"sample": sample, "group": text["group"], "ids": ids, "entropy": float(np.sum(text["bits"][begin:end]))}
        rows.append(place | what | {"hash": seeded_hash(seed, "sequences", sample, name), "copies": text["copies"]})
    rows.sort(key=lambda row: (row["sample"], row["hash"]))
    work.write("sequence_candidates", {name: [row[name] for row in rows] for name in SEQUENCE_CANDIDATES.schema.names})


def _documents(work: Work) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Documents as token ids: those of the tokens part, or held-out documents, which are tokenised here."""
    tokenizer = work.read("tokenizer").to_pylist()[0]
    if "tokens" in work.job.inputs:
        yield from id_batches(work, work.parts("tokens")[0], tokenizer["vocabulary_size"])
        return
    texts = work.read("held_out_documents", "text").column("text").combine_chunks()
    ids, offsets = compile_tokenizer(tokenizer["json"]).encode(texts)
    yield np.asarray(ids, np.int32), np.asarray(offsets, np.int64), 0


# -- counting ---------------------------------------------------------------------------------------------------------
def _candidates(work: Work) -> tuple[pl.DataFrame, np.ndarray]:
    """The candidates of all parts that may be chosen, in the order of their sample and hash, and their ids, int32 [rows, tokens].
    The places with the smallest hashes of all parts are those of the whole corpus, however it is cut. Equal windows stay in the
    uniform sample, which is one of places; elsewhere the first of them stands for all."""
    parts, order = work.parts("sequence_candidates"), ["sample", "hash", *PLACE]
    hashes, small = pl.concat([work.frame(part, "sample", "hash") for part in parts]).sort("sample", "hash"), pl.lit(False)
    for sample in SAMPLES:
        largest = hashes.filter(sample=sample)["hash"].head(work.settings[sample]).max()
        small = small | ((pl.col("sample") == sample) & (pl.col("hash") <= (-1 if largest is None else largest)))
    frames, ids = [], []
    for part in parts:
        of_part = work.frame(part).filter(small)
        ids.append(of_part["ids"].explode(empty_as_null=False).to_numpy().reshape(-1, work.settings["window"]))
        frames.append(of_part.drop("ids"))
    rows, windows = pl.concat(frames).with_row_index("row").sort(order), np.concatenate(ids)
    del ids, of_part  # a million windows are a quarter of a gigabyte
    windows = windows[rows["row"].to_numpy()]
    keep = []
    for sample in SAMPLES:
        mine = np.flatnonzero((rows["sample"] == sample).to_numpy())[: work.settings[sample]]
        keep.append(mine if sample == "uniform" or not len(mine) else mine[np.unique(_first_equal(windows[mine]))])
    kept = np.concatenate(keep)
    return rows.drop("row")[kept], windows[kept]


def _lists(ids: np.ndarray) -> pa.ListArray:
    ends = pa.array(np.arange(len(ids) + 1) * ids.shape[1], pa.int32())
    return pa.ListArray.from_arrays(ends, pa.array(ids.ravel()), SEQUENCES_TABLE.schema.field("ids").type)


def _first_equal(windows: np.ndarray) -> np.ndarray:
    """For each row the number of the first row that is equal to it."""
    texts = np.ascontiguousarray(windows).view(np.dtype((np.void, windows.itemsize * windows.shape[1])))[:, 0]
    _, first, inverse = np.unique(texts, return_index=True, return_inverse=True)
    return first[inverse]


def _limits(study: Study) -> dict[str, int]:
    """How many candidates of each sample are counted."""
    samples = study.memorization.samples  # type: ignore[union-attr]
    drawn = {"uniform": samples.uniform, "duplicates": CANDIDATES * samples.duplicates, "phantoms": SPARE * samples.phantoms}
    return drawn | {"planted": study.planted_windows, "planted_phantoms": study.planted_windows}


def plan_counts(study: Study, inputs: Inputs) -> list[Job]:
    if study.memorization is None:
        return []
    shared = {"sequence_candidates": inputs["sequence_candidates"], "tokenizer": inputs["tokenizer"]}
    settings = _limits(study) | {"prefix": study.memorization.prefix, "window": study.memorization.window}
    return [Job(p.labels, settings, {"tokens": (p,), **shared}, memory=study.counting.memory_bytes) for p in inputs["tokens"]]


def run_counts(work: Work) -> None:
    same_tokenizer(work)
    _, windows = _candidates(work)
    prefix, n = work.settings["prefix"], len(windows)
    counts = count_windows(work, [windows, windows[:, prefix:]])
    columns = dict(zip(COUNTS, (*counts[:n].T, *counts[n:].T), strict=True))
    there = np.flatnonzero(columns["suffix_occurrences"])
    work.write("sequence_counts", {"candidate": there, **{name: values[there] for name, values in columns.items()}})


def count_windows(work: Work, queries: list[np.ndarray]) -> np.ndarray:
    """int64 [rows, 2]: occurrences and documents of each row of these matrices in the job's tokens part; as many at once as fit."""
    from tasks.ngrams.kernels.ngram_kernels import build_trie, bytes_of_trie
    from tasks.ngrams.kernels.scan_kernels import empty_records, scan_ngrams

    lengths = np.concatenate([np.full(len(q), q.shape[1]) for q in queries])
    starts = np.cumsum([0, *map(len, queries)])
    size = work.read("tokenizer", "vocabulary_size").column(0)[0].as_py()
    counts, part = np.zeros((len(lengths), 2), np.int64), work.parts("tokens")[0]
    groups = np.cumsum([bytes_of_trie(1, int(length)) for length in lengths]) // work.job.memory
    work.passes = max(1, len(np.unique(groups)))
    for group in np.unique(groups):
        first, last = np.searchsorted(groups, [group, group + 1])
        pieces = [q[max(first - start, 0) : max(last - start, 0)].ravel() for q, start in zip(queries, starts, strict=False)]
        trie, same = build_trie(*concatenated(pieces, [lengths[first:last]]))
        records = empty_records(last - first)
        for document_ids, document_offsets, base in id_batches(work, part, size):
            scan_ngrams(document_ids, document_offsets, base, trie, records)
        counts[first:last] = np.stack([records["occurrences"], records["documents"]], axis=1)[same]
    return counts


# -- choosing ---------------------------------------------------------------------------------------------------------
def plan_choice(study: Study, inputs: Inputs) -> list[Job]:
    if study.memorization is None or not inputs["tokens"]:
        return []
    counts = _limits(study) | study.memorization.samples.model_dump(exclude={"planted"})
    settings = (
        _limits(study)
        | {f"chosen_{name}": n for name, n in counts.items()}
        | {"prefix": study.memorization.prefix, "window": study.memorization.window}
    )
    return [Job({}, settings, {name: inputs[name] for name in ("sequence_candidates", "sequence_counts")})]


def run_choice(work: Work) -> None:
    """Choose the windows; sums: those of each sample, phantoms_in_corpus, and documents in all and shorter than a window."""
    from tasks.ngrams.kernels.near_kernels import near_copies

    candidates, windows = _candidates(work)
    counts = np.zeros((len(candidates), len(COUNTS)), np.int64)
    for part in work.parts("sequence_counts"):
        of_part = work.frame(part)
        counts[of_part["candidate"].to_numpy()] += of_part.select(COUNTS).to_numpy()
    for part in work.parts("sequence_candidates"):
        sums = work.store.footer(part).get("sums", {})
        kind = "held_out_" if part.labels.get("split") == "phantom" else ""
        for name in ("documents", "short_documents"):
            work.add(f"{kind}{name}", sums.get(name, 0))
    chosen = np.concatenate([_choose(work, name, candidates, counts[:, 0]) for name in SAMPLES])
    names = [f"{sample}-{value:016x}" for sample, value in candidates.select("sample", "hash")[chosen].iter_rows()]
    order = np.argsort(np.array(names), kind="stable")
    chosen = chosen[order]
    rows, ids = candidates[chosen], windows[chosen]
    del candidates, windows
    columns: dict[str, Any] = {name: rows[name].to_arrow().cast(SEQUENCES_TABLE.schema.field(name).type) for name in KEPT}
    columns |= {"ids": _lists(ids), "sequence": [names[i] for i in order], **dict(zip(COUNTS, counts[chosen].T, strict=True))}
    columns["split"] = ["member" if sample in NULLS else "phantom" for sample in rows["sample"]]
    columns |= {"prefix": [work.settings["prefix"]] * len(rows), "near_cluster": near_copies(ids)}
    work.write("sequences", columns | {"cluster": np.unique(_first_equal(ids), return_inverse=True)[1]})


def _choose(work: Work, sample: str, candidates: pl.DataFrame, occurrences: np.ndarray) -> np.ndarray:
    """The candidates of a sample that become sequences. Raises StudyError if a sample that the study asks for has none."""
    mine = np.flatnonzero((candidates["sample"] == sample).to_numpy())
    wanted = work.settings[f"chosen_{sample}"]
    chosen = mine[:wanted]
    if sample == "duplicates":
        buckets = np.array([bucket_of(int(count)) for count in occurrences[mine]], np.int64)
        chosen = np.sort(np.concatenate([mine[:0], *(mine[buckets == bucket][:wanted] for bucket in np.unique(buckets))]))
    if sample == "phantoms":
        absent = mine[occurrences[mine] == 0]
        work.add("phantoms_in_corpus", len(mine) - len(absent))
        chosen = absent[:wanted]
        if wanted and len(mine) and not len(absent):
            row = candidates.row(int(mine[0]), named=True)
            place = f"after {row['offset']} tokens of document {row['document']!r} of source {row['source']!r}"
            why = f"every window that was drawn from held-out documents occurs in the corpus, e.g. the one {place}"
            remedy = (
                "Remove copies of held-out documents from the corpus, make memorization.suffix longer, or set samples.phantoms = 0"
            )
            raise StudyError(f"no phantom is left: {why}, {occurrences[mine[0]]} times. {remedy}")
    if sample.startswith("planted"):
        _check_planted(candidates[mine], occurrences[mine])
    if wanted and not len(chosen):
        what = "held-out document" if sample == "phantoms" else "document of the corpus"
        few = f"no {what} has {work.settings['window']} tokens"
        raise StudyError(f"{few}; set memorization.prefix and memorization.suffix to fewer tokens")
    work.add(sample, len(chosen))
    return chosen


def _check_planted(rows: pl.DataFrame, occurrences: np.ndarray) -> None:
    """StudyError for a window that occurs in the corpus more or less often than it was inserted."""
    for at in np.flatnonzero(rows["copies"].to_numpy() != occurrences)[:1]:
        row = rows.row(int(at), named=True)
        times = f"was inserted {row['copies']} times, but its window occurs {occurrences[at]} times in the corpus"
        remedy = "Make memorization.prefix or suffix longer, so that no other text contains it, or take another seed"
        raise StudyError(f"the planted {row['group']} {row['document']} {times}. {remedy}")


# -- the step ---------------------------------------------------------------------------------------------------------
RATES = {
    "draw sequences": Rate(76e6, "tokens /s", "one core, 4,096 documents of 500 tokens at a time"),
    "count sequences": Rate(8.4e6, "tokens /s", f"{DEBIAN}, as the ∞-gram"),
    "bytes of a sequence": Rate(300.0, "bytes for a window of 64 tokens", "rows as they are stored", guess=True),
}


def cost(sizes: Sizes) -> Cost:
    memorization, c = sizes.study.memorization, sizes.corpus
    if memorization is None:
        return Cost(unit="tokens")
    held_out = (1 if c.planted else c.held_out_parts) if memorization.samples.phantoms else 0
    windows, limit = sum(_limits(sizes.study).values()), sizes.study.counting.memory_bytes
    passes = max(1.0, windows * 48 * (memorization.window + memorization.suffix) / limit)
    core = c.tokens / RATES["draw sequences"] + passes * c.tokens / RATES["count sequences"]
    read, written = (1 + passes) * c.stored_tokens, windows * RATES["bytes of a sequence"] * memorization.window / 64
    memory, guesses = 0.5e9 + min(limit, 64.0 * memorization.window * windows), RATES["bytes of a sequence"].as_guess()
    parts = 2 * c.parts + held_out + bool(sizes.study.planted_windows) + 1 if c.parts else 0
    return Cost(parts, c.tokens, "tokens", read, written, core, 0.0, 0.0, memory, (*c.guesses, *guesses), RATES)


ABOUT = "windows of the corpus and of held-out text, and how often they occur"
READS = ("tokens", "documents", "tokenizer", "held_out_documents", "insertions")
STAGES = (
    Stage((SEQUENCE_CANDIDATES,), plan_candidates, run_candidates),
    Stage((SEQUENCE_COUNTS,), plan_counts, run_counts),
    Stage((SEQUENCES_TABLE,), plan_choice, run_choice),
)
SEQUENCES = Step("sequences", 3, ABOUT, READS, STAGES, cost=cost, applies=asks_for_memorization)

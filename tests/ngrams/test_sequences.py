"""Windows are drawn from every place alike, and their counts equal brute force."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Study, StudyError
from tasks.ngrams.draw_sequences import SEQUENCES, SmallestHashes
from tasks.statistics.bins import bucket_of
from tasks.step import parts_of
from tasks.storage.store import Part
from tasks.text.split import seeded_hash
from tests.models.small import tokenizer_json
from tests.ngrams.corpus import documents_with, flat, make_study, occurrences, split
from tests.support import read_rows, run_step, write_part

PREFIX, SUFFIX = 3, 2
WINDOW = PREFIX + SUFFIX
HELD_OUT = ["zzz qqq Torin xyz jjj", "qq", "Kasek wwww vvvv uuuu Kasek zz zz"]


def asked(memory: str = "1GB", **samples: int) -> Study:
    memorization = {"prefix": PREFIX, "suffix": SUFFIX, "samples": {"uniform": 30, "duplicates": 0, "phantoms": 0} | samples}
    return make_study(seed=4, counting={"memory": memory}, memorization=memorization)


# texts of a planted corpus: how often each is inserted, and bits of each character
INSERTED = {"Torin has seen Kasek": 2, "We know the Torin": 1, "zzz Kasek qqq Torin": 0, "qqq Torin Kasek zz": 0}


def planted_study(sentences: int = 1) -> Study:
    """A planted study whose texts are INSERTED, or twice as many as `sentences`; nothing else is drawn."""
    planted = {"tokens": 60_000, "insertions": {"copies": [1, 2], "canaries": 0, "sentences": sentences, "words": 16}}
    memorization = {"prefix": PREFIX, "suffix": SUFFIX, "samples": {"uniform": 0, "phantoms": 0}}
    return Study.model_validate({"name": "p", "seed": 4, "corpus": {"planted": planted}, "memorization": memorization})


def write_planted(root: Path, parts: int = 1, corpus: Counter[str] | None = None, texts: dict[str, int] | None = None) -> dict:
    """A corpus in which the texts are documents of their own, in this number of copies, or in the number planted."""
    from tokenizers import Tokenizer

    texts = INSERTED if texts is None else texts
    encode = Tokenizer.from_str(tokenizer_json()).encode
    filled = ["filler of other words"] * 5 + sorted((Counter(texts) if corpus is None else corpus).elements())
    tables = write(root, [encode(text, add_special_tokens=False).ids for text in filled], parts)
    rows = {
        "text_id": [f"sentence-{i}" for i in range(len(texts))],
        "group": ["sentence"] * len(texts),
        "text": list(texts),
        "copies": list(texts.values()),
        "bits": [[float(i) for i in range(len(text))] for text in texts],
        "documents": [[f"d{i}" for i, other in enumerate(filled) if other == text] if n else [] for text, n in texts.items()],
    }
    rows["documents"] = [(names * 9)[:n] for names, n in zip(rows["documents"], texts.values(), strict=True)]
    return tables | {"insertions": (write_part(root, "insertions", rows),)}


def corpus(seed: int = 1, count: int = 40) -> list[list[int]]:
    """Documents of few tokens, so that windows recur; some are shorter than a window."""
    draw = random.Random(seed)
    return [draw.choices(range(1, 4), k=draw.choice([1, 2, 4, 5, 9, 20])) for _ in range(count)]


def write(root: Path, documents: list[list[int]], parts: int, held_out: list[str] | None = None) -> dict[str, tuple[Part, ...]]:
    """tokens, documents, tokenizer and held-out documents; a part is a piece of one file."""
    tables: dict[str, list[Part]] = {"tokens": [], "documents": []}
    number = 0
    for index, some in enumerate(split(documents, parts)):
        labels, rows = {"source": "s", "file": "f", "piece": f"{index}-of-{parts}"}, list(range(len(some)))
        names = [f"d{number + i}" for i in rows]
        number += len(some)
        same = {
            "source": ["s"] * len(some),
            "language": ["en"] * len(some),
            "text": ["x"] * len(some),
            "row": [r + 1 for r in rows],
        }
        tables["tokens"].append(write_part(root, "tokens", {"document": rows, "ids": some}, labels))
        tables["documents"].append(write_part(root, "documents", {"document": rows, "id": names, **same}, labels))
    tokenizer = {"name": ["t"], "vocabulary_size": [300], "end_of_document": [0], "json": [tokenizer_json()]}
    out = {name: tuple(made) for name, made in tables.items()} | {"tokenizer": (write_part(root, "tokenizer", tokenizer),)}
    if held_out is not None:
        n = len(held_out)
        rest = {"id": [f"h{i}" for i in range(n)], "source": ["s"] * n, "language": [""] * n, "words": [1] * n, "text": held_out}
        out["held_out_documents"] = (write_part(root, "held_out_documents", {"document": list(range(n)), **rest}, {"source": "s"}),)
    return out


def drawn(root: Path, study: Study, tables: dict[str, tuple[Part, ...]]) -> list[dict]:
    return read_rows(root, parts_of(run_step(SEQUENCES, study, root, {"held_out_documents": (), **tables}))["sequences"])


def check(row: dict, documents: list[list[int]]) -> None:
    ids, suffix = row["ids"], row["ids"][PREFIX:]
    assert row["occurrences"] == occurrences(ids, documents)
    assert row["documents"] == len(documents_with(documents, ids))
    assert row["suffix_occurrences"] == occurrences(suffix, documents)
    assert row["suffix_documents"] == len(documents_with(documents, suffix))
    assert row["prefix"] == PREFIX


def test_counts_of_windows_and_of_their_suffixes_equal_brute_force(tmp_path: Path) -> None:
    documents = corpus()
    rows = drawn(tmp_path, asked(duplicates=4), write(tmp_path, documents, 3))
    for row in rows:
        check(row, documents)
        at = row["offset"]
        assert documents[int(row["document"][1:])][at : at + WINDOW] == row["ids"]
    assert {r["split"] for r in rows} == {"member"} and {r["group"] for r in rows} == {"en"}
    assert sum(r["sample"] == "uniform" for r in rows) == 30
    clusters = {(r["cluster"], tuple(r["ids"])) for r in rows}
    assert len(clusters) == len({c for c, _ in clusters}) == len({i for _, i in clusters}), "a cluster is one text"
    assert [r["near_cluster"] for r in rows] == [r["cluster"] for r in rows], "with five tokens only equal windows are near"


def test_neither_the_cut_of_the_corpus_nor_the_memory_changes_a_byte(tmp_path: Path) -> None:
    documents = corpus()
    found = []
    for parts, memory in ((1, "1GB"), (4, "1GB"), (4, "64MB")):
        root = tmp_path / f"{parts}-{memory}"
        found.append(drawn(root, asked(memory, duplicates=3, phantoms=2), write(root, documents, parts, HELD_OUT)))
    assert found[0] == found[1] == found[2]


def test_each_bucket_has_as_many_windows_as_it_can(tmp_path: Path) -> None:
    documents = corpus(2, 60)
    texts = Counter(tuple(d[i : i + WINDOW]) for d in documents for i in range(len(d) - WINDOW + 1))
    buckets = Counter(bucket_of(count) for count in texts.values())
    rows = drawn(tmp_path, asked(uniform=0, duplicates=20), write(tmp_path, documents, 2))
    assert len(texts) <= 400, "all windows are candidates"
    assert Counter(bucket_of(r["occurrences"]) for r in rows) == {b: min(n, 20) for b, n in buckets.items()}


@given(st.integers(1, 10**9))
def test_a_bucket_is_a_quarter_of_a_doubling(count: int) -> None:
    n = bucket_of(count)
    assert 2**n <= count**4 < 2 ** (n + 1)


def test_every_place_is_drawn_equally_often() -> None:
    ids, offsets = flat([[1] * 30, [2] * 10, [1, 2] * 5])
    places, hits = 26 + 6 + 6, Counter[tuple[int, int]]()
    for seed in range(200):
        sample = SmallestHashes(10, WINDOW)
        seeds = np.array([seeded_hash(seed, str(document)) for document in range(3)], np.uint64)
        sample.add(seeds[:2], ids[:40], offsets[:3], 0)
        sample.add(seeds[2:], ids[40:], offsets[2:] - 40, 2)
        hits.update(map(tuple, sample.places.tolist()))
    expected = 200 * 10 / places
    assert len(hits) == places
    chi = sum((n - expected) ** 2 / (expected * (1 - 10 / places)) for n in hits.values())
    assert chi < 70, "the .999 quantile of χ² with 37 degrees of freedom is 69.3"


def test_phantoms_are_windows_of_held_out_text_that_the_corpus_lacks(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    held = [Tokenizer.from_str(tokenizer_json()).encode(t, add_special_tokens=False).ids for t in HELD_OUT]
    documents = [*corpus(), held[0][: WINDOW + 1]]
    rows = drawn(tmp_path, asked(phantoms=6), write(tmp_path, documents, 2, HELD_OUT))
    phantoms = [r for r in rows if r["split"] == "phantom"]
    assert len(phantoms) == 6 and {r["sample"] for r in phantoms} == {"phantoms"}
    for row in phantoms:
        check(row, documents)
        assert row["occurrences"] == 0
        assert held[int(row["document"][1:])][row["offset"] : row["offset"] + WINDOW] == row["ids"]


def test_what_cannot_be_drawn_is_an_error_that_names_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    held = Tokenizer.from_str(tokenizer_json()).encode(HELD_OUT[0], add_special_tokens=False).ids
    with pytest.raises(StudyError, match="phantoms = 5 needs text that is kept out"):
        drawn(tmp_path / "a", asked(phantoms=5), write(tmp_path / "a", corpus(), 1))
    with pytest.raises(StudyError, match=r"no phantom is left: .* tokens of document 'h0' of source 's', 2 times"):
        drawn(tmp_path / "b", asked(phantoms=5), write(tmp_path / "b", [*corpus(), held, held], 1, HELD_OUT[:1]))
    with pytest.raises(StudyError, match="no held-out document has 5 tokens"):
        drawn(tmp_path / "c", asked(phantoms=5), write(tmp_path / "c", corpus(), 1, ["q"]))
    with pytest.raises(StudyError, match="no document of the corpus has 5 tokens"):
        drawn(tmp_path / "d", asked(), write(tmp_path / "d", [[1, 2], [3]], 1))


def test_planted_windows_occur_as_often_as_they_were_inserted(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    encode = Tokenizer.from_str(tokenizer_json()).encode
    found = [drawn(tmp_path / str(n), planted_study(), write_planted(tmp_path / str(n), n)) for n in (1, 3)]
    assert found[0] == found[1], "however the corpus is cut"
    assert len(found[0]) == len(INSERTED)
    for text, copies in INSERTED.items():
        encoded = encode(text, add_special_tokens=False)
        places = range(1, len(encoded.ids) - WINDOW + 1)
        ((row, at),) = [(r, i) for r in found[0] for i in places if encoded.ids[i : i + WINDOW] == r["ids"] and i == r["offset"]]
        assert row["occurrences"] == row["documents"] == copies
        assert (row["sample"], row["split"]) == (("planted", "member") if copies else ("planted_phantoms", "phantom"))
        assert (row["group"], row["source"]) == ("sentence", "planted")
        assert row["document"].startswith("d" if copies else "sentence-")
        begin, end = (len(Tokenizer.from_str(tokenizer_json()).decode(encoded.ids[: at + n])) for n in (PREFIX, WINDOW))
        assert row["entropy"] == sum(range(begin, end)), "bits of the characters of the suffix"


def test_a_planted_window_begins_at_each_token_but_the_first_equally_often(tmp_path: Path) -> None:
    draw = random.Random(1)
    texts = {"".join(draw.choices("bcdfghjkmpqwxyz", k=9)): number % 2 for number in range(400)}
    counts = Counter(r["offset"] for r in drawn(tmp_path, planted_study(100), write_planted(tmp_path, texts=texts)))
    assert set(counts) == {1, 2, 3, 4} and min(counts.values()) > 70, counts


def test_planted_texts_that_are_not_what_they_should_be_are_errors(tmp_path: Path) -> None:
    first, phantom = list(INSERTED)[0], list(INSERTED)[2]
    cases = (
        ({"corpus": Counter(INSERTED) + Counter([phantom])}, "sentence-2 was inserted 0 times, but its window occurs 1 times"),
        ({"corpus": Counter(INSERTED) + Counter([first])}, "was inserted 2 times, but its window occurs 3 times"),
        ({"texts": {"zzzzz": 1, **INSERTED}}, "sentence-0 has 5 tokens, too few for a window of 5 after its first token"),
        ({"texts": {"abcdef": 1, "gbcdef": 0, **INSERTED}}, "planted texts sentence-0 and sentence-1 are the same 5 tokens"),
    )
    for number, (changes, message) in enumerate(cases):
        with pytest.raises(StudyError, match=message):
            drawn(tmp_path / str(number), planted_study(), write_planted(tmp_path / str(number), **changes))


def test_all_windows_may_be_one_text(tmp_path: Path) -> None:
    rows = drawn(tmp_path, asked(duplicates=2), write(tmp_path, [[1, 2, 3, 1, 2]] * 50, 2))
    assert len(rows) == 31 and {(r["cluster"], r["near_cluster"], r["occurrences"], r["documents"]) for r in rows} == {
        (0, 0, 50, 50)
    }


def test_documents_without_a_window_are_counted(tmp_path: Path) -> None:
    from tasks.storage.store import Store

    documents = corpus()
    tables = run_step(SEQUENCES, asked(phantoms=2), tmp_path, write(tmp_path, documents, 3, HELD_OUT))
    sums = Store(str(tmp_path)).footer(tables["sequences"][0])["sums"]
    assert sums["documents"] == len(documents)
    assert sums["short_documents"] == sum(len(d) < WINDOW for d in documents) > 0
    assert (sums["held_out_documents"], sums["held_out_short_documents"]) == (3, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": {"uniform": 0}}, "draws no window of the corpus"),
        ({"sampling": [{"temperature": 1.0}, {}]}, "duplicate scheme 'T=1'"),
        ({"prefix": 0}, "greater than or equal to 1"),
        ({"sampling": [{"temperature": 0}]}, "greater than 0"),
        ({"surfix": 3}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_errors(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_study(memorization=settings)

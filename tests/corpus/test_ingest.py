"""documents + rejects = records read, for any file (run_step checks that balance on every run)."""

import gzip
import hashlib
import json
import random
from dataclasses import replace

import pytest
import zstandard

from schemas import CONTRACTS, Study, StudyError
from tasks.corpus.ingest import IDS, INGEST, plan
from tasks.step import keyed, run_job
from tasks.storage.store import Part, Store
from tests.support import read_rows, run_step, write_part

NOTHING = {"planted_files": (), "repeated_ids": ()}
GOOD = [{"id": f"d{i}", "lang": "en", "text": f"The harbour of Velm{i} is deep."} for i in range(50)]


def jsonl(records) -> bytes:
    return b"".join((r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode()) + b"\n" for r in records)


def study(folder, splits=None, **source) -> Study:
    source = {"name": "s", "files": ["*.jsonl*"], **source}
    return Study.model_validate({"name": "t", "data": str(folder), "corpus": {"sources": [source]}, "splits": splits or {}})


def ingest(tmp_path, files: dict[str, bytes], splits=None, **source):
    """(documents, rejects) of these files."""
    data = tmp_path / "data"
    data.mkdir(exist_ok=True, parents=True)
    for name, content in files.items():
        (data / name).write_bytes(content)
    root = tmp_path / "root"
    tables = run_step(INGEST, study(data, splits, **source), root, NOTHING)
    return read_rows(root, tables["documents"]), read_rows(root, tables["document_rejects"])


def pack(kind: str, content: bytes) -> bytes:
    return {
        "jsonl": lambda b: b,
        "jsonl.gz": lambda b: gzip.compress(b, mtime=0),
        "jsonl.zst": zstandard.ZstdCompressor().compress,
    }[kind](content)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_documents_come_in_file_order_with_their_text_unchanged(tmp_path, kind):
    texts = ["  Größe\r\n\tzwei ", "漢字 \U0001f600", 'a "quoted" \\ line\u2028']
    records = jsonl({"id": str(i), "text": t} for i, t in enumerate(texts))
    documents, rejects = ingest(tmp_path, {f"a.{kind}": pack(kind, records)})
    assert [(d["document"], d["id"], d["text"], d["row"], d["language"]) for d in documents] == [
        (i, str(i), t, i + 1, "") for i, t in enumerate(texts)
    ]
    assert rejects == []


BAD = {
    "not valid JSON": b'{"id": "x", "text": "cut',
    "a JSON list": b"[1, 2]",
    "not valid JSON: Exceeds": b'{"id": "x", "text": "y", "n": ' + b"9" * 5000 + b"}",
    "not valid UTF-8": b'{"id": "x", "text": "caf\xe9"}',
    "line is empty": b"",
    "no field 'text'": b'{"id": "x"}',
    "field 'text' is null": b'{"id": "x", "text": null}',
    "field 'text' is a int": b'{"id": "x", "text": 3}',
    "field 'text' is a list": b'{"id": "x", "text": ["y"]}',
    "field 'text' is empty": b'{"id": "x", "text": " \\n"}',
    "surrogate": b'{"id": "x", "text": "\\ud83d alone"}',
    "has no identifier": b'{"id": "", "text": "y"}',
    "has no identifier;": b'{"text": "y"}',
    "has no identifier; set": b'{"id": null, "text": "y"}',
    "has no identifier; set another": b'{"id": true, "text": "y"}',
    "has no identifier; set another field": b'{"id": 1.5, "text": "y"}',
    "field 'id' contains half": b'{"id": "\\ud800", "text": "y"}',
    "occurs in an earlier row of this file": b'{"id": "d3", "text": "another text"}',
    "is not a language tag": b'{"id": "x", "text": "y", "lang": ["en"]}',
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_is_a_reject_with_its_row_and_reason_and_its_neighbours_stay(tmp_path, reason):
    documents, rejects = ingest(tmp_path, {"a.jsonl": jsonl([*GOOD[:7], BAD[reason], *GOOD[7:]])})
    assert [d["id"] for d in documents] == [g["id"] for g in GOOD]
    assert [d["document"] for d in documents] == list(range(50))
    ((row, found, file),) = [(r["row"], r["reason"], r["file"]) for r in rejects]
    assert (row, file) == (8, "a.jsonl")
    assert reason in found
    assert rejects[0]["excerpt"] == BAD[reason].decode("utf-8", "replace")[:200]


def test_the_same_id_may_stand_in_two_files(tmp_path):
    documents, rejects = ingest(tmp_path, {"a.jsonl": jsonl(GOOD), "b.jsonl": jsonl(GOOD)})
    assert len(documents) == 100
    assert not rejects


def test_whole_numbers_are_identifiers_and_7_is_the_same_as_the_text_7(tmp_path):
    records = [{"id": 7, "text": "a"}, {"id": "7", "text": "b"}, {"id": -0, "text": "c"}, {"id": 10**30, "text": "d"}]
    documents, rejects = ingest(tmp_path, {"a.jsonl": jsonl(records)})
    assert [d["id"] for d in documents] == ["7", "0", str(10**30)]
    assert [(r["row"], "'7' occurs in an earlier row of this file" in r["reason"]) for r in rejects] == [(2, True)]


def test_any_bytes_are_documents_rejects_or_an_error_and_all_are_counted(tmp_path):
    numbers = random.Random(3)
    for turn in range(12):
        noise = [numbers.randbytes(numbers.randrange(30)).replace(b"\n", b"") for _ in range(20)]
        torn = [line[: numbers.randrange(len(line))] for line in jsonl(GOOD[:20]).splitlines()]
        content = [*jsonl(GOOD[20:]).splitlines(), *noise, *torn]
        numbers.shuffle(content)
        documents, rejects = ingest(tmp_path / str(turn), {"a.jsonl": jsonl(content)})
        assert {d["row"] for d in documents} | {r["row"] for r in rejects} == set(range(1, len(content) + 1))
        assert sorted(d["id"] for d in documents) == sorted(g["id"] for g in GOOD[20:])


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path):
    documents, rejects = ingest(tmp_path, {"a.jsonl": b"\xef\xbb\xbf" + jsonl(GOOD)})
    assert len(documents) == 50
    assert not rejects


def test_without_an_id_field_the_row_names_the_document(tmp_path):
    documents, _ = ingest(tmp_path, {"a.jsonl": jsonl([b"", {"text": "a"}, {"text": "b"}])}, id="")
    assert [d["id"] for d in documents] == ["row-2", "row-3"]


@pytest.mark.parametrize("kind", ["jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_truncated_file_is_an_error_that_names_file_and_row(tmp_path, kind, share):
    records = [{"id": f"d{i}", "text": f"{i * 7919 % 65537:x} {i * i * 31 % 999983:x}" * 8} for i in range(3000)]
    whole = pack(kind, jsonl(records))
    with pytest.raises(StudyError, match=rf"a\.{kind}.*after row \d+.*[Gg]et the file again"):
        ingest(tmp_path, {f"a.{kind}": whole[: int(len(whole) * share)]})


def test_a_zstd_file_truncated_between_or_inside_frames_is_an_error(tmp_path):
    first, second = (zstandard.ZstdCompressor(write_checksum=True).compress(jsonl(part)) for part in (GOOD[:25], GOOD[25:]))
    assert len(ingest(tmp_path, {"a.jsonl.zst": first + second})[0]) == 50
    for cut in (1, 3, 5, 9, len(second) - 1):
        with pytest.raises(StudyError, match="after row 25|after row 50"):
            ingest(tmp_path, {"a.jsonl.zst": first + second[:cut]})


@pytest.mark.parametrize("kind", ["jsonl.gz", "jsonl.zst"])
def test_a_file_that_is_not_what_its_name_says_is_an_error(tmp_path, kind):
    with pytest.raises(StudyError, match=f"a.{kind}"):
        ingest(tmp_path, {f"a.{kind}": jsonl(GOOD)})


def test_a_json_array_is_an_error_though_some_of_its_lines_look_like_records(tmp_path):
    with pytest.raises(StudyError, match=r"a\.jsonl: row 1 begins a JSON array"):
        ingest(tmp_path, {"a.jsonl": json.dumps(GOOD, indent=0).replace("\n}", "}").encode()})


@pytest.mark.parametrize("content", [b"", b"\n\n", b'[{"id": "a", "text": "b"}]\n', b"<html>\n</html>\n"])
def test_a_file_without_any_document_is_an_empty_corpus(tmp_path, content):
    with pytest.raises(StudyError, match="a.jsonl: empty corpus"):
        ingest(tmp_path, {"a.jsonl": content})


def test_a_pattern_without_files_is_an_error_that_says_where_it_looked(tmp_path):
    with pytest.raises(StudyError, match="nothing-"):
        plan(study(tmp_path, files=["nothing-*.jsonl"]), NOTHING)


def test_fields_are_joined_into_a_bilingual_document(tmp_path):
    records = [{"id": "1", "en": "Disks fail.", "de": "Platten sterben."}, {"id": "2", "en": "Only English."}]
    documents, rejects = ingest(tmp_path, {"a.jsonl": jsonl(records)}, join=["en", "de"], language="en-de")
    assert [(d["text"], d["language"]) for d in documents] == [("Disks fail.\nPlatten sterben.", "en-de")]
    assert "no field 'de'" in rejects[0]["reason"]


def test_a_dot_enters_a_field_of_text_of_id_of_joined_texts_and_of_a_split(tmp_path):
    pages = [f"page{i}" for i in range(40)]
    records = [{"meta": {"id": p}, "content": {"text": f"A {p}.", "more": ["B", "C"]}} for p in pages]
    records.append({"meta": {"id": "z"}, "content": {"body": "no text"}})
    split = {"pages": {"field": "meta.id", "pattern": "(page.*)"}}
    documents, rejects = ingest(
        tmp_path / "a", {"a.jsonl": jsonl(records)}, split, text="content.text", id="meta.id", held_out="pages"
    )
    assert 10 < len(documents) < 30
    assert all(d["text"] == f"A {d['id']}." for d in documents)
    assert {r["reason"] for r in rejects} == {"held out for evaluation (split pages)", "no field 'content.text'; there are body"}
    documents, _ = ingest(tmp_path / "b", {"a.jsonl": jsonl(records)}, join=["content.text", "content.more"], id="meta.id")
    assert documents[0]["text"] == "A page0.\nB\nC"


def test_joined_fields_may_be_lists_of_paragraphs_and_a_plain_text_may_not(tmp_path):
    records = [
        {"id": "1", "text": ["no"], "en": ["A game", "Of war."], "de": ["Ein Spiel", "Im Krieg."]},
        {"id": "2", "text": ["no"], "en": ["A game", None], "de": ["Ein Spiel"]},
    ]
    documents, rejects = ingest(tmp_path / "joined", {"a.jsonl": jsonl(records)}, join=["en", "de"])
    assert [d["text"] for d in documents] == ["A game\nOf war.\nEin Spiel\nIm Krieg."]
    assert [r["reason"] for r in rejects] == ["field 'en' is a list, not text"]
    documents, rejects = ingest(tmp_path / "plain", {"a.jsonl": jsonl([*records, GOOD[0]])})
    assert [r["row"] for r in rejects] == [1, 2]


@pytest.mark.parametrize(
    ("setting", "record", "language"),
    [
        ("", {}, ""),
        ("", {"lang": "de"}, "de"),
        ("fr", {"lang": "de"}, "fr"),
        ("fr", {"lang": ["bad"]}, "fr"),
        ("", {"lang": None}, ""),
    ],
)
def test_the_language_is_the_sources_or_the_records(tmp_path, setting, record, language):
    documents, _ = ingest(tmp_path, {"a.jsonl": jsonl([{"id": "1", "text": "x", **record}])}, language=setting)
    assert [d["language"] for d in documents] == [language]


def test_held_out_keys_leave_the_corpus_in_every_language_and_are_counted(tmp_path):
    records = [{"id": f"doc/{code}/page{i}.html", "text": "x"} for i in range(60) for code in ("en", "de", "fr")]
    split = {"pages": {"share": 0.5, "pattern": "([^/]+)$", "seed": 4}}
    documents, rejects = ingest(tmp_path, {"a.jsonl": jsonl(records)}, split, held_out="pages")
    inside, outside = {d["id"] for d in documents}, {r["id"] for r in records} - {d["id"] for d in documents}
    assert {i.rsplit("/")[-1] for i in inside}.isdisjoint(i.rsplit("/")[-1] for i in outside)
    assert len(inside) + len(rejects) == 180
    assert 45 < len(inside) < 135
    assert {r["reason"] for r in rejects} == {"held out for evaluation (split pages)"}


def test_a_record_whose_half_cannot_be_told_stays_out(tmp_path):
    records = [*({"id": f"page-{i}", "text": "x"} for i in range(20)), {"id": "no key here", "text": "x"}]
    _, rejects = ingest(tmp_path, {"a.jsonl": jsonl(records)}, {"p": {"pattern": "^(page-.*)"}}, held_out="p")
    assert [r["row"] for r in rejects if "finds no key" in r["reason"]] == [21]


def test_planted_shards_are_read_from_the_folder_of_their_part(tmp_path):
    world = Study.model_validate({"name": "t", "corpus": {"planted": {}}})
    labels = [{"kind": "corpus", "source": "planted", "file": f"shard-{i}.jsonl"} for i in (0, 1)]
    parts = tuple(Part("planted_files", f"k{i}", label) for i, label in enumerate(labels))
    tasks = Part("planted_files", "kt", {"kind": "tasks"})
    for i, part in enumerate(parts):
        folder = Store(str(tmp_path)).folder("planted_files", part.key)
        (folder / part.labels["file"]).write_bytes(jsonl(GOOD[i * 25 : i * 25 + 25]))
    jobs = plan(world, NOTHING | {"planted_files": (*parts, tasks)})
    assert [dict(j.labels) for j in jobs] == [{"source": "planted", "file": f"shard-{i}.jsonl"} for i in (0, 1)]
    assert [j.inputs["planted_files"] for j in jobs] == [(parts[0],), (parts[1],)]
    stage, store = INGEST.stages[0], Store(str(tmp_path))
    planned = [keyed(INGEST, 0, job) for job in jobs]
    for job in planned:
        run_job(store, job, stage, CONTRACTS)
    documents = read_rows(tmp_path, tuple(p.parts(stage)[0] for p in planned))
    assert [(d["id"], d["language"], d["source"]) for d in documents] == [(g["id"], "en", "planted") for g in GOOD]


def test_a_changed_file_changes_its_own_key_and_no_other(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_bytes(jsonl(GOOD))

    def keys():
        return [keyed(INGEST, 0, job).key for job in plan(study(tmp_path), NOTHING)]

    before = keys()
    assert len(set(before)) == 2
    (tmp_path / "b.jsonl").write_bytes(jsonl(GOOD[1:]))
    after = keys()
    assert after[0] == before[0]
    assert after[1] != before[1]


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_a_large_file_is_cut_into_pieces_of_equal_size_that_hold_each_record_once(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("tasks.text.lines.STRETCH", 50_000)
    random_text = random.Random(3)
    records = [
        {"id": f"d{i}", "text": "".join(random_text.choices("abcdefgh ", k=random_text.randrange(1, 4_000)))} for i in range(2_000)
    ]
    data = tmp_path / "data"
    data.mkdir()
    content = jsonl([*records[:70], b"", *records[70:]])
    (data / f"big.{kind}").write_bytes(pack(kind, content).rstrip(b"\n") if kind == "jsonl" else pack(kind, content))
    whole = study(data)
    pieces = whole.model_copy(update={"corpus": whole.corpus.model_copy(update={"partition": "1MB"})})
    assert len(plan(whole, NOTHING)) == 1
    tables = run_step(INGEST, pieces, tmp_path / "root", run_step(IDS, pieces, tmp_path / "root", NOTHING))
    assert len(tables["documents"]) >= 4
    documents, rejects = (read_rows(tmp_path / "root", tables[t]) for t in ("documents", "document_rejects"))
    assert sorted((d["row"], d["id"], d["text"]) for d in documents) == [
        (i + 1 + (i >= 70), r["id"], r["text"]) for i, r in enumerate(records)
    ]
    assert [r["row"] for r in rejects] == [71]
    sizes = [sum(len(d["text"]) for d in read_rows(tmp_path / "root", (p,))) for p in tables["documents"]]
    assert max(sizes) < 1.2 * min(sizes)


def cut_and_whole(tmp_path, monkeypatch, lines):
    """(documents, rejects) in the order of the file, of a file that is cut into pieces and of the same file as a whole."""
    monkeypatch.setattr("tasks.text.lines.STRETCH", 20_000)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "big.jsonl").write_bytes(jsonl(lines))
    whole = study(tmp_path / "data")
    pieces = whole.model_copy(update={"corpus": whole.corpus.model_copy(update={"partition": "1MB"})})
    for name, cut in (("cut", pieces), ("whole", whole)):
        root = tmp_path / name
        tables = run_step(INGEST, cut, root, run_step(IDS, cut, root, NOTHING))
        assert (len(tables["documents"]) > 2) == (name == "cut")
        yield [
            sorted((r | {"document": 0} for r in read_rows(root, tables[t])), key=lambda r: r["row"])
            for t in ("documents", "document_rejects")
        ]


def test_an_id_that_stands_twice_is_refused_alike_in_a_cut_file_and_in_a_whole_one(tmp_path, monkeypatch):
    """Repeats far apart and adjacent, in one chunk and in two; a record rejected for another reason does not claim its id."""
    draw = random.Random(5)
    records = [{"id": f"d{draw.randrange(3_000)}", "text": "x" * draw.randrange(0, 2_000)} for _ in range(3_000)]
    records[7:9] = [{"id": "late", "text": ""}, b"no json"]
    records += [
        {"id": "late", "text": "the first with a text"},
        {"id": "late", "text": "again"},
        {"id": 7, "text": "a"},
        {"id": "7", "text": "b"},
    ]
    cut, whole = cut_and_whole(tmp_path, monkeypatch, records)
    assert cut == whole
    repeated = [r["row"] for r in cut[1] if "occurs in an earlier row of this file" in r["reason"]]
    assert len(repeated) > 500
    assert repeated[-2:] == [3_002, 3_004]


@pytest.mark.parametrize("memory", [10**9, 20_000])
def test_repeats_are_found_some_at_a_time_where_not_all_ids_fit(tmp_path, memory):
    draw = random.Random(2)
    names = [f"d{draw.randrange(400)}" for _ in range(600)]
    marks = [hashlib.blake2b(n.encode(), digest_size=16).digest() for n in names]
    parts = tuple(
        write_part(
            tmp_path,
            "document_ids",
            {"row": list(range(a + 1, a + 101)), "mark": marks[a : a + 100]},
            {"source": "s", "file": "f", "piece": f"{a}"},
        )
        for a in range(0, 600, 100)
    )
    stage = IDS.stages[1]
    (job,) = stage.plan(study(tmp_path), {"document_ids": parts})
    planned, store = keyed(IDS, 1, replace(job, memory=memory)), Store(str(tmp_path))
    assert run_job(store, planned, stage, CONTRACTS)["passes"] == (1 if memory == 10**9 else 6)
    rows = read_rows(tmp_path, planned.parts(stage))
    assert [(r["row"], r["first_row"]) for r in rows] == [
        (i + 1, names.index(n) + 1) for i, n in enumerate(names) if n in names[:i]
    ]


def test_a_cut_file_without_a_document_is_an_empty_corpus(tmp_path):
    (tmp_path / "big.jsonl").write_bytes(b'{"body": "text"}\n' * 100_000)
    whole = study(tmp_path)
    pieces = whole.model_copy(update={"corpus": whole.corpus.model_copy(update={"partition": "1MB"})})
    with pytest.raises(StudyError, match=r"big\.jsonl: empty corpus: none of its 100000 records"):
        run_step(IDS, pieces, tmp_path / "root", NOTHING)

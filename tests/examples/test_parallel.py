"""Parallel text in its official layouts: what belongs together is brought together, and nothing else is."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.examples.readers import sgm as sgm_reader
from tests.examples.support import read_files, reasons

DE_EN = {"family": "translation", "languages": ["de", "en"]}

SOURCE = """<srcset setid="newstest2009" srclang="any">
<doc sysid="source" docid="napi.hu/2007/12/12/0" genre="news" origlang="hu">
<hl>
<seg id="1"> Banken im R&D-Test </seg>
</hl>
<p>
<seg id="2">Er sagte: &quot;5 < 6 &amp; gut&quot;.</seg>
<seg id="3">
Über zwei
Zeilen </seg>
</p>
</doc>
<DOC docid=cz/1><SEG ID=1>Ohne Gegenstück.</SEG><seg id='2'>Zwei auf einer Zeile.</seg></DOC>
</srcset>
"""
REFERENCE = """<refset setid="newstest2009" srclang="any" trglang="en">
<doc sysid="ref" docid="cz/1" genre="news" origlang="cz">
<seg id="2">Two on a line.</seg>
<seg id="9">Nothing translates this.</seg>
</doc>
<doc sysid="ref" docid="napi.hu/2007/12/12/0" genre="news" origlang="hu">
<seg id="1">Banks in R&D test</seg>
<seg id="2">He wrote, "5 < 6 & fine".</seg>
<seg id="3">On two lines</seg>
</doc>
<doc sysid="ref2" docid="napi.hu/2007/12/12/0" genre="news" origlang="hu">
<seg id="1">Banks put to the R&D test</seg>
</doc>
</refset>
"""


def sgm(folder: Path, source: str | bytes = SOURCE, reference: str | bytes = REFERENCE, **task):
    files = {"news-src.de.sgm": source, "news-ref.en.sgm": reference}
    return read_files(folder, files, reader="sgm", **DE_EN | task)


def test_sgm_pairs_segments_by_document_and_number_though_it_is_no_xml(tmp_path):
    examples, rejects, sums = sgm(tmp_path)
    assert {e["example"]: (e["row"], e["input"], e["output"], e["aliases"]) for e in examples} == {
        "napi.hu/2007/12/12/0/1": (1, "Banken im R&D-Test", "Banks in R&D test", ["Banks put to the R&D test"]),
        "napi.hu/2007/12/12/0/2": (2, 'Er sagte: "5 < 6 & gut".', 'He wrote, "5 < 6 & fine".', []),
        "napi.hu/2007/12/12/0/3": (3, "Über zwei Zeilen", "On two lines", []),
        "cz/1/2": (5, "Zwei auf einer Zeile.", "Two on a line.", []),
    }
    assert {e["group"] for e in examples} == {"de-en"}
    assert examples[0]["prompt"] == "German text: Zwei auf einer Zeile.\nEnglish translation:"
    found = reasons(rejects)
    assert "line 13: cz/1/1 has no reference in news-ref.en.sgm" in found[4]
    assert "cz/1/9 of news-ref.en.sgm has no source" in found[6]
    assert sums["records"] == 12


def test_a_duplicate_source_segment_is_a_reject_that_says_so(tmp_path):
    _, rejects, _ = sgm(tmp_path, SOURCE.replace("<SEG ID=1>", "<SEG ID=2>"))
    assert reasons(rejects)[5] == "line 13: duplicate cz/1/2; give it another number"


@pytest.mark.parametrize(
    ("side", "old", "new", "message"),
    [
        ("source", "R&D-Test </seg>", "R&D-Test", r"src.*row 4: <seg id='1'> is not closed before row 7"),
        (
            "source",
            "Zeilen </seg>\n</p>\n</doc>\n<DOC docid=cz/1><SEG ID=1>Ohne Gegenstück.</SEG><seg id='2'>Zwei auf einer Zeile."
            "</seg></DOC>\n</srcset>",
            "Zeilen",
            r"row 8: <seg id='3'> is never closed",
        ),
        ("source", "<SEG ID=1>", "<SEG>", r"row 13: a <seg> without id"),
        ("source", ' docid="napi.hu/2007/12/12/0"', "", r"row 4: a <seg> outside of a <doc"),
        ("reference", '<seg id="9">', '<seg id="2">', r"ref.*row 4: duplicate segment '2' of document 'cz/1'"),
        ("reference", REFERENCE, "<refset></refset>", r"no <seg> in it"),
    ],
)
def test_broken_sgm_is_an_error_with_file_row_and_what_is_wrong(tmp_path, side, old, new, message):
    whole = {"source": SOURCE, "reference": REFERENCE}
    assert old in whole[side]
    with pytest.raises(StudyError, match=message):
        sgm(tmp_path, **{side: whole[side].replace(old, new)})


def test_sgm_in_another_encoding_costs_the_segments_that_hold_it(tmp_path):
    latin = SOURCE.encode("latin-1")
    examples, rejects, _ = sgm(tmp_path / "a", latin)
    assert "set the task's `encoding`" in reasons(rejects)[3]
    assert len(examples) == 3
    examples, _, _ = sgm(tmp_path / "b", latin, encoding="latin-1")
    assert any(e["input"] == "Über zwei Zeilen" for e in examples)


_WORDS = st.text(st.sampled_from("ab &<>;\"'é1"), min_size=1, max_size=12).map(str.strip).filter(lambda t: any(map(str.isalnum, t)))


@given(st.lists(_WORDS, min_size=1, max_size=6), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sgm_gives_back_the_texts_that_were_written(tmp_path, texts, escaped):
    def written(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;") if escaped else text

    body = "".join(f'<seg id="{i}"> {written(t)} </seg>\n' for i, t in enumerate(texts, 1))
    path = tmp_path / "a.sgm"
    path.write_text(f'<srcset>\n<doc docid="d">\n{body}</doc>\n</srcset>\n', encoding="utf-8")
    assert [s.text for s in sgm_reader.segments(path, "utf-8")] == [" ".join(t.split()) for t in texts]


XML = """<?xml version='1.0' encoding='utf-8'?>
<dataset id="newstest2021">
 <collection id="general">
  <doc id="bbc.1" origlang="en" domain="news">
    <src lang="en"><p><seg id="1">Banks &amp; tests.</seg></p><p><seg id="2">Second.</seg><seg id="3"> </seg></p></src>
    <ref lang="cs" translator="A"><p><seg id="1">Banky.</seg></p></ref>
    <ref lang="de" translator="A"><p><seg id="1">Banken &amp; Tests.</seg><seg id="3">Leer.</seg></p></ref>
    <ref lang="de" translator="B"><p><seg id="1">Geldhäuser und
      Tests.</seg><seg id="2">Zweitens.</seg></p></ref>
    <hyp lang="de" system="online"><p><seg id="1">Banken.</seg></p></hyp>
  </doc>
  <doc id="bbc.2" origlang="de"><src lang="de"><p><seg id="1">Rückwärts.</seg></p></src></doc>
 </collection>
</dataset>
"""
EN_DE = {"family": "translation", "languages": ["en", "de"], "reader": "wmt_xml"}


def test_wmt_xml_takes_the_first_reference_of_the_language_and_the_others_as_aliases(tmp_path):
    examples, rejects, sums = read_files(tmp_path, {"a.xml": XML}, **EN_DE)
    assert [(e["example"], e["input"], e["output"], e["aliases"]) for e in examples] == [
        ("bbc.1/1", "Banks & tests.", "Banken & Tests.", ["Geldhäuser und Tests."]),
        ("bbc.1/2", "Second.", "Zweitens.", []),
    ]
    assert {r: t.split(";")[0] for r, t in reasons(rejects).items()} == {
        3: "no text in en",
        4: "document 'bbc.2' has no <src lang='en'>",
    }
    assert sums["records"] == 8


def test_a_named_translator_is_the_output_and_the_only_one(tmp_path):
    examples, rejects, _ = read_files(tmp_path, {"a.xml.gz": gzip.compress(XML.encode())}, translator="A", **EN_DE)
    assert [(e["output"], e["aliases"]) for e in examples] == [("Banken & Tests.", ["Geldhäuser und Tests."])]
    assert "no reference by translator 'A'; it has B" in reasons(rejects)[2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (XML.replace("&amp;", "&"), r"a\.xml: row 5: not XML: .*sgm"),
        (XML[:-20], "not XML: .*if it is truncated, get the file again"),
        (XML.replace("</doc>", "", 1), "row 13: not XML"),
        (XML[:500], "not XML"),
        (XML.encode().replace("ä".encode(), b"\xe4"), "row 8: not XML"),
        (XML.replace('"de"', '"fr"'), r"no record of it is an example.*has no <ref lang='de'>"),
    ],
)
def test_broken_xml_is_an_error_with_file_row_and_remedy(tmp_path, content, message):
    with pytest.raises(StudyError, match=message):
        read_files(tmp_path, {"a.xml": content}, **EN_DE)


# -- aligned files and tables --------------------------------------------------------------------------------------------
def test_aligned_files_are_read_side_by_side(tmp_path):
    files = {"ep.de": "Eins.\n\nDrei.\nVier.\r\n", "ep.en": b"One.\nTwo.\nThr\xffee.\n Four. "}
    examples, rejects, _ = read_files(tmp_path, files, reader="aligned", **DE_EN)
    assert [(e["row"], e["input"], e["output"], e["file"]) for e in examples] == [
        (1, "Eins.", "One.", "ep.de"),
        (4, "Vier.", "Four.", "ep.de"),
    ]
    assert reasons(rejects) == {2: "no text in de", 3: "bytes that are not utf-8; set the task's `encoding`"}


@pytest.mark.parametrize("shorter", ["ep.de", "ep.en"])
def test_files_that_are_not_aligned_are_an_error_that_names_the_row(tmp_path, shorter):
    files = {name: "Eins.\nZwei.\n" + ("" if name == shorter else "Drei.\n") for name in ("ep.de", "ep.en")}
    (longer,) = set(files) - {shorter}
    with pytest.raises(StudyError, match=rf"{longer}: row 3 has no counterpart: .*{shorter} ends at row 2\..*get them again"):
        read_files(tmp_path, files, reader="aligned", **DE_EN)


def test_two_file_readers_need_as_many_inputs_as_outputs(tmp_path):
    files = {"a.de": "x\n", "b.de": "x\n", "a.en": "y\n"}
    with pytest.raises(StudyError, match=r"takes two files: first the inputs, then the outputs; 3 named"):
        read_files(tmp_path, files, reader="aligned", **DE_EN)
    with pytest.raises(StudyError, match=r"'\*\.de' names 2 files of inputs and '\*\.en' 1 of outputs"):
        read_files(tmp_path, files, reader="aligned", evaluate=["*.de", "*.en"], **DE_EN)
    files["b.en"] = "z\n"
    examples, _, _ = read_files(tmp_path, files, reader="aligned", evaluate=["*.de", "*.en"], **DE_EN)
    assert [(e["example"], e["output"]) for e in examples] == [("a.de/0000001", "y"), ("b.de/0000001", "z")]


def test_tsv_takes_the_first_two_columns(tmp_path):
    content = b"Eins.\tOne.\tCC-BY\nallein\n\t\n\nZw\xf6lf.\tTwelve.\n"
    examples, rejects, _ = read_files(tmp_path, {"nc.tsv": content}, reader="tsv", **DE_EN)
    assert [(e["input"], e["output"]) for e in examples] == [("Eins.", "One.")]
    assert {row: text.split(",")[0].split(";")[0] for row, text in reasons(rejects).items()} == {
        2: "one column",
        3: "no text in de",
        4: "the line is empty",
        5: "bytes that are not utf-8",
    }


@pytest.mark.parametrize("reader", ["aligned", "tsv", "sgm", "wmt_xml", "parallel"])
def test_parallel_text_needs_two_languages(tmp_path, reader):
    files = {"a.de": "x\ty\n", "a.en": "y\n"} if reader in ("aligned", "sgm") else {"a.de": "x\ty\n"}
    with pytest.raises(StudyError, match="needs languages"):
        read_files(tmp_path, files, family="translation", reader=reader, languages=["de"])

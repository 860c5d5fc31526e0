"""WMT's test sets to 2020, as the shared task distributes them: two SGM files, e.g. newstest2009-src.de.sgm and …-ref.en.sgm.

    <srcset setid="newstest2009" srclang="any">
    <doc sysid="source" docid="napi.hu/2007/12/12/0" genre="news" origlang="hu">
    <seg id="1"> Banken im R&D-Test </seg>

It looks like XML and is not: `&` is not escaped, attributes lack quotation marks, and names come in either case. The first
reference is the output, the others are aliases.
"""

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from schemas import StudyError
from tasks.examples.record import Items, ReadSettings, Reject, TaskFile, language_pair, other_encoding, sentence_pair
from tasks.text.lines import decoded, excerpt, has_surrogates, lines

TWO_FILES = True
# Linear in the length of the line, whatever it contains: no tag contains a "<", and an attribute begins where a word begins.
_TAG = re.compile(r"<(/?)(doc|seg)\b([^<>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(?<![A-Za-z_])([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});")


class Segment(NamedTuple):
    """One sentence: document and number name it in both files; `line` is the one it begins in."""

    document: str
    number: str
    system: str
    text: str
    line: int


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of two files: segments with the same document and number belong together. Rows count the segments."""
    language_pair(file, settings)
    assert file.reference is not None
    references = _references(file.reference, settings["encoding"])
    row, seen = 0, set()
    for row, segment in enumerate(segments(file.path, settings["encoding"]), 1):
        translations = references.pop((segment.document, segment.number), None)
        name = f"{segment.document}/{segment.number}"
        problem = ""
        if name in seen:
            problem = f"line {segment.line}: duplicate {name}; give it another number"
        elif translations is None:
            problem = f"line {segment.line}: {name} has no reference in {file.reference.name}"
        elif any(map(has_surrogates, (segment.text, *translations))):
            problem = other_encoding(settings["encoding"])
        seen.add(name)
        if translations is None or problem:
            yield Reject(row, problem, excerpt(segment.text))
        else:
            yield sentence_pair(row, name, segment.text, translations, settings, {"document": segment.document})
    for extra, ((document, number), translations) in enumerate(references.items(), row + 1):
        yield Reject(extra, f"{document}/{number} of {file.reference.name} has no source", excerpt(translations[0]))


def _references(path: Path, encoding: str) -> dict[tuple[str, str], list[str]]:
    """The translations of each document and number, one per system. StudyError for duplicates and a file without any."""
    translations: dict[tuple[str, str], dict[str, str]] = {}
    for segment in segments(path, encoding):
        by_system = translations.setdefault((segment.document, segment.number), {})
        if segment.system in by_system:
            duplicate = f"duplicate segment {segment.number!r} of document {segment.document!r}"
            raise StudyError(f"{path}: row {segment.line}: {duplicate}; give it another number")
        by_system[segment.system] = segment.text
    if not translations:
        raise StudyError(f"{path}: no <seg> in it; the second file is the reference set (…-ref.….sgm)")
    return {name: list(by_system.values()) for name, by_system in translations.items()}


def segments(path: Path, encoding: str) -> Iterator[Segment]:
    """The segments of an SGM file. StudyError, naming the row, for one that is not closed or outside of a document."""
    document = system = ""
    opened: tuple[str, int] | None = None
    text: list[str] = []
    for row, line in lines(path):
        whole = decoded(line, encoding)
        end = 0
        for tag in _TAG.finditer(whole):
            closing, name = tag[1] == "/", tag[2].lower()
            attributes = {a[1].lower(): a[2] or a[3] or a[4] or "" for a in _ATTRIBUTE.finditer(tag[3])}
            if opened and not (closing and name == "seg"):
                problem = f"<seg id={opened[0]!r}> is not closed before row {row}; add a </seg>"
                raise StudyError(f"{path}: row {opened[1]}: {problem}")
            if closing and name == "seg" and opened:
                text.append(whole[end : tag.start()])
                plain = " ".join(_ENTITY.sub(lambda m: html.unescape(m[0]), " ".join(text)).split())
                yield Segment(document, opened[0], system, plain, opened[1])
                opened = None
            elif not closing and name == "seg":
                if not document or not attributes.get("id"):
                    missing = "without id" if document else "outside of a <doc docid=…>"
                    raise StudyError(f"{path}: row {row}: a <seg> {missing}; it cannot be matched with the other file")
                opened, text = (attributes["id"], row), []
            elif name == "doc":
                document, system = ("", "") if closing else (attributes.get("docid", ""), attributes.get("sysid", ""))
            end = tag.end()
        if opened:
            text.append(whole[end:])
    if opened:
        raise StudyError(f"{path}: row {opened[1]}: <seg id={opened[0]!r}> is never closed; get the file again")

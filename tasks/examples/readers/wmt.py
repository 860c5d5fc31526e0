"""WMT's test sets, as the shared task gives them out.

SGM, to 2020: two files, newstest2009-src.de.sgm and newstest2009-ref.en.sgm. It looks like XML and is none: `&` stands as it
is, attributes lack quotation marks, and names come in either case.

    <srcset setid="newstest2009" srclang="any">
    <doc sysid="source" docid="napi.hu/2007/12/12/0" genre="news" origlang="hu">
    <seg id="1"> Banken im R&D-Test </seg>

XML, from 2021: one file, with as many references as there are translators.

    <doc id="bbc.1" origlang="en"><src lang="en"><p><seg id="1">Banks are tested.</seg></p></src>
    <ref lang="de" translator="A"><p><seg id="1">Banken werden geprüft.</seg></p></ref></doc>

The first reference is the output, or that of the task's `translator`; the others are aliases.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

from schemas import StudyError
from tasks.examples.readers.parallel_text import language_pair, pair
from tasks.examples.record import Found, Refused, Settings, TaskFile, other_encoding
from tasks.text.lines import breaks_off, decoded, excerpt, has_surrogates, lines, open_bytes

# Time in proportion to the line, whatever is in it: no tag holds a "<", and an attribute begins where a word begins.
_TAG = re.compile(r"<(/?)(doc|seg)\b([^<>]*)>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""(?<![A-Za-z_])([A-Za-z_]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});")


class Segment(NamedTuple):
    """One sentence: document and number name it in both files; row is the line it begins in."""

    document: str
    number: str
    system: str
    text: str
    row: int


def read_sgm(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of two files: segments with the same document and number belong together. Rows count the segments."""
    language_pair(file, settings)
    assert file.reference is not None
    references: dict[tuple[str, str], dict[str, str]] = {}
    for segment in segments(file.reference, settings["encoding"]):
        of = references.setdefault((segment.document, segment.number), {})
        if segment.system in of:
            raise StudyError(
                f"{file.reference}: row {segment.row}: segment {segment.number!r} of document {segment.document!r} "
                "stands twice; number it anew"
            )
        of[segment.system] = segment.text
    if not references:
        raise StudyError(f"{file.reference}: no <seg> in it; the second file is the reference set (…-ref.….sgm)")
    row, seen = 0, set()
    for row, segment in enumerate(segments(file.path, settings["encoding"]), 1):
        found = references.pop((segment.document, segment.number), None)
        name = f"{segment.document}/{segment.number}"
        if name in seen:
            yield Refused(row, f"line {segment.row}: {name} stands twice; number it anew", excerpt(segment.text))
            continue
        seen.add(name)
        if found is None:
            yield Refused(
                row, f"line {segment.row}: {name} has no reference in {file.reference.name}", excerpt(segment.text)
            )
        elif any(map(has_surrogates, (segment.text, *found.values()))):
            yield Refused(row, other_encoding(settings["encoding"]), excerpt(segment.text))
        else:
            record = {"document": segment.document}
            yield pair(row, name, segment.text, _first(found, settings), settings, record)
    for extra, ((document, number), found) in enumerate(references.items(), row + 1):
        reason = f"{document}/{number} of {file.reference.name} has no source"
        yield Refused(extra, reason, excerpt(next(iter(found.values()))))


def segments(path: Path, encoding: str) -> Iterator[Segment]:
    """The segments of an SGM file. StudyError, naming the row, for one that is not closed or stands in no document."""
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
                raise StudyError(
                    f"{path}: row {opened[1]}: <seg id={opened[0]!r}> is not closed before row {row}; put a </seg>"
                )
            if closing and name == "seg" and opened:
                text.append(whole[end : tag.start()])
                yield Segment(document, opened[0], system, _plain(" ".join(text)), opened[1])
                opened = None
            elif not closing and name == "seg":
                if not document or not attributes.get("id"):
                    raise StudyError(
                        f"{path}: row {row}: a <seg> {'without id' if document else 'outside of a <doc docid=…>'}; "
                        "it cannot be found in the other file"
                    )
                opened, text = (attributes["id"], row), []
            elif name == "doc":
                document, system = ("", "") if closing else (attributes.get("docid", ""), attributes.get("sysid", ""))
            end = tag.end()
        if opened:
            text.append(whole[end:])
    if opened:
        raise StudyError(f"{path}: row {opened[1]}: <seg id={opened[0]!r}> is never closed; get the file again")


def _plain(text: str) -> str:
    return " ".join(_ENTITY.sub(lambda m: html.unescape(m[0]), text).split())


def read_xml(file: TaskFile, settings: Settings) -> Iterator[Found | Refused]:
    """Examples of one file; rows count the source segments. StudyError for what is not XML, with the line."""
    source, target = language_pair(file, settings)
    row = 0
    try:
        with open_bytes(file.path) as opened:
            for document in _documents(opened):
                for found in _document(document, source, target, settings, row):
                    row += 1
                    yield found
    except ElementTree.ParseError as error:
        raise StudyError(
            f"{file.path}: row {error.position[0]}: not XML: {error}. Older WMT files are SGM, which reader "
            '"sgm" takes; else get the file again'
        ) from None
    except (LookupError, ValueError) as error:  # of the encoding it names
        raise StudyError(f"{file.path}: row 1: cannot be read: {error}; convert it to UTF-8") from None
    except Exception as error:
        if not breaks_off(error):
            raise
        raise StudyError(
            f"{file.path}: cannot be read: {error}. Get the file again; none of its records were used."
        ) from None


def _documents(opened: Any) -> Iterator[Any]:
    """Each <doc>, whole. What stands between is let go of at once, however much it is."""
    above: list[Any] = []
    inside = 0
    for event, element in ElementTree.iterparse(opened, ("start", "end")):
        if event == "start":
            inside += element.tag == "doc"
            above.append(element)
            continue
        above.pop()
        if element.tag == "doc":
            inside -= 1
            yield element
            element.clear()
        if above and not inside:
            above[-1].remove(element)


def _document(document: Any, source: str, target: str, settings: Settings, row: int) -> Iterator[Found | Refused]:
    """The examples of one <doc>."""
    name = document.get("id", "")
    references: dict[str, dict[str, str]] = {}
    for order, reference in enumerate(e for e in document.iter("ref") if e.get("lang") == target):
        references[reference.get("translator", str(order))] = _numbered(reference)
    texts = next((_numbered(e) for e in document.iter("src") if e.get("lang", source) == source), None)
    if texts is None:
        yield Refused(row + 1, f"document {name!r} has no <src lang={source!r}>; set the task's `languages`", "")
        return
    for number, text in texts.items():
        row += 1
        found = {who: segments[number] for who, segments in references.items() if number in segments}
        if not found:
            yield Refused(row, f"{name}/{number} has no <ref lang={target!r}>", excerpt(text))
        elif settings["translator"] and settings["translator"] not in found:
            yield Refused(
                row,
                f"{name}/{number} has no reference by translator {settings['translator']!r}; it has " + ", ".join(found),
                excerpt(text),
            )
        else:
            yield pair(row, f"{name}/{number}", text, _first(found, settings), settings, {"document": name})


def _numbered(element: Any) -> dict[str, str]:
    """The segments of a <src> or <ref> by their number."""
    return {s.get("id", str(i)): " ".join("".join(s.itertext()).split()) for i, s in enumerate(element.iter("seg"), 1)}


def _first(found: dict[str, str], settings: Settings) -> list[str]:
    """The references, the wanted translator's first."""
    return [t for _, t in sorted(found.items(), key=lambda item: item[0] != settings["translator"])]

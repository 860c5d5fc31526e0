"""WMT's test sets from 2021: one XML file, with as many references as there are translators.

    <doc id="bbc.1" origlang="en"><src lang="en"><p><seg id="1">Banks are tested.</seg></p></src>
    <ref lang="de" translator="A"><p><seg id="1">Banken werden geprüft.</seg></p></ref></doc>

The output is the first reference, or that of the task's `translator`; the others are aliases.
"""

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree
from xml.parsers.expat import errors as _errors

from schemas import StudyError
from tasks.examples.record import Items, ReadSettings, Reject, TaskFile, language_pair, sentence_pair
from tasks.text.lines import excerpt, open_bytes, unreadable

SETTINGS = ("translator",)


def read(file: TaskFile, settings: ReadSettings) -> Items:
    """Examples of one file; rows count the source segments. StudyError for what is not XML, with the line."""
    languages = language_pair(file, settings)
    row = 0
    try:
        with open_bytes(file.path) as opened:
            for document in _documents(opened):
                for item in _items(document, *languages, settings, row):
                    row += 1
                    yield item
    except ElementTree.ParseError as error:
        cut = error.code in (_errors.codes[m] for m in (_errors.XML_ERROR_NO_ELEMENTS, _errors.XML_ERROR_UNCLOSED_TOKEN))
        remedy = "if it is truncated, get the file again, or set another `reader`" if cut else 'reader "sgm" reads older files'
        raise StudyError(f"{file.path}: row {error.position[0]}: not XML: {error}; {remedy}") from None
    except (LookupError, ValueError) as error:  # of the encoding it names
        raise StudyError(f"{file.path}: row 1: cannot be read: {error}; convert it to UTF-8") from None
    except Exception as error:
        raise unreadable(file.path, error) from None


def _documents(opened: Any) -> Iterator[Any]:
    """Each <doc>, whole. Everything between them is freed at once, however much it is."""
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


def _items(document: Any, source: str, target: str, settings: ReadSettings, rows: int) -> Items:
    """The examples and rejects of one <doc>; `rows` come before it."""
    name, wanted = document.get("id", ""), settings["translator"]
    by_translator: dict[str, dict[str, str]] = {}
    for order, reference in enumerate(e for e in document.iter("ref") if e.get("lang") == target):
        by_translator[reference.get("translator", str(order))] = _numbered(reference)
    texts = next((_numbered(e) for e in document.iter("src") if e.get("lang", source) == source), None)
    if texts is None:
        yield Reject(rows + 1, f"document {name!r} has no <src lang={source!r}>; set the task's `languages`", "")
        return
    for row, (number, text) in enumerate(texts.items(), rows + 1):
        translations = {who: segments[number] for who, segments in by_translator.items() if number in segments}
        if not translations:
            yield Reject(row, f"{name}/{number} has no <ref lang={target!r}>", excerpt(text))
        elif wanted and wanted not in translations:
            reason = f"{name}/{number} has no reference by translator {wanted!r}; it has {', '.join(translations)}"
            yield Reject(row, reason, excerpt(text))
        else:
            ordered = [t for _, t in sorted(translations.items(), key=lambda item: item[0] != wanted)]
            yield sentence_pair(row, f"{name}/{number}", text, ordered, settings, {"document": name})


def _numbered(element: Any) -> dict[str, str]:
    return {s.get("id", str(i)): " ".join("".join(s.itertext()).split()) for i, s in enumerate(element.iter("seg"), 1)}

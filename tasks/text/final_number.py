"""The number that a solved problem ends with, compared as a number: "1,000", "1000.0" and "$1000." are one answer.

"so 3 × 4 = 12"    12        "#### -$5"    -5        "it is .5"    0.5        "$\\boxed{\\frac{3}{4}}$"    3/4
"""

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

Number = Decimal | Fraction  # equal ones have equal hashes
_SIGN = r"(?:(?<![\w)])[-−])?"  # in "10-7" and "(3)-2" it subtracts
_WHOLE = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_QUOTIENT = r"(?<![\d./,])(?:\d+ )?\d+/0*[1-9]\d*(?![\d/]|[.,]\d)"  # 3/4 and 1 3/4, but no date
_NUMBER = re.compile(rf"{_SIGN}[$€£¥]?(?:{_QUOTIENT}|(?:{_WHOLE}(?:\.\d+)?|(?<![\w.])\.\d+)(?:[eE][-+]?\d\d?\d?(?!\w))?)")
_TEX_FRACTION = re.compile(r"(-?)(\d{1,99}(?=\\))?\\[dtc]?frac(?:{(\d{1,99})}|(\d))(?:{(\d{1,99})}|(\d))")
_TEX_TEXT = r"\\(?:text|textbf|mathbf|mathrm|mbox)\s*{([^{}]*)}"
_TEX_UNIT = re.compile(rf"{_TEX_TEXT}(?:\^{{?\d}}?)?|\^\s*{{?\s*\\circ\s*}}?|\\?%|(?<=\d)\s+[A-Za-z][A-Za-z. ]+$")
_TEX_SPACE = re.compile(r"\\(?:left|right|displaystyle)\b|\\[,!;:> ]|~|\s+|\\?\$|{(,)}")


def final_number(text: str) -> Number | None:
    r"""The number after the last `####`, else that in the last `\boxed{…}`, else the last of the text; None if there is none. After
    `####` it is the first. A box that holds anything else than one number or fraction, such as a root, is no number."""
    _, mark, after = text.rpartition("####")
    box = _boxed(after)
    if box is not None:
        return _in_box(box)
    numbers = _NUMBER.findall(after)
    return as_number(numbers[0] if mark else numbers[-1]) if numbers else None


def as_number(text: str) -> Number | None:
    """A number without its commas, currency signs and the full stops after it; None where nothing is left of it."""
    try:
        plain = re.sub("[,$€£¥]", "", text).replace("−", "-").strip().rstrip(".")
        if "/" not in plain:
            return Decimal(plain)
        whole, _, part = plain.rpartition(" ")
        return int(whole or 0) + Fraction(part) * (-1 if whole.startswith("-") else 1)
    except (InvalidOperation, ValueError, ZeroDivisionError):
        return None


def _boxed(text: str) -> str | None:
    r"""What the last \boxed{…} of the text holds; None without one that is closed."""
    begin = max(text.rfind(r"\boxed{"), text.rfind(r"\fbox{"))
    depth = 0
    for i in range(text.find("{", begin), len(text)) if begin >= 0 else ():
        depth += (text[i] == "{") - (text[i] == "}")
        if not depth:
            return text[text.find("{", begin) + 1 : i]
    return None


def _in_box(box: str) -> Number | None:
    """The number or fraction that LaTeX writes, without its unit, and without what it is equal to: `x = 5`."""
    text = re.sub(rf"\s*{_TEX_TEXT}\s*", r"\1", box) if re.fullmatch(rf"\s*{_TEX_TEXT}\s*", box) else _TEX_UNIT.sub("", box)
    if re.search(r",\s", text):
        return None  # several numbers
    text = _TEX_SPACE.sub(r"\1", text.rpartition("=")[2]).replace("−", "-").removeprefix("+")
    fraction = _TEX_FRACTION.fullmatch(text)
    if not fraction:
        return as_number(text) if _NUMBER.fullmatch(text) else None
    above, below = (int(part) for part in fraction.groups()[2:] if part)
    return Fraction(int(fraction[2] or 0) * below + above, below) * (-1 if fraction[1] else 1) if below else None

"""The trace page itself: one file with its style and its script inside, which loads the examples from the folder it lies in.

Its policy lets run only this one script, by its hash, and scripts of its own folder; nothing else is loaded, from nowhere.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from tasks.report.page.html import text

_NOT_PLAIN = re.compile("[<>\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\uffff]")


def script(value: Any) -> str:
    """JSON that is inert inside a script and a page: no tag, no line separator, no control or bidirectional character."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _NOT_PLAIN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def page(about: Mapping[str, Any]) -> str:
    """The whole of trace/index.html; `about`: study, title, tasks (name, family), models (name, parameters), smallest first."""
    here = Path(__file__).parent
    template, css, code = ((here / f"trace.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    inline = {"css": css, "css_hash": _hash(css), "code": code, "code_hash": _hash(code), "about": script(dict(about))}
    return Template(template).substitute(title=text(about["title"] or about["study"]), study=text(about["study"]), **inline)


def _hash(content: str) -> str:
    """As a Content-Security-Policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"

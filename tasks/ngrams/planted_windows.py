"""Windows of the texts that were inserted into a planted corpus, and of those drawn alike and never inserted.

One window per text, from its middle: each offset but 0 is equally likely. Each copy is a document of its own, and its beginning
would give it away: in the sample two tokens after an end of document name the text, so that a longer prefix adds nothing. From the
middle, more text is extracted after each further token. Entropy: the bits of the characters that the suffix's tokens stand for.
"""

from typing import Any

import numpy as np

from schemas import Study, StudyError
from schemas.tables.sequences import SEQUENCE_CANDIDATES
from tasks.step import Inputs, Job, Work
from tasks.text.bpe.tokenizer import load_tokenizer
from tasks.text.split import seeded_hash


def plan_planted(study: Study, inputs: Inputs) -> list[Job]:
    """One job for all texts, if the corpus has any and the study asks for them."""
    memorization = study.memorization
    if memorization is None or not study.planted_windows:
        return []
    settings = {"seed": study.seed, "prefix": memorization.prefix, "window": memorization.window}
    return [Job({"split": "planted"}, settings, {name: inputs[name] for name in ("insertions", "tokenizer")})]


def write_planted(work: Work) -> None:
    """Write all windows as candidates. Raises StudyError for a text with no place for a window, or whose window is another's."""
    seed, prefix, window = (work.settings[name] for name in ("seed", "prefix", "window"))
    tokenizer, rows = load_tokenizer(work.read("tokenizer", "json").column(0)[0].as_py()), list[dict[str, Any]]()
    same: dict[tuple[int, ...], str] = {}
    for text in work.read("insertions").to_pylist():
        encoded = tokenizer.encode(text["text"], add_special_tokens=False)
        name, places = text["text_id"], len(encoded.ids) - window
        if places < 1:
            raise StudyError(
                f"the planted text {name} has {len(encoded.ids)} tokens, too few for a window of {window} after its first token; "
                "raise corpus.planted.insertions.words, or set memorization.prefix and suffix to fewer tokens"
            )
        offset = 1 + seeded_hash(seed, "offset", name) % places
        ids = encoded.ids[offset : offset + window]
        if (other := same.setdefault(tuple(ids), name)) != name:
            raise StudyError(
                f"the windows of the planted texts {other} and {name} are the same {window} tokens; set memorization.prefix or "
                "suffix to more tokens, or insert fewer sentences"
            )
        begin, end = (encoded.offsets[offset + at - 1][1] for at in (prefix, window))
        sample = "planted" if text["copies"] else "planted_phantoms"
        place = {"source": "planted", "document": min(text["documents"], default=name), "offset": offset}
        what = {"sample": sample, "group": text["group"], "ids": ids, "entropy": float(np.sum(text["bits"][begin:end]))}
        key = {"hash": seeded_hash(seed, "sequences", sample, name), "copies": text["copies"]}
        rows.append(place | what | key)
    rows.sort(key=lambda row: (row["sample"], row["hash"]))
    work.write("sequence_candidates", {name: [row[name] for row in rows] for name in SEQUENCE_CANDIDATES.schema.names})

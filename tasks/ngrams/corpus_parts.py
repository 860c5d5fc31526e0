"""Whether tokens are those of the tokenizer beside them; `same_analyzer` in queries.py says the same of words."""

from __future__ import annotations

from schemas import StudyError
from tasks.step import Work


def same_tokenizer(work: Work) -> None:
    """StudyError where a tokens part of the job says that it was made with another tokenizer: its ids mean other tokens."""
    here = [part.key for part in work.job.inputs.get("tokenizer", ())]
    for part in work.job.inputs.get("tokens", ()):
        made = work.store.footer(part).get("inputs", {}).get("tokenizer", here)
        if made != here:
            raise StudyError(
                f"{work.store.part_path(part)}: made with the tokenizer {', '.join(made)}, this study's is {', '.join(here)}. "
                "Run the study again from tokens: it makes what belongs to its tokenizer."
            )

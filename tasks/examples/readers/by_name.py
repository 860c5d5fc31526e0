"""The readers by the name a study gives them. docs/tasks.md says what each reads."""

from __future__ import annotations

from tasks.examples.readers import (
    gsm8k,
    hub,
    json_lines,
    multiple_choice,
    open_questions,
    parallel_text,
    pararel,
    triviaqa,
    wmt,
)
from tasks.examples.record import Reader

READERS: dict[str, Reader] = {
    "planted": json_lines.read,
    "jsonl": json_lines.read,
    "parallel": parallel_text.read,
    "aligned": parallel_text.read_aligned,
    "tsv": parallel_text.read_tsv,
    "sgm": wmt.read_sgm,
    "wmt_xml": wmt.read_xml,
    "triviaqa": triviaqa.read_triviaqa,
    "nq_open": open_questions.read_nq_open,
    "opentriviaqa": open_questions.read_opentriviaqa,
    "pararel": pararel.read_pararel,
    "mmlu": multiple_choice.read_mmlu,
    "arc": multiple_choice.read_arc,
    "gsm8k": gsm8k.read_gsm8k,
    "hf": hub.read_hub,
}
TWO_FILES = ("aligned", "sgm")  # inputs in one file, outputs in another

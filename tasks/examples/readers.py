"""The readers by the name a study gives them. docs/tasks.md says what each reads."""

from __future__ import annotations

from tasks.examples import facts, general, hub, math, multiple_choice, qa, translation, triviaqa, wmt
from tasks.examples.record import Reader

READERS: dict[str, Reader] = {
    "planted": general.read,
    "jsonl": general.read,
    "parallel": translation.read,
    "aligned": translation.read_aligned,
    "tsv": translation.read_tsv,
    "sgm": wmt.read_sgm,
    "wmt_xml": wmt.read_xml,
    "triviaqa": triviaqa.read_triviaqa,
    "nq_open": qa.read_nq_open,
    "opentriviaqa": qa.read_opentriviaqa,
    "pararel": facts.read_pararel,
    "mmlu": multiple_choice.read_mmlu,
    "arc": multiple_choice.read_arc,
    "gsm8k": math.read_gsm8k,
    "hf": hub.read_hub,
}
TWO_FILES = ("aligned", "sgm")  # inputs in one file, outputs in another

"""The readers take every record of the official files in shared/data/tasks: as an example, or as a reject with its reason."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.examples.support import DATA, read, real, study


@real
@pytest.mark.parametrize(
    ("reader", "family", "files", "records", "rejects"),
    [
        ("gsm8k", "math", "tasks/gsm8k/train.jsonl", 7_473, 0),
        ("mmlu", "multiple_choice", "tasks/mmlu/val/*.csv", 1_542, 1),  # 60,000,000 is right and wrong
        ("mmlu", "multiple_choice", "tasks/mmlu/dev/*.csv", 285, 0),
        ("nq_open", "qa", "tasks/nq_open/*.jsonl", 3_610, 2),  # "---" and ")"
        ("opentriviaqa", "qa", "tasks/opentriviaqa/[a-z]*", 33_201, 22),  # of another encoding
        ("opentriviaqa", "multiple_choice", "tasks/opentriviaqa/[a-z]*", 33_201, 29),
        ("parallel", "translation", "tasks/translation/handbook_parallel.jsonl", 2_365, 0),
        ("parallel", "translation", "tasks/translation/descriptions_en-de.jsonl.zst", 13_161, 0),
        ("parallel", "translation", "tasks/translation/descriptions_en-fr.jsonl.zst", 19_519, 0),
        ("pararel", "qa", "tasks/pararel/P*.jsonl", 3_128, 0),
    ],
)
def test_every_record_is_an_example_or_a_reject_with_a_reason(tmp_path, reader, family, files, records, rejects):
    settings = study(
        DATA, family=family, reader=reader, evaluate=[files], mine_limit=1, languages=["en", "fr" if "en-fr" in files else "de"]
    )
    rows, all_rejects, sums = read(tmp_path, settings)
    examples = [e for e in rows if e["split"] == "evaluate"]
    refused = [r for r in all_rejects if r["split"] == "evaluate"]
    assert len(examples) + len(refused) == records
    assert len(refused) == rejects, Counter(r["reason"] for r in refused)
    assert sums["records"] == 2 * records
    assert all(r["reason"] for r in refused)
    if reader == "pararel":
        assert Counter(e["group"] for e in examples) == {"P103": 919, "P19": 779, "P30": 959, "P36": 471}
        assert all(e["input"] in e["prompt"] and e["prompt"].endswith((" in", " is")) for e in examples)
    if reader == "gsm8k":
        assert not any("<<" in e["output"] for e in examples)
        assert all("\n#### " in e["output"] for e in examples)
    if reader == "mmlu":
        assert len({e["group"] for e in examples}) == 57

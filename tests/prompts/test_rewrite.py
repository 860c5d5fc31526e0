"""What proposes prompts: files as users write them, and requests to a model with its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from schemas import StudyError
from tasks.prompts.candidate import TaskPrompt
from tasks.prompts.rewrite import model_rewriter, read_back, read_candidates, request

OWN = TaskPrompt("", "Question: {input}\nAnswer: ")


def test_a_text_file_has_a_template_a_line(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("Tell me: {input}\\nIt is: \r\n\n# {input} #\n", encoding="utf-8")
    assert read_candidates(path, TaskPrompt("Be brief. ", OWN.template)) == (
        TaskPrompt("Be brief. ", "Tell me: {input}\nIt is: "),
        TaskPrompt("Be brief. ", "# {input} #"),
    )


def test_json_lines_may_change_the_instruction(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    rows = [{"prompt": "Tell:\n{input}"}, {"instruction": "Now. "}, {"prompt": "{input}", "instruction": ""}]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert read_candidates(path, TaskPrompt("Be brief. ", "{input}?")) == (
        TaskPrompt("Be brief. ", "Tell:\n{input}"),
        TaskPrompt("Now. ", "{input}?"),
        TaskPrompt("", "{input}"),
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.jsonl", b'{"prompt": "a"}\n{"prompt": 3}', "row 2"),
        ("p.jsonl", b'{"prompt": "a"}\n\n{"prompt', "row 3: not JSON"),
        ("p.jsonl", b'{"template": "{input}"}', "row 1"),
        ("p.jsonl", b"[]", "row 1"),
        ("p.txt", b"\n \n", "no prompt"),
        ("p.txt", b"\xff\xfe{input}", "not UTF-8"),
        ("gone.txt", None, "cannot be read"),
    ],
)
def test_a_bad_file_is_named_with_its_row(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StudyError, match=words) as error:
        read_candidates(path, OWN)
    assert str(path) in str(error.value)


def test_a_request_is_one_line_and_names_the_placeholders() -> None:
    text = request(OWN)
    assert text.endswith("Instruction: Question: {input}\\nAnswer:\nRewritten:")
    assert "{input} must stay in it, as it is." in text
    both = request(TaskPrompt("", "{input}\n{options}\nAnswer: "))
    assert "{input} and {options} must stay in it, as they are." in both
    assert "{" not in request(TaskPrompt("Be brief. ", OWN.template)), "an instruction has nothing to keep"


def test_an_answer_replaces_the_text_that_was_to_be_rewritten() -> None:
    assert read_back(' - "Say: {input}\\nNow:"\nmore', OWN) == TaskPrompt("", "Say: {input}\nNow:")
    assert read_back("Be short.", TaskPrompt("Be brief. ", OWN.template)) == TaskPrompt("Be short.", OWN.template)
    assert read_back("3) Say “{input}”", OWN) == TaskPrompt("", "Say “{input}”")


def test_each_proposal_has_draws_of_its_own() -> None:
    seen: list[str] = []

    def ask(texts: Sequence[str], names: Sequence[str]) -> list[str]:
        seen.extend(names)
        return ["{input}"] * len(texts)

    propose = model_rewriter(ask)
    for direction in ("maximise", "minimise"):
        for number in (1, 2):
            assert len(propose(OWN, direction, number, 3)) == 3
    assert len(set(seen)) == 12

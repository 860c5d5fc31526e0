"""The tokenizer is trained to the same bytes each time, is lossless, and finds where a continuation begins."""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, read_tokenizer, tokenise, train, vocabulary_size, with_token

TEXTS = [f"The capital of Maron{i % 7} is Torin{i % 5}; größer als {i}, 漢字 {i * i}." for i in range(300)]
END = "<|end|>"
SCRIPT = f"""
from tasks.text.bpe.tokenizer import train
from tests.text.test_bpe import TEXTS
import hashlib
print(hashlib.sha256(train(TEXTS, 400, {END!r}).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(train(TEXTS, 400, END))


def test_training_twice_gives_the_same_json_in_any_process_with_any_number_of_threads():
    assert train(TEXTS, 400, END) == train(iter(TEXTS), 400, END)
    seen = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads},
        ).stdout
        for seed, threads in (("1", "1"), ("2", "3"))
    }
    assert len(seen) == 1


def test_other_texts_give_another_tokenizer():
    assert train(TEXTS, 400, END) != train(TEXTS[:100], 400, END)


def test_the_vocabulary_is_as_large_as_asked_and_holds_the_end_of_document(tokenizer):
    assert vocabulary_size(tokenizer) == 400
    text, end = with_token(train(TEXTS, 400, END), END)
    assert load_tokenizer(text).token_to_id(END) == end < 400
    longer, added = with_token(train(TEXTS, 400, END), "<|other|>")
    assert added == 400
    assert vocabulary_size(load_tokenizer(longer)) == 401


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_text_comes_back_from_its_tokens(tokenizer, text):
    (ids,) = encode_batch(tokenizer, [text])
    assert tokenizer.decode(ids, skip_special_tokens=False) == text


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("Torin größ漢字 \U0001f600."), min_size=1, max_size=20))
def test_offsets_are_code_points_and_leave_no_gap(tokenizer, text):
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    covered = {i for a, b in offsets for i in range(a, b)}
    assert covered == set(range(len(text)))


def test_no_special_token_is_made_of_text_or_put_around_it(tokenizer):
    (ids,) = encode_batch(tokenizer, [f"one {END} two"])
    assert tokenizer.token_to_id(END) not in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == f"one {END} two"


def test_a_tokenizer_that_is_not_there_or_not_one_is_an_error_with_its_path(tmp_path):
    with pytest.raises(StudyError, match="absent.json"):
        read_tokenizer(tmp_path / "absent.json")
    whole = train(TEXTS, 300, END).encode()
    broken = {
        "list.json": b"[1, 2]",
        "other.json": b'{"a": 1}',
        "torn.json": whole[:-40],
        "raw.json": b"\xff\xfe",
        "empty.json": b"",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StudyError, match=name):
            read_tokenizer(tmp_path / name)


def test_a_given_tokenizer_adds_cuts_and_pads_nothing(tokenizer):
    from tokenizers import processors

    given = load_tokenizer(train(TEXTS, 400, END))
    end = given.token_to_id(END)
    given.post_processor = processors.TemplateProcessing(single=f"{END} $A {END}", special_tokens=[(END, end)])
    given.enable_truncation(5)
    given.enable_padding(length=50, pad_id=end, pad_token=END)
    text = TEXTS[17]
    assert given.encode(text).ids != tokenizer.encode(text).ids
    assert load_tokenizer(given.to_str()).encode(text).ids == tokenizer.encode(text).ids


# -- continuations ----------------------------------------------------------------------------------------------------
def test_a_continuation_begins_with_the_space_and_is_counted_from_the_output(tokenizer):
    (found,) = tokenise(tokenizer, [("The capital of Maron3 is", " ", "Torin2")])
    continuation = found.ids[found.begin :]
    assert tokenizer.decode(continuation) == " Torin2"
    assert tokenizer.decode(found.ids[: found.begin]) == "The capital of Maron3 is"
    assert found.starts[0] == -1, "the first token is ' Torin', not 'Torin'"
    assert found.ends[-1] == len("Torin2")
    assert not found.straddles
    assert "Torin2" not in [tokenizer.decode([i]) for i in tokenizer.encode(" Torin2").ids]


def test_offsets_of_a_continuation_count_code_points_not_bytes(tokenizer):
    (found,) = tokenise(tokenizer, [("größer 漢字 \U0001f600:", "\n ", "漢字 \U0001f680 ü x")])
    assert found.starts[0] == -2
    assert found.ends[-1] == len("漢字 \U0001f680 ü x") == 8
    rocket = [(a, b) for a, b in zip(found.starts, found.ends, strict=True) if a <= 3 < b]
    assert len(rocket) > 1, "a character of several bytes is several tokens"
    assert set(rocket[1:]) == {(3, 4)}


def test_a_token_over_the_prompts_edge_is_flagged_and_belongs_to_the_continuation():
    tokenizer = load_tokenizer(train(["abcd abcd abcd abcd"] * 50, 300, END))
    assert len(tokenizer.encode("abcd").ids) == 1
    (found,) = tokenise(tokenizer, [("ab", "", "cd")])
    assert found.straddles
    assert (found.begin, found.starts, found.ends) == (0, [-2], [2])
    (apart,) = tokenise(tokenizer, [("abcd", " ", "abcd")])
    assert not apart.straddles
    assert (apart.begin, apart.starts, apart.ends) == (1, [-1], [4])


@settings(max_examples=150, deadline=None)
@given(*[st.text(st.sampled_from("Torin größ漢字 \U0001f600.\n"), min_size=1, max_size=12)] * 2, st.sampled_from(["", " ", "\n\n"]))
def test_a_continuation_covers_the_output_and_its_separator_whole(tokenizer, prompt, output, separator):
    (found,) = tokenise(tokenizer, [(prompt, separator, output)])
    assert found.ids == tokenizer.encode(prompt + separator + output).ids
    covered = {i for a, b in zip(found.starts, found.ends, strict=True) for i in range(a, b)}
    assert covered >= set(range(-len(separator), len(output)))
    assert found.straddles == (min(covered) < -len(separator))

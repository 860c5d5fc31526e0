"""The compiled tokeniser gives the ids of the tokenizers library, on every text and for every tokenizer."""

import gzip
import io
import json
import random
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from schemas import StudyError, load_study
from tasks.text.bpe.code_points import byte_letters
from tasks.text.bpe.fast_bpe import compile_tokenizer
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, train
from tests.machine import without

END = "<|endoftext|>"
TEXTS = [
    f"The capital of Maron{i % 7} isn't Torin{i % 5};\n\n\tgrößer als {i * 1237}    {END}, WE'LL 漢字 {i * i}.  e\u0301té\r\n ..."
    for i in range(300)
]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
SPACES = [AddedToken(" " * n, normalized=True) for n in (24, 8, 4, 3, 2)]
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split(expression, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(expression), behavior, invert), BYTES])


PRE_TOKENIZERS = {
    "gpt2": BYTE_LEVEL,
    "gpt2 as a split": split(GPT2),
    "llama3": split(LLAMA3),
    "qwen2": split(QWEN2, "removed", True),
    "prefix space": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "each digit": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL]),
    "digit runs, prefix space": pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()]),
    "digits and llama3": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex(LLAMA3), "isolated"), BYTES]
    ),
    "no expression": BYTES,
}
KINDS = [*PRE_TOKENIZERS, "nfc, runs of spaces", "tokens in the raw text", "ignore merges", "two ways to a token"]


@cache
def tokenizer_json(kind: str) -> str:
    """A small BPE of a kind. Its merges were learnt over the edges of pre-tokens, so that an edge out of place changes ids."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=kind == "ignore merges"))
    tokenizer.pre_tokenizer = BYTES
    tokenizer.decoder = decoders.ByteLevel()
    if kind in ("nfc, runs of spaces", "tokens in the raw text"):
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC()])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, special_tokens=[END], show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*TEXTS, *mixed_texts(400)], trainer=trainer)
    tokenizer.pre_tokenizer = PRE_TOKENIZERS.get(kind, BYTE_LEVEL)
    if kind == "nfc, runs of spaces":
        tokenizer.add_tokens([*SPACES, AddedToken("é", normalized=True)])
    if kind == "tokens in the raw text":
        raw = [AddedToken(t, normalized=False) for t in ("e\u0301", "apital", "<|end", "of the", "of")]
        tokenizer.add_tokens([*raw, AddedToken("endo", normalized=True)])
        tokenizer.add_special_tokens([AddedToken("[mask]", lstrip=True)])
    text = tokenizer.to_str()
    if kind == "ignore merges":  # tokens that no merge makes, one of them long
        parsed = json.loads(text)
        for token in ("ĠTorinĠTorin", "Torin0Torin", "x" * 90):
            parsed["model"]["vocab"][token] = len(parsed["model"]["vocab"])
        text = json.dumps(parsed)
    if kind == "two ways to a token":
        parsed = json.loads(text)
        made = {"".join(m) for m in parsed["model"]["merges"]}
        other = [[t[:k], t[k:]] for t in sorted(made) for k in (1, 2) if t[:k] in made | alphabet_of(t) and t[k:] in made]
        merges = parsed["model"]["merges"]
        parsed["model"]["merges"] = [m for pair in zip(other, merges, strict=False) for m in pair] + merges[len(other) :]
        text = json.dumps(parsed)
    return text


def alphabet_of(token: str) -> set[str]:
    return set(token)


def library_ids(json_text, texts):
    return encode_batch(load_tokenizer(json_text), texts)


def assert_same(json_text, texts):
    ids, offsets = compile_tokenizer(json_text).encode(pa.array(texts, pa.string()))
    assert ids.dtype == np.int32
    assert offsets.dtype == np.int64
    assert len(offsets) == len(texts) + 1
    found = [ids[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    wanted = library_ids(json_text, texts)
    different = [(t[:200], f[:50], w[:50]) for t, f, w in zip(texts, found, wanted, strict=True) if f != w]
    assert not different, different[:3]


def mixed_texts(number: int) -> list[str]:
    """What tokenisers treat in different ways, side by side."""
    draw = random.Random(number)
    pieces = [
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "'s",
        "'LL",
        "'ſ",
        "a",
        "Torin",
        "7",
        "123456",
        "½",
        "٣",
        "\u00a0",
        "\u3000",
        "\u2028",
        "\u0085",
        "漢字",
        "e\u0301",
        "é",
        "\u0323\u0307",
        "가",
        "\u1100\u1161",
        "\U0001f468\u200d\U0001f469",
        "\U0001f1e9\U0001f1ea",
        "!",
        "...",
        "/",
        "<|",
        END,
        "<|end",
        "of",
        "of the",
        "[mask]",
        "\x00",
        "\x1b[1m",
        "\u212b",
        "क\u093c",
        "ก\u0e38",
        "\u0958",
        "\U0001d15e",
        "\ufeff",
        "\u180e",
        "\u200b",
        "ß",
        "\uffff",
        "\U0010ffff",
        "x" * 90,
        "    " * 5,
    ]
    return ["".join(draw.choices(pieces, k=draw.randint(1, 30))) for _ in range(number)]


def hard_texts() -> list[str]:
    """Mixtures, noise, rare code points, long pre-tokens."""
    draw = random.Random(3)
    noise = [draw.randbytes(draw.randint(1, 200)).decode(errors="replace") for _ in range(200)]
    points = [chr(draw.choice([draw.randrange(0x300), draw.randrange(0x3000), draw.randrange(0x20000)])) for _ in range(3000)]
    wild = ["".join(points[k : k + 20]).encode(errors="replace").decode() for k in range(0, 3000, 20)]
    long = [
        "a" * 100_000,
        " " * 100_000,
        "\n" * 5_000,
        "ab1 " * 20_000,
        "é" * 20_000,
        "e\u0301" * 3_000,
        "=" * 20_000,
        "1" * 10_000,
        " \t" * 10_000 + "x",
        "Torin" * 9_000,
        "漢" * 20_000,
        "\u0301" * 2_000,
    ]
    return ["", *TEXTS[:20], *mixed_texts(1500), *noise, *wild, *long, "", f"a{END}b", END, " " + END + " " + END]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_the_librarys_on_hard_texts(kind):
    tokeniser = compile_tokenizer(tokenizer_json(kind))
    assert tokeniser.fast, tokeniser.why
    assert_same(tokenizer_json(kind), hard_texts())


@cache
def edges_json(kind: str) -> str:
    """A BPE that joins a, 1, space and ! with any byte before or after it, so that its ids show where pre-tokens end."""
    letters = {b: c for c, b in byte_letters().items()}
    others = [*range(0x01, 0x20), *range(0x80, 0xF5)]
    pairs = [(letters[ord(x)], letters[b]) for x in "a1 !" for b in others]
    merges = pairs + [(b, a) for a, b in pairs]
    names = [*letters.values(), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[kind]
    return tokenizer.to_str()


@pytest.mark.parametrize("kind", ["gpt2", "qwen2", "each digit"])
def test_every_code_point_is_in_the_librarys_class(kind):
    points = [chr(p) for p in (*range(1, 0xD800), *range(0xE000, 0x110000))]
    texts = [f"a{c}a1{c}1!{c}! {c} \n" for c in points if ord(c) < 0x20000 or ord(c) % 64 == 0 or 0xE0000 <= ord(c) < 0xE0200]
    assert_same(edges_json(kind), ["".join(texts[k : k + 64]) for k in range(0, len(texts), 64)])


def test_nfc_is_the_librarys_for_every_code_point():
    points = [chr(p) for p in (*range(1, 0xD800), *range(0xE000, 0x30000), *range(0xE0000, 0xE0200))]
    assert_same(tokenizer_json("nfc, runs of spaces"), [f"a{c}\u1100{c}" for c in points])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.text(max_size=60) | st.text(" \t\n\rae'sLlTt1.é\u0301\u00a0<|endoftext>", max_size=60)))
@example("gpt2", [])
@example("gpt2", ["", ""])
def test_ids_are_the_librarys_on_any_text(kind, texts):
    assert_same(tokenizer_json(kind), texts)


def test_a_tokenizer_trained_here_is_compiled():
    text = train(TEXTS, 400, END)
    assert compile_tokenizer(text).fast
    assert_same(text, TEXTS)
    ids, _ = compile_tokenizer(text).encode(pa.array([f"one {END} two"]))
    assert load_tokenizer(text).token_to_id(END) not in ids, "the end of a document is no text of one"


def test_a_cache_that_is_full_is_emptied_and_changes_nothing():
    tokeniser = compile_tokenizer(tokenizer_json("ignore merges"))
    draw, entries = random.Random(5), []
    for _ in range(5):
        assert_same(tokenizer_json("ignore merges"), [" ".join(str(draw.getrandbits(60)) for _ in range(70_000)), "Torin0Torin"])
        entries.append(int(tokeniser.cache.used[0]))
    assert entries != sorted(entries), "it was never full"


def test_slices_chunks_and_both_kinds_of_strings_are_read_where_they_lie():
    tokeniser = compile_tokenizer(tokenizer_json("nfc, runs of spaces"))
    wanted = [i for ids in library_ids(tokenizer_json("nfc, runs of spaces"), TEXTS[3:40]) for i in ids]
    for kind in (pa.string(), pa.large_string()):
        whole = pa.array(TEXTS, kind)
        for texts in (whole[3:40], pa.chunked_array([whole[3:10], whole[10:10], whole[10:40]])):
            ids, offsets = tokeniser.encode(texts)
            assert ids.tolist() == wanted
            assert len(offsets) == 38
        assert tokeniser.encode(whole[:0])[1].tolist() == [0]
        assert tokeniser.encode(pa.array(["", ""], kind))[1].tolist() == [0, 0, 0]
    assert tokeniser.encode(pa.chunked_array([], pa.string()))[1].tolist() == [0]


def test_what_is_no_text_is_refused():
    tokeniser = compile_tokenizer(tokenizer_json("gpt2"))
    with pytest.raises(ValueError, match="null"):
        tokeniser.encode(pa.array(["a", None]))
    with pytest.raises(TypeError, match="int64"):
        tokeniser.encode(pa.array([1, 2]))
    with pytest.raises(StudyError, match=r"tokenizer\.json"):
        compile_tokenizer("{}")


def test_offsets_of_tokens_count_code_points():
    starts, ends = compile_tokenizer(train(TEXTS, 400, END)).token_offsets("größer \U0001f600")
    assert starts[0] == 0
    assert ends[-1] == 8
    assert {i for a, b in zip(starts, ends, strict=True) for i in range(a, b)} == set(range(8))


# -- what is not covered ----------------------------------------------------------------------------------------------
def uncovered() -> dict[str, Tokenizer]:
    """Tokenizers that the library runs, by a word of the reason."""
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "The": 1, "capital": 2, "##s": 3}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    meta = Tokenizer(models.BPE())
    meta.pre_tokenizer = pre_tokenizers.Metaspace()
    meta.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    found = {"WordPiece": pieces, "Metaspace": meta}
    for reason in ("Lowercase", "splits at", "strips", "dropout", "every byte"):
        parsed = json.loads(tokenizer_json("gpt2"))
        if reason == "Lowercase":
            parsed["normalizer"] = {"type": "Lowercase"}
        elif reason == "splits at":
            parsed["pre_tokenizer"] = json.loads(tokenizer_json("llama3").replace("{1,3}", "{1,4}"))["pre_tokenizer"]
        elif reason == "dropout":
            parsed["model"]["dropout"] = 1.0
        elif reason == "every byte":
            parsed["model"]["vocab"].pop("Į")
        found[reason] = Tokenizer.from_str(json.dumps(parsed))
        if reason == "strips":
            found[reason].add_tokens([AddedToken("als", lstrip=True)])
    return found


@pytest.mark.parametrize("reason", ["WordPiece", "Metaspace", "Lowercase", "splits at", "strips", "dropout", "every byte"])
def test_a_tokenizer_that_is_not_covered_is_run_by_the_library_and_says_why(reason):
    text = uncovered()[reason].to_str()
    tokeniser = compile_tokenizer(text)
    assert not tokeniser.fast
    assert reason in tokeniser.why
    assert_same(text, [*TEXTS, "", "The capitals"])


# -- the shared corpus ------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shared() -> Path:
    from flows.study_files import study_path

    data = Path(load_study(study_path("debian")).data)
    if not (data / "corpus").is_dir():
        without(f"needs the debian study's data in {data}; set TASKGRAM_DATA to the folder that contains corpus/ and tokenizers/")
    return data


def texts_of(path: Path) -> list[str]:
    """The longest string of each record."""
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if path.suffix == ".gz" else zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw)).read()
    records = map(json.loads, raw.decode().splitlines())
    return [max((v for v in r.values() if isinstance(v, str)), key=len) for r in records]


def test_ids_are_the_librarys_on_a_sample_of_each_file_of_the_corpus(shared):
    pythia = (shared / "tokenizers/pythia.json").read_text(encoding="utf-8")
    assert compile_tokenizer(pythia).fast
    for path in sorted((shared / "corpus").iterdir()):
        texts = texts_of(path)
        some = 1 + len(texts) * 200_000 // sum(map(len, texts))
        assert_same(pythia, random.Random(1).sample(texts, min(len(texts), some)))
    assert_same(pythia, hard_texts())


@pytest.mark.slow
def test_ids_are_the_librarys_on_all_of_the_corpus(shared):
    pythia = (shared / "tokenizers/pythia.json").read_text(encoding="utf-8")
    for path in sorted((shared / "corpus").iterdir()):
        texts = texts_of(path)
        for begin in range(0, len(texts), 2_000):
            assert_same(pythia, texts[begin : begin + 2_000])
            assert_same(tokenizer_json("llama3"), texts[begin : begin + 200])

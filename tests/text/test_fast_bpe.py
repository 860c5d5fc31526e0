"""Ids are those of the tokenizers library on every text and for every tokenizer, whichever library makes them."""

import gzip
import io
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
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
from tasks.cluster.workers import WORKER_ENVIRONMENT
from tasks.text.bpe import fast_bpe
from tasks.text.bpe.tokenizer import encode_batch, load_tokenizer, train
from tests.machine import without

compile_tokenizer = cache(fast_bpe.compile_tokenizer.__wrapped__)  # all kinds stay loaded
END = "<|endoftext|>"
TEXTS = [
    f"The capital of Maron{i % 7} isn't Torin{i % 5};\n\n\tgrößer als {i * 1237}    {END}, WE'LL 漢字 {i * i}.  e\u0301té\r\n ..."
    for i in range(300)
]
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")
UPPER, LOWER, ENDING = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
WORD = r"[^\r\n\p{L}\p{N}]?"
O200K = (
    rf"{WORD}{UPPER}*{LOWER}+{ENDING}|{WORD}{UPPER}+{LOWER}*{ENDING}|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Each construct that is passed on to the other library's engine, side by side.
CLASSES = r"\p{Lu}+|\p{Lt}+|\p{Lm}+|\p{Ll}+|\p{Lo}+|\p{M}+|\p{N}{1,2}|[\p{P}\t]|\p{S}+|[\r\n]+|\s+(?!\S)|\s|[^\S\P{L}]"
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
]
SPACES = [AddedToken(" " * n, normalized=True) for n in (24, 8, 4, 3, 2)]
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)


def split(*expressions, behavior="isolated", invert=False, then=BYTES):
    return pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(e), behavior, invert) for e in expressions), then])


PRE_TOKENIZERS = {
    "gpt2": BYTE_LEVEL,
    "gpt2 as a split": split(GPT2),
    "llama3": split(LLAMA3),
    "qwen2": split(QWEN2, behavior="removed", invert=True),
    "prefix space": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "each digit": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), BYTE_LEVEL]),
    "digit runs, prefix space": pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()]),
    "digits and llama3": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split(Regex(LLAMA3), "isolated"), BYTES]
    ),
    "no expression": BYTES,
    "o200k": split(O200K),
    "deepseek": split(*DEEPSEEK),
    "classes": split(CLASSES),
    "split and prefix space": split(LLAMA3, then=pre_tokenizers.ByteLevel()),
}
BYTE_FALLBACK = ["llama", "merges over spaces", "mistral", "no prefix", "no unknown token", "tokens of words"]
KINDS = [*PRE_TOKENIZERS, "nfc, runs of spaces", "tokens in the raw text", "ignore merges", "two ways to a token", *BYTE_FALLBACK]


@cache
def tokenizer_json(kind: str) -> str:
    """A small BPE of a kind. Its merges were learnt over the edges of pre-tokens, so that an edge out of place changes ids."""
    if kind in BYTE_FALLBACK:
        return byte_fallback_json(kind)
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
        for token in ("TorinĠTorinĠT", "Torin0Torin", "y" * 90):
            parsed["model"]["vocab"].setdefault(token, len(parsed["model"]["vocab"]))
        text = json.dumps(parsed)
    if kind == "two ways to a token":
        parsed = json.loads(text)
        made = {"".join(m) for m in parsed["model"]["merges"]}
        other = [[t[:k], t[k:]] for t in sorted(made) for k in (1, 2) if t[:k] in made | alphabet_of(t) and t[k:] in made]
        merges = parsed["model"]["merges"]
        parsed["model"]["merges"] = [m for pair in zip(other, merges, strict=False) for m in pair] + merges[len(other) :]
        text = json.dumps(parsed)
    return text


def byte_fallback_json(kind: str) -> str:
    """A small BPE of characters, with a token for each byte, as Llama 2 has it."""
    unknown = None if kind == "no unknown token" else "<unk>"
    tokenizer = Tokenizer(models.BPE(unk_token=unknown, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    if kind != "merges over spaces":
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    special = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    alphabet = [*"unk0123456789ABCDEFabcdefxs/<>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=special, show_progress=False, limit_alphabet=150, initial_alphabet=alphabet
    )
    tokenizer.train_from_iterator([*TEXTS, *mixed_texts(400)], trainer=trainer)
    tokenizer.pre_tokenizer = None
    if kind == "mistral":
        tokenizer.normalizer, tokenizer.pre_tokenizer = None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    elif kind != "no prefix":
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parsed = json.loads(tokenizer.to_str())
    parsed["added_tokens"] = parsed["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(parsed))
    if kind == "tokens of words":
        tokenizer.add_tokens([AddedToken("apital", normalized=False, lstrip=True), AddedToken("of", single_word=True), "é", "  "])
    return tokenizer.to_str()


def alphabet_of(token: str) -> set[str]:
    return set(token)


loaded = cache(load_tokenizer)


def library_ids(json_text, texts):
    return encode_batch(loaded(json_text), texts)


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
        "▁",
        "<unk>",
        "<s>",
        "<0x41>",
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
        "a" * 30_000,
        " " * 30_000,
        "\n" * 5_000,
        "ab1 " * 5_000,
        "é" * 9_000,
        "e\u0301" * 3_000,
        "=" * 9_000,
        "1" * 10_000,
        " \t" * 5_000 + "x",
        "Torin" * 3_000,
        "漢" * 9_000,
        "y" * 90 + " " + "y" * 91,
        "\u0301" * 2_000,
    ]
    return ["", *TEXTS[:20], *mixed_texts(700), *noise, *wild, *long, "", f"a{END}b", END, " " + END + " " + END]


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_the_librarys_on_hard_texts(kind):
    tokeniser = compile_tokenizer(tokenizer_json(kind))
    assert tokeniser.fast, tokeniser.why
    assert_same(tokenizer_json(kind), hard_texts())


@cache
def edges_json(kind: str) -> str:
    """A BPE that joins a, 1, space and ! with any byte before or after it, so that its ids show where pre-tokens end."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = {b: chr(b) for b in printed} | {b: chr(256 + n) for n, b in enumerate(b for b in range(256) if b not in printed)}
    others = [*range(0x01, 0x20), *range(0x80, 0xF5)]
    pairs = [(letters[ord(x)], letters[b]) for x in "a1 !" for b in others]
    merges = pairs + [(b, a) for a, b in pairs]
    names = [*letters.values(), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[kind]
    return tokenizer.to_str()


@pytest.mark.parametrize("kind", ["classes", *(pytest.param(k, marks=pytest.mark.slow) for k in ("gpt2", "each digit", "o200k"))])
def test_every_code_point_is_in_the_librarys_class(kind):
    points = [chr(p) for p in (*range(1, 0xD800), *range(0xE000, 0x110000))]
    texts = [f"a{c}a1{c}1!{c}! {c} \n" for c in points if ord(c) < 0x20000 or ord(c) % 64 == 0 or 0xE0000 <= ord(c) < 0xE0200]
    assert compile_tokenizer(edges_json(kind)).fast
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


def test_a_tokenizer_trained_here_is_fast():
    text = train(TEXTS, 400, END)
    assert compile_tokenizer(text).fast
    assert_same(text, TEXTS)
    ids, _ = compile_tokenizer(text).encode(pa.array([f"one {END} two"]))
    assert load_tokenizer(text).token_to_id(END) not in ids, "the end of a document is no text of one"


GROWTH = """
import psutil, random, sys
import pyarrow as pa
from tasks.text.bpe.fast_bpe import compile_tokenizer
tokeniser, draw, megabytes = compile_tokenizer(open(sys.argv[1]).read()), random.Random(1), int(sys.argv[2])
before, seen = psutil.Process().num_threads(), []
for _ in range(megabytes // 4):
    noise = draw.randbytes(4_000_000).translate(bytes(b"abcdefghijklmnopqrstuvwxyz    ABCDEF"[b % 36] for b in range(256))).decode()
    tokeniser.encode(pa.array([noise[:500_000], *(noise[k : k + 5_000] for k in range(500_000, len(noise), 5_000))]))
    seen.append((psutil.Process().memory_info().rss, psutil.Process().num_threads()))
print((seen[-1][0] - seen[0][0]) // 1_000_000, seen[-1][1] - before)
"""


def test_one_thread_encodes_and_the_cache_stays_bounded(tmp_path):
    """Random words hardly ever come twice, so each one would be kept."""
    environment = {**os.environ, **WORKER_ENVIRONMENT, "PYTHONPATH": os.getcwd()}
    for kind, megabytes in (("llama3", 24), ("llama", 12)):
        (tmp_path / kind).write_text(tokenizer_json(kind))
        run = subprocess.run(
            [sys.executable, "-c", GROWTH, str(tmp_path / kind), str(megabytes)], capture_output=True, text=True, env=environment
        )
        growth, threads = map(int, run.stdout.split())
        assert growth < 300
        assert threads == 0


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


# -- what is not covered ----------------------------------------------------------------------------------------------
def uncovered() -> dict[str, Tokenizer]:
    """Tokenizers that the library runs, by a word of the reason."""
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "The": 1, "capital": 2, "##s": 3}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    meta = Tokenizer(models.BPE())
    meta.pre_tokenizer = pre_tokenizers.Metaspace()
    meta.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    found = {"WordPiece": pieces, "Metaspace": meta}
    for reason in ("Lowercase", "dropout", "refuses"):
        parsed = json.loads(tokenizer_json("gpt2"))
        if reason == "Lowercase":
            parsed["normalizer"] = {"type": "Lowercase"}
        elif reason == "dropout":
            parsed["model"]["dropout"] = 1.0
        else:
            parsed["model"]["vocab"].pop("Į")
        found[reason] = Tokenizer.from_str(json.dumps(parsed))
    unreachable = json.loads(tokenizer_json("no prefix"))  # fastokens makes "<unk>" one token if its letters have none
    for letter in "unk":
        number = unreachable["model"]["vocab"].pop(letter)
        unreachable["model"]["vocab"][f"<unused{number}>"] = number
        unreachable["model"]["merges"] = [m for m in unreachable["model"]["merges"] if letter not in "".join(m)]
    found["other ids"] = Tokenizer.from_str(json.dumps(unreachable))
    return found


@pytest.mark.parametrize("reason", ["WordPiece", "Metaspace", "Lowercase", "dropout", "refuses", "other ids"])
def test_a_tokenizer_that_is_not_covered_is_run_by_the_library_and_says_why(reason):
    text = uncovered()[reason].to_str()
    tokeniser = compile_tokenizer(text)
    assert not tokeniser.fast
    assert reason in tokeniser.why
    assert_same(text, [*TEXTS, "", "The capitals", "<unk>"])


DIFFERENT = (
    r"\w+ \d+ ^a a$ a. \bthe [[:alpha:]]+ \p{N}{1,3}+ [a&&b] [a[bc]] \p{Han}+ \N \R \X (?<=a)b (?i)a (?>a|b) (?i:ss) \x41 a{,2}"
)


@pytest.mark.parametrize("pattern", DIFFERENT.split())
def test_a_pattern_that_engines_read_differently_is_left_to_the_library(pattern):
    parsed = json.loads(tokenizer_json("gpt2"))
    parsed["pre_tokenizer"] = json.loads(tokenizer_json("llama3"))["pre_tokenizer"]
    parsed["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern
    assert "splits at" in compile_tokenizer(json.dumps(parsed)).why


def test_without_fastokens_and_where_it_fails_the_library_does_the_work(monkeypatch):
    text = tokenizer_json("llama3")
    tokeniser = compile_tokenizer.__wrapped__(text)

    class Fails:
        def encode_batch_flat(self, *_):
            raise BaseException("panicked")

    ids, offsets = replace(tokeniser, fast=Fails()).encode(pa.array(TEXTS))
    assert np.split(ids, offsets[1:-1])[7].tolist() == library_ids(text, TEXTS[7:8])[0]
    monkeypatch.setitem(sys.modules, "fastokens", None)
    assert compile_tokenizer.__wrapped__(text).why == "fastokens is not installed"


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
        some = 1 + len(texts) * 100_000 // sum(map(len, texts))
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

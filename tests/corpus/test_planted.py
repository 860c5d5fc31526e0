"""The truth about the planted corpus agrees with its text: every count against brute force over the files."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas import Study, StudyError
from tasks.corpus.planted.draws import shuffled
from tasks.corpus.planted.facts import SIXTEENTHS, assert_independent, cells
from tasks.corpus.planted.phrases import HELD_OUT, RESERVED, SEEN
from tasks.corpus.planted.plant import PLANT, plan
from tasks.corpus.planted.world import World
from tasks.step import keyed
from tasks.storage.store import Store
from tests.support import read_rows, run_step

SMALL: dict[str, Any] = {
    "tokens": 115_000,
    "shards": 3,
    "document_frequencies": [16, 32, 48, 64],
    "exposures": [0, 1, 4, 16],
    "facts_per_exposure": 6,
    "rule_subjects": 40,
    "lexicon": 24,
    "parallel_documents": 300,
    "monolingual_documents": 60,
    "largest_operand": 12,
    "sum_documents": 300,
    "canaries": 8,
    "duplicate_groups": 8,
    "twins": 4,
    "examples": 320,
}


def study(seed: int = 0, **changes: object) -> Study:
    return Study.model_validate({"name": "small", "seed": seed, "corpus": {"planted": SMALL | changes}})


class Made:
    """A small world on disk, read back as a user would read it."""

    def __init__(self, root: Path, made: Study) -> None:
        self.parts = run_step(PLANT, made, root, {})
        store = Store(str(root))
        self.folders = [(dict(p.labels), store.folder("planted_files", p.key)) for p in self.parts["planted_files"]]
        self.files = read_rows(root, self.parts["planted_files"])
        self.truth = read_rows(root, self.parts["truth"])
        self.sequences = read_rows(root, self.parts["planted_sequences"])
        self.insertions = read_rows(root, self.parts["insertions"])
        self.documents = [
            json.loads(line)
            for labels, folder in self.folders
            if labels["kind"] == "corpus"
            for line in (folder / labels["file"]).read_text().splitlines()
        ]
        tasks = next(folder for labels, folder in self.folders if labels["kind"] == "tasks")
        self.tasks = {p.stem: [json.loads(line) for line in p.read_text().splitlines()] for p in tasks.glob("*.jsonl")}
        self.words = [words(d["text"]) for d in self.documents]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("world"), study())


def test_every_count_of_the_truth_is_the_count_in_the_text(world: Made) -> None:
    wanted = {row[side] for row in world.truth for side in ("input_ngram", "output_ngram")}
    places: dict[str, Counter[int]] = defaultdict(Counter)
    for number, document in enumerate(world.words):
        for n in (1, 2, 3):
            for i in range(len(document) - n + 1):
                if (ngram := " ".join(document[i : i + n])) in wanted:
                    places[ngram][number] += 1
    wrong = []
    for row in world.truth:
        x, y = places[row["input_ngram"]], places[row["output_ngram"]]
        found = (len(x), len(y), x.total(), y.total(), len(x.keys() & y.keys()))
        stated = (
            row["input_documents"],
            row["output_documents"],
            row["input_occurrences"],
            row["output_occurrences"],
            row["pair_documents"],
        )
        wrong += [(row["task"], row["pair"], stated, found)] if stated != found else []
    assert not wrong, wrong[:5]
    assert {row["kind"] for row in world.truth} == {"factorial", "exposure", "rule", "lexicon", "arithmetic"}
    assert max(row["pair_documents"] for row in world.truth if row["kind"] == "factorial") == 32


def test_counting_documents_or_occurrences_makes_a_difference(world: Made) -> None:
    facts = [row for row in world.truth if row["task"] == "facts"]
    assert {row["input_occurrences"] / row["input_documents"] for row in facts} == {1, 2, 3, 4}


def test_the_factorial_is_full_and_p_goes_with_no_frequency(world: Made) -> None:
    facts = [row for row in world.truth if row["task"] == "facts"]
    p = np.array([row["pair_documents"] * 16 // row["input_documents"] for row in facts])
    x, y = (np.array([row[f"{side}_documents"] for row in facts]) for side in ("input", "output"))
    assert Counter(zip(p.tolist(), x.tolist(), (2 * y // x).tolist(), strict=True)) == Counter(
        (a, b, c) for a in SIXTEENTHS for b in SMALL["document_frequencies"] for c in (1, 2, 4, 8)
    )
    for other in (x, y, np.minimum(x, y) / x, [row["input_occurrences"] / n for row, n in zip(facts, x, strict=True)]):
        assert abs(np.corrcoef(p, other)[0, 1]) < 1e-12


def test_an_unbalanced_factorial_is_refused() -> None:
    made = list(cells(study().corpus.planted))
    assert_independent(made)
    with pytest.raises(AssertionError, match="not balanced"):
        assert_independent(made[:-1])


def test_the_generator_gives_the_answer_with_the_stated_probability(world: Made) -> None:
    """Every document of a factorial subject is a statement, and C of df(s_x) of them give s_y."""
    relations = {"capital", "river", "founder"}
    for row in (r for r in world.truth if r["task"] == "facts"):
        assert math.isclose(row["optimal_log_probability"], math.log(row["pair_documents"] / row["input_documents"]))
    subjects = {row["input_ngram"].split()[0]: row["relation"] for row in world.truth if row["task"] == "facts"}
    seen = 0
    for document in world.words:
        for subject in subjects.keys() & set(document):
            seen += 1
            assert relations & set(document) == {subjects[subject]}
    assert seen == sum(row["input_documents"] for row in world.truth if row["task"] == "facts")


def test_no_other_answer_outdoes_its_share(world: Made) -> None:
    """Alternatives are spread thinly: none has more than its even share, rounded up."""
    subjects = {row["input_ngram"]: row for row in world.truth if row["task"] == "facts"}
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    pattern = re.compile(r"(?:Answer: ([A-Z]\w+(?: [A-Z]\w+)?)$)|(?:is ([A-Z]\w+(?: [A-Z]\w+)?)\.$)", re.MULTILINE)
    for document in world.documents:
        if (found := pattern.search(document["text"])) and (of := re.search(r" of ((?:[A-Z]\w+ ?)+)", document["text"])):
            answers[of.group(1).strip().lower()][(found.group(1) or found.group(2)).lower()] += 1
    checked = 0
    for subject, row in subjects.items():
        limit = math.ceil((row["input_documents"] - row["pair_documents"]) / 48)
        for answer, count in answers[subject].items():
            if answer != row["output_ngram"]:
                checked += 1
                assert count <= limit
    assert checked > 500


def test_a_pair_is_asked_in_k_phrasings_half_of_them_held_out(world: Made) -> None:
    asked = [r for r in world.tasks["facts"] if r["split"] == "evaluate"]
    per_pair = Counter(r["id"].split("/")[0] for r in asked)
    assert len(asked) == 304 and len({r["id"] for r in asked}) == 304
    for row in (r for r in world.truth if r["task"] == "facts"):
        assert per_pair[row["pair"]] == max(1, math.floor(0.5 * row["input_documents"] / row["pair_documents"] + 0.5))
    held_out = defaultdict(list)
    for r in asked:
        held_out[r["id"][:3]].append(r["group"].endswith("/held-out"))
    assert {sum(v) / len(v) for v in held_out.values()} == {0.5}


def test_a_smaller_cap_keeps_whole_blocks_of_p() -> None:
    made = [r for r in World(study(examples=100).corpus.planted, 0).tasks()["facts"] if r["split"] == "evaluate"]
    pairs = {r["id"].split("/")[0] for r in made}
    assert len(made) == 95 and Counter(p[:3] for p in pairs) == {f"p{p:02d}": 5 for p in SIXTEENTHS}


def test_held_out_phrasings_never_stand_in_the_corpus(world: Made) -> None:
    corpus = "\n".join(d["text"] for d in world.documents)
    shape = lambda q: re.escape(q).replace(r"\{r\}", r"\w+").replace(r"\{s\}", r"\w+(?: \w+)?")  # noqa: E731
    assert all(re.search(shape(q), corpus) for q in SEEN)
    assert not any(re.search(shape(q), corpus) for q in HELD_OUT)


def test_facts_are_stated_as_often_as_they_say_and_answers_do_not_tell(world: Made) -> None:
    rows = [r for r in world.truth if r["task"] == "recall"]
    assert Counter(r["exposures"] for r in rows) == {e: 6 for e in SMALL["exposures"]}
    assert all(r["pair_documents"] == r["exposures"] == int(r["pair"][1:6]) for r in rows)
    assert all((r["optimal_log_probability"] is None) == (r["exposures"] == 0) for r in rows)
    assert all(r["input_documents"] > r["exposures"] and r["output_documents"] >= 16 for r in rows)


def test_rules_answer_for_subjects_the_corpus_never_names(world: Made) -> None:
    rows = [r for r in world.truth if r["task"] == "rules"]
    answers = defaultdict(set)
    for row in rows:
        answers[row["pair"].split("-")[0]].add(row["output_ngram"])
        assert row["input_ngram"].endswith(row["pair"].split("-")[0])
        assert row["held_out"] == (row["input_documents"] == 0)
    assert all(len(a) == 1 for a in answers.values()) and len(answers) == 6
    assert sum(r["held_out"] for r in rows) == 10
    stated = {r["output_ngram"] for r in rows if not r["held_out"]}
    assert all(r["output_ngram"] in stated for r in rows)


@pytest.mark.parametrize("language", ["velish", "onda"])
def test_evaluated_translations_never_stand_in_the_corpus(world: Made, language: str) -> None:
    corpus = "\n".join(" ".join(w) for w in world.words)
    records = {s: [r for r in world.tasks[language] if r["split"] == s] for s in ("mine", "evaluate")}
    assert len(records["evaluate"]) == 320 and len({r["input"] for r in records["evaluate"]}) == 320
    assert not any(r["input"] in corpus or r["output"] in corpus for r in records["evaluate"])
    known = {w for r in records["mine"] for w in words(r["input"])}
    assert all(r["input"] in corpus and r["output"] in corpus for r in records["mine"])
    assert {w for r in records["evaluate"] for w in words(r["input"])} <= known


def test_a_word_is_translated_by_its_neighbours(world: Made) -> None:
    """Some English words have two translations; the order of words is another one in each language."""
    for language, order in (("velish", [1, 0, 4, 3, 2]), ("onda", [2, 4, 3, 1, 0])):
        rows = [r for r in world.truth if r["task"] == language]
        pairs = {(r["input_ngram"], r["output_ngram"]) for r in rows}
        assert max(Counter(x for x, _ in pairs).values()) == 2
        for record in world.tasks[language][:50]:
            source, target = words(record["input"]), words(record["output"])
            assert all((source[k], word) in pairs for k, word in zip(order, target, strict=True))


def test_held_out_sums_never_stand_in_the_corpus(world: Made) -> None:
    corpus = "\n".join(f" {' '.join(w)} " for w in world.words)
    asked = [r for r in world.tasks["sums"] if r["split"] == "evaluate"]
    groups = Counter(r["group"] for r in asked)
    assert groups["stated"] == groups["held-out"] > 10
    for record in asked:
        a, b = (int(n) for n in record["id"].split("+"))
        assert record["output"].endswith(f"#### {a + b}")
        both = [f" {x} plus {y} " in corpus or f" {x} {y} {a + b} " in corpus for x, y in ((a, b), (b, a))]
        assert both[0] if record["group"] == "stated" else not any(both)


def test_choices_hold_the_right_answer_once(world: Made) -> None:
    truth = {r["pair"]: r for r in world.truth if r["task"] == "choice"}
    for record in world.tasks["choice"]:
        assert record["options"][record["answer"]] == record["output"] and len(set(record["options"])) == 4
        assert truth[record["id"].split("/")[0]]["output_ngram"] == record["output"].lower()
    assert len({r["answer"] for r in world.tasks["choice"]}) == 4


def test_sequences_are_in_the_corpus_as_often_as_their_membership_says(world: Made) -> None:
    texts = Counter(d["text"] for d in world.documents)
    inside = "\n".join(d["text"] for d in world.documents)
    assert Counter(s["kind"] for s in world.sequences) == {"canary": 6, "duplicate": 6, "phantom": 4, "twin": 8}
    for s in world.sequences:
        assert texts[s["text"]] == s["copies"] and s["member"] == (s["text"] in inside)
    assert {s["entropy_bits"] for s in world.sequences if s["kind"] == "canary"} == {48.0}
    twins = defaultdict(list)
    for s in world.sequences:
        if s["kind"] == "twin":
            twins[s["group"]].append(s)
    assert all(sorted(t["member"] for t in pair) == [False, True] for pair in twins.values())
    assert all(set(pair[0]["text"].split()) == set(pair[1]["text"].split()) for pair in twins.values())


def test_inserted_texts_are_in_the_corpus_as_often_as_they_say(tmp_path: Path) -> None:
    """However many shards there are, and nothing else of the world changes its words, its tasks or its truth."""
    insertions = {"canaries": 2, "sentences": 3, "copies": [1, 4, 2], "words": 24}
    made, again = (Made(tmp_path / str(n), study(tokens=125_000, shards=n, insertions=insertions)) for n in (3, 2))
    rows = made.insertions
    assert rows == again.insertions and made.documents == again.documents
    assert Counter((r["group"], r["copies"]) for r in rows) == {
        (group, copies): each * (3 if not copies else 1)
        for group, each in (("canary", 2), ("sentence", 3))
        for copies in (0, 1, 2, 4)
    }
    places = defaultdict(list)
    for document in made.documents:
        places[document["text"]].append(document["id"])
    inside = "\n".join(d["text"] for d in made.documents)
    for row in rows:
        assert row["documents"] == places[row["text"]] and inside.count(row["text"][:60]) == row["copies"]
        assert len(row["text"].split()) >= 24
        letters = re.findall("[bdfghjklmnprstvz][aiou]", row["text"])
        assert row["group"] == "sentence" or (
            sum(row["bits"]) == 24 * 12 == 6 * len(letters) and row["bits"][:5] == [4, 2, 4, 2, 0]
        )
    assert not {w for r in rows if r["group"] == "canary" for w in r["text"].split()} & (
        {*RESERVED} | {w for r in made.truth for w in r["output_ngram"].split()}
    )
    without = study(tokens=125_000)
    assert {t: World(without.corpus.planted, 0).tasks()[t] for t in made.tasks} == made.tasks


@pytest.mark.parametrize(
    ("insertions", "message"),
    [
        ({"canaries": 0, "sentences": 0}, "neither canaries nor sentences are inserted"),
        ({"copies": [1, 1]}, "distinct whole numbers from 1"),
        ({"copies": [0, 1]}, "distinct whole numbers from 1"),
        ({"words": 3}, "greater than or equal to 16"),
    ],
)
def test_insertions_that_cannot_be_are_refused(insertions: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(insertions=insertions)


def test_the_bits_of_a_sentence_are_those_of_its_draws() -> None:
    """Of 4,096 sentences each first word, form by form, as often as the bits of its characters say."""
    from tasks.corpus.planted.fillers import Fillers
    from tasks.corpus.planted.phrases import Names

    fillers, random, seen = Fillers(0, Names(0)), np.random.default_rng(0), Counter()
    bits = {}
    for _ in range(3_000):
        text, of = fillers.text_with_bits(random, 1)
        assert len(of) == len(text) and min(of) >= 0
        begin = text.index(" ", text.index(" ") + 1) + 1  # two words and a space
        seen[text[:begin]] += 1
        bits[text[:begin]] = sum(of[:begin])
    assert len(bits) > 100
    for words_, count in seen.most_common(20):
        expected = 3_000 * 2 ** -bits[words_]
        assert abs(count - expected) < 5 * math.sqrt(expected)


def test_every_document_and_file_is_what_its_row_says(world: Made) -> None:
    assert all(set(d) == {"id", "text", "lang"} and d["text"] for d in world.documents)
    assert len({d["id"] for d in world.documents}) == len(world.documents)
    assert {"en", "velish", "onda", "en-velish", "en-onda"} == {d["lang"] for d in world.documents}
    assert abs(sum(len(w) for w in world.words) / SMALL["tokens"] - 1) < 0.05
    rows = {row["file"]: row for row in world.files}
    for _, folder in world.folders:
        for path in folder.iterdir():
            data = path.read_bytes()
            assert rows[path.name]["sha256"] == hashlib.sha256(data).hexdigest()
            assert (rows[path.name]["bytes"], rows[path.name]["records"]) == (len(data), data.count(b"\n"))
    assert len(rows) == 3 + 7


def test_no_planted_name_is_a_word_of_the_templates_or_of_another_class(world: Made) -> None:
    classes = defaultdict(set)
    for row in world.truth:
        if row["task"] not in ("choice", "sums"):
            for side in ("input", "output"):
                shared = row["task"] in ("velish", "onda") and side == "input"
                classes["english lexicon" if shared else f"{row['task']} {side}"].update(row[f"{side}_ngram"].split())
    canary = {w for s in world.sequences for w in s["text"].split() if s["kind"] in ("canary", "twin")}
    groups = [set(RESERVED), canary, *classes.values()]
    assert sum(len(g) for g in groups) == len(set().union(*groups))


def test_shards_are_slices_of_one_corpus(world: Made, tmp_path: Path) -> None:
    """Two shards or three, in any process: the same documents in the same order, byte for byte."""
    again = Made(tmp_path, study(shards=2))
    assert again.documents == world.documents
    made = World(study().corpus.planted, 0)
    assert [text for _, text, _ in made.texts(1000, 1100)] == [d["text"] for d in world.documents[1000:1100]]


def test_shards_and_tokens_leave_tasks_and_truth_alone() -> None:
    def keys(made: Study) -> list[str]:
        return [keyed(PLANT, 0, job).key for job in plan(made, {})]

    assert keys(study())[-1] == keys(study(shards=5, tokens=200_000))[-1] != keys(study(seed=1))[-1]
    assert keys(study())[:-1] == keys(study(examples=50))[:-1]
    inserted = keys(study(insertions={}))
    assert inserted[-1] == keys(study())[-1] and not set(inserted[:-1]) & set(keys(study()))
    assert "insertions" not in json.dumps([job.settings for job in plan(study(), {})]), "a world of old has its keys of old"


def test_another_seed_is_another_world() -> None:
    names = [{row.input_ngram for row in World(study().corpus.planted, seed).facts.truth()} for seed in (0, 1)]
    assert len(names[0] & names[1]) < 10


def test_a_billion_words_cost_no_more_to_start() -> None:
    made = World(study(tokens=1_000_000_000, shards=1000).corpus.planted, 0)
    first, last = made.shard(999)
    assert last > 30_000_000 and last - first > 30_000
    assert len(list(made.texts(last - 50, last))) == 50


@pytest.mark.parametrize("n", [1, 2, 5, 1000])
def test_the_shuffle_is_a_permutation(n: int) -> None:
    images = shuffled(np.arange(n), n, 3, "test")
    assert sorted(images.tolist()) == list(range(n))
    assert shuffled(images, n, 3, "test", inverse=True).tolist() == list(range(n))


def test_a_world_larger_than_its_tokens_says_what_to_change() -> None:
    with pytest.raises(StudyError, match="raise tokens"):
        World(study(tokens=20_000).corpus.planted, 0).fill()


def test_a_study_of_files_plants_nothing() -> None:
    files = Study.model_validate({"name": "files", "corpus": {"sources": [{"name": "a", "files": ["a.jsonl"]}]}})
    assert plan(files, {}) == []

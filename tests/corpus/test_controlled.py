"""The controlled corpus is what docs/counterfactual.md says: groups of known sizes, copies, twins and bits."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from schemas import Study, StudyError
from schemas.settings.ensemble_settings import UNSEEN_TWINS, Controlled, Membership
from tasks.corpus.encode import TOKENIZER, TOKENS
from tasks.corpus.ingest import INGEST
from tasks.corpus.planted.controlled import FOLLOWS, ControlledCorpus, word
from tasks.corpus.planted.plant import PLANT
from tests.support import read_rows, run_step

DEFAULT = Controlled()
CORPUS = ControlledCorpus(DEFAULT, 0)


def of(group: str) -> list:
    return [s for s in CORPUS.sequences if s.group == group]


def test_groups_have_their_sizes_and_a_fifth_are_phantoms() -> None:
    assert Counter(s.group for s in CORPUS.sequences) == DEFAULT.groups
    for group, size in DEFAULT.groups.items():
        phantoms = sum(s.split == "phantom" for s in of(group))
        assert phantoms == (size - DEFAULT.members(group) if group == "ring" else size / 5)
    assert len({tuple(s.ids) for s in CORPUS.sequences}) == len(CORPUS.sequences) == 698
    assert Counter(CORPUS.documents()) == {s.text: s.copies for s in CORPUS.sequences if s.split == "member"}
    assert sorted(s.copies for s in CORPUS.sequences if s.split == "member") == sorted(DEFAULT.member_copies)


def test_rings_have_k_trained_twins_and_two_that_never_are() -> None:
    rings = defaultdict(list)
    for s in of("ring"):
        rings[s.family].append(s)
    assert Counter(of_ring[0].twins for of_ring in rings.values()) == dict.fromkeys(DEFAULT.twins, DEFAULT.rings)
    for twins in rings.values():
        assert Counter(s.split for s in twins) == {"member": twins[0].twins, "phantom": UNSEEN_TWINS}
        first = twins[0].ids * 2
        assert all(any(first[i : i + 32] == s.ids for i in range(32)) for s in twins), "rotations of one cycle"
        assert {s.copies for s in twins} == {1}


def test_copies_are_independent_of_topic_and_split() -> None:
    for group, families in (("dense_copies", 4), ("canary_copies", 1)):
        cells = Counter((s.copies, s.family, s.split) for s in of(group))
        assert len({f for _, f, _ in cells}) == families and {d for d, _, _ in cells} == set(DEFAULT.copies)
        for split in ("member", "phantom"):
            assert len({sum(n for c, n in cells.items() if c[0] == d and c[2] == split) for d in DEFAULT.copies}) == 1


def test_bits_are_those_of_the_generator() -> None:
    """Of canaries log2 of the vocabulary; of a chain −log2 of its own probabilities, which the long run of texts confirms."""
    assert {s.entropy for g in ("canary", "canary_copies", "mismatch") for s in of(g)} == {16 * math.log2(255)}
    assert {s.entropy for g in ("ring", "rule") for s in of(g)} == {0.0}
    chain = CORPUS.topics[0]
    ids, bits = chain.draw(np.random.default_rng(0), 40_001, 1)
    follows = Counter(chain.after[a].tolist().index(b) for a, b in zip(ids, ids[1:], strict=False))
    assert bits == pytest.approx(-sum(n * math.log2(FOLLOWS[i]) for i, n in follows.items()))
    assert [follows[i] / 40_000 for i in range(4)] == pytest.approx(FOLLOWS, abs=0.01)


def test_one_word_is_one_token(tmp_path: Path) -> None:
    study = Study.model_validate({"name": "s", "corpus": {"controlled": {}}, "seed": 5})
    tables = run_step(PLANT, study, tmp_path, {})
    for step in (INGEST, TOKENIZER, TOKENS):
        tables |= run_step(step, study, tmp_path, {"repeated_ids": ()} | tables)
    sequences = read_rows(tmp_path, tables["controlled_sequences"])
    wanted = Counter({tuple(s["ids"]): s["copies"] for s in sequences if s["split"] == "member"})
    assert Counter(tuple(row["ids"]) for row in read_rows(tmp_path, tables["tokens"])) == wanted
    (tokenizer,) = read_rows(tmp_path, tables["tokenizer"])
    assert (tokenizer["vocabulary_size"], tokenizer["end_of_document"]) == (256, 0)
    assert json.loads(tokenizer["json"])["model"]["vocab"][word(255)] == 255
    assert len({word(i) for i in range(1, 4_096)}) == 4_095


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"twins": [31]}, "at most 30 twins"),
        ({"copies": [1]}, "whole numbers from 2"),
        ({"copies": [2_000]}, "1,024 at most"),
        ({"words": 64, "prefix": 32}, "words = 64 are fewer"),
        ({"rule": 65}, "no more members"),
    ],
)
def test_impossible_settings_say_why(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Controlled.model_validate(settings)


def test_no_two_sequences_are_equal() -> None:
    """Else a phantom would be trained on, and a copy left out would stay in."""
    with pytest.raises(StudyError, match=r"dense-\d+ and dense-\d+ have the same words; use longer"):
        ControlledCorpus(Controlled(dense=2_000, prefix=2, suffix=1, twins=(1,), rule=0), 0)


def test_a_study_says_what_runs_need() -> None:
    for study, message in (
        ({"corpus": {"planted": {}}, "membership": {}}, "needs .corpus.controlled"),
        ({"corpus": {"controlled": {}}, "tokenizer": {"file": "t.json"}}, "has its own tokenizer"),
        ({"corpus": {"controlled": {}, "planted": {}}}, "only one of them"),
    ):
        with pytest.raises(ValidationError, match=message):
            Study.model_validate({"name": "s", **study})
    for membership, message in (
        ({"runs": 6}, "no multiple of 4"),
        ({"runs": 64, "design": "clusters"}, "no multiple of 10"),
        ({"models": [{"name": "a", "keep": 65}]}, "keep = 65 are more than all 64 runs"),
        ({"models": [{"name": "a", "heads": 3}]}, "even whole number"),
        ({"models": [{"name": "a"}, {"name": "a"}]}, "duplicate name"),
    ):
        with pytest.raises(ValidationError, match=message):
            Membership.model_validate(membership)

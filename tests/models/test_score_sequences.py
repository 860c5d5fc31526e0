"""One teacher-forced pass says what greedy decoding would write, and how likely each sampling scheme is to draw a suffix."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import StudyError
from tasks.models.language_model import LanguageModel, SavedModel
from tasks.models.load import load, repeatable
from tasks.models.pretrain import MODELS
from tasks.models.recite import missed_windows, write_on
from tasks.models.score_sequences import SCORE_SEQUENCES, check_alone, score_close_calls, score_windows, token_statistics
from tests.models import small
from tests.models.test_foreign_models import mix_rows, opened
from tests.models.test_zoo import LONG, ZOO
from tests.support import read_rows, run_step, write_part

SCHEMES = [
    {"temperature": 1.0, "top_k": 0, "top_p": 1.0},
    {"temperature": 0.7, "top_k": 0, "top_p": 1.0},
    {"temperature": 1.0, "top_k": 5, "top_p": 1.0},
    {"temperature": 1.0, "top_k": 0, "top_p": 0.6},
    {"temperature": 1.3, "top_k": 20, "top_p": 0.8},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LanguageModel]:
    folder = tmp_path_factory.mktemp("saved")
    with repeatable("cpu"):
        saved = {f: small.save_random(folder / f, f, 32) for f in small.FAMILIES}
        saved["certain"] = small.save_random(folder / "certain", context=32, initializer_range=0.6)
        return {name: load(SavedModel(at), name) for name, at in saved.items()}


def decoded(model: LanguageModel, prefix: list[int], new: int) -> list[int]:
    """What transformers' own greedy decoding writes after the end-of-document token and a prefix."""
    import torch

    given = torch.tensor([[model.start, *prefix]])
    same = {"attention_mask": torch.ones_like(given), "pad_token_id": 0, "eos_token_id": None, "do_sample": False}
    return model.network.generate(given, max_new_tokens=new, **same)[0, given.shape[1] :].tolist()


@settings(max_examples=3)
@given(st.sampled_from(small.FAMILIES), st.integers(0, 2**31), st.integers(1, 11))
def test_greedy_decoding_gives_exactly_the_tokens_that_are_hits(
    models: dict[str, LanguageModel], family: str, seed: int, prefix: int
) -> None:
    """From every prefix the decoder is right as long as the tokens are hits; windows that it wrote itself are extracted."""
    model, draw = models[family], np.random.default_rng(seed)
    random = draw.integers(1, 300, 12).tolist()
    own = [*random[:prefix], *decoded(model, random[:prefix], 12 - prefix)]
    broken = [*own[:-1], (own[-1] + 1) % 300]
    windows = [random, own, broken]
    hits = score_windows(model, [np.array(w) for w in windows], [], 8192)["ranks"] == 1
    for window, hit in zip(windows, hits, strict=True):
        written = decoded(model, window[:prefix], 12 - prefix)
        assert bool(hit[prefix:].all()) == (written == window[prefix:])
        right = int(np.argmin(np.append(hit[prefix:], False)))
        assert written[:right] == window[prefix : prefix + right]
    assert hits[1, prefix:].all() and not hits[2, -1]


@pytest.mark.parametrize("family", small.FAMILIES[:3])
def test_exact_extraction_of_two_hundred_windows_is_that_of_generation(models: dict[str, LanguageModel], family: str) -> None:
    """Half of them are random, half are what the model itself writes, every fourth of those with one other token."""
    import torch

    model, prefix, suffix = models[family], 6, 8
    windows = np.random.default_rng(7).integers(1, 300, (200, prefix + suffix))

    def generated() -> np.ndarray:
        starts = np.full((len(windows), 1), model.start)
        given = torch.from_numpy(np.concatenate([starts, windows[:, :prefix]], axis=1))
        same = {"attention_mask": torch.ones_like(given), "pad_token_id": 0, "eos_token_id": None, "do_sample": False}
        return model.network.generate(given, max_new_tokens=suffix, **same)[:, given.shape[1] :].numpy()

    windows[100:, prefix:] = generated()[100:]
    windows[100::4, prefix + 3] = (windows[100::4, prefix + 3] + 1) % 300
    hits = score_windows(model, list(windows), [], 512)["ranks"] == 1
    extracted = hits[:, prefix:].all(axis=1)
    assert extracted.tolist() == (generated() == windows[:, prefix:]).all(axis=1).tolist()
    assert extracted.sum() == 75


def slow(logits: np.ndarray, target: int, scheme: dict) -> float:
    """log p of a token under a scheme, token by token."""
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    order = order[: scheme["top_k"] or None]
    odds = [math.exp((logits[i] - logits[order[0]]) / scheme["temperature"]) for i in order]
    p, kept, mass = [o / sum(odds) for o in odds], [], 0.0
    for i, share in zip(order, p, strict=True):
        if mass < scheme["top_p"]:
            kept.append((i, share))
            mass += share
    return next((math.log(share / mass) for i, share in kept if i == target), -math.inf)


def test_every_column_equals_a_slow_reference() -> None:
    import torch

    draw = np.random.default_rng(0)
    logits = draw.normal(0, 2, (3, 6, 40)).astype(np.float32)
    logits[0, 0, :] = 0.0  # all equal
    logits[0, 1, 7] = 100.0  # p is 1
    targets = draw.integers(0, 40, (3, 6))
    targets[0, 1] = 7
    found = token_statistics(torch.from_numpy(logits), torch.from_numpy(targets), SCHEMES)
    for i, t in np.ndindex(3, 6):
        row, target = logits[i, t].astype(np.float64), int(targets[i, t])
        log_p = row - np.logaddexp.reduce(row)
        p, others = np.exp(log_p), np.delete(row, target)
        assert found["log_probabilities"][i, t] == pytest.approx(log_p[target], abs=1e-5)
        assert found["ranks"][i, t] == sorted(range(40), key=lambda v: (-row[v], v)).index(target) + 1
        assert found["margins"][i, t] == pytest.approx(row[target] - others.max(), abs=1e-5)
        assert found["means"][i, t] == pytest.approx((p * log_p).sum(), abs=1e-5)
        assert found["variances"][i, t] == pytest.approx((p * log_p**2).sum() - (p * log_p).sum() ** 2, abs=1e-4)
        for number, scheme in enumerate(SCHEMES):
            assert found["sampled"][number, i, t] == pytest.approx(slow(row, target, scheme), abs=1e-5)
    assert np.isneginf(found["sampled"]).any() and np.isfinite(found["sampled"][0]).all()
    assert found["log_probabilities"][0, 1] == 0 and found["variances"][0, 1] < 1e-30


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_probability_of_a_suffix_is_how_often_it_is_drawn(models: dict[str, LanguageModel], scheme: dict) -> None:
    """20,000 samples of a suffix of three tokens, drawn by transformers' own filters, within three standard errors."""
    import torch
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    model, prefix, draws = models["certain"], [5, 9], 20_000
    warpers = LogitsProcessorList([TemperatureLogitsWarper(scheme["temperature"])])
    warpers += [TopKLogitsWarper(scheme["top_k"])] if scheme["top_k"] else []
    warpers += [TopPLogitsWarper(scheme["top_p"])] if scheme["top_p"] < 1 else []
    random = torch.Generator().manual_seed(1)
    suffix = decoded(model, prefix, 3)
    given, alive = [model.start, *prefix], draws
    for token in suffix:  # a sample that has left the suffix need not be drawn to its end
        with torch.inference_mode():
            logits = model.network(torch.tensor([given])).logits[:, -1].float()
        p = warpers(torch.tensor([given]), logits).softmax(-1)[0]
        alive = int((torch.multinomial(p, alive, replacement=True, generator=random) == token).sum())
        given.append(token)
    (log_p,) = score_windows(model, [np.array([*prefix, *suffix])], [scheme], 8192)["sampled"][:, 0, 2:].sum(axis=-1)
    p_z = math.exp(log_p)
    assert draws * p_z > 20, "the suffix is drawn often enough to tell"
    assert abs(alive / draws - p_z) < 3 * math.sqrt(p_z * (1 - p_z) / draws)


# -- the step ---------------------------------------------------------------------------------------------------------
def sequences(root: Path, windows: list[list[int]], prefix: int = 4) -> tuple:
    n = len(windows)
    member = {name: [1] * n for name in ("occurrences", "documents", "suffix_occurrences", "suffix_documents")}
    text = {"document": [f"d{i}" for i in range(n)], "source": ["source"] * n}
    place = {"sample": ["uniform"] * n, "group": [""] * n, **text, "offset": list(range(n)), "ids": windows}
    rest = {"split": ["member"] * n, "prefix": [prefix] * n, "entropy": [None] * n}
    rest |= {name: list(range(n)) for name in ("cluster", "near_cluster")}
    return (write_part(root, "sequences", {"sequence": [f"w{i:03d}" for i in range(n)], **place, **rest, **member}),)


def scored(root: Path, folder: Path, windows: list[list[int]], dtype: str = "float32", **more: object) -> list[dict]:
    memorization = {"sampling": [{}, {"top_k": 5}], "unrelated_prefixes": 0, **more}
    model = {"name": "o", "path": str(folder), "checkpoint": 7}
    study = small.study([model], memorization=memorization, scoring={"dtype": dtype})
    tables = run_step(MODELS, study, root, {"tokens": (), "tokenizer": ()})
    tables |= {"sequences": sequences(root, windows), "tokenizer": small.corpus(root)["tokenizer"]}
    return read_rows(root, run_step(SCORE_SEQUENCES, study, root, tables)["sequence_scores"])


def test_pieces_and_slices_change_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = small.save_random(tmp_path / "saved")
    windows = np.random.default_rng(3).integers(1, 300, (7, 10)).tolist()
    whole = scored(tmp_path / "a", folder, windows)
    monkeypatch.setattr("tasks.models.score_sequences.WINDOWS_AT_ONCE", 2)
    assert scored(tmp_path / "b", folder, windows, pieces=3) == whole
    assert [r["sequence"] for r in whole] == [f"w{i:03d}" for i in range(7)]
    assert {len(r["hits"]) for r in whole} == {10} and {len(r["sampled"]) for r in whole} == {2}
    assert {(r["model"], r["checkpoint"]) for r in whole} == {("o", 7)}


def test_a_run_that_was_killed_goes_on_inside_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.models import score_sequences

    folder, scores = small.save_random(tmp_path / "saved"), score_sequences.score_windows
    windows = np.random.default_rng(3).integers(1, 300, (7, 10)).tolist()
    passes: list[int] = []

    def killed_at(last: int) -> None:
        def make(model: LanguageModel, some: list, schemes: list, batch_tokens: int) -> dict:
            if schemes and len(passes) == last:  # without schemes a window is only checked
                raise StudyError("killed")
            passes.extend([len(some)] if schemes else [])
            return scores(model, some, schemes, batch_tokens)

        monkeypatch.setattr(score_sequences, "score_windows", make)

    monkeypatch.setattr(score_sequences, "WINDOWS_AT_ONCE", 2)
    killed_at(2)
    with pytest.raises(StudyError, match="killed"):
        scored(tmp_path, folder, windows)
    killed_at(99)
    rows = scored(tmp_path, folder, windows)
    assert passes == [2, 2, 2, 1], "the first four windows are not scored again"
    monkeypatch.undo()
    assert rows == scored(tmp_path / "whole", folder, windows)


def test_what_a_model_cannot_score_is_an_error_in_words(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    windows = [list(range(1, 11))]
    other = small.save_random(tmp_path / "other")
    content = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["merges"].pop()
    (other / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StudyError, match="'o' has another tokenizer than the study"):
        scored(tmp_path / "a", other, windows)
    with pytest.raises(StudyError, match="'o' reads 8 tokens, fewer than the windows' 10"):
        scored(tmp_path / "b", small.save_random(tmp_path / "short", context=8), windows)
    large = small.save_random(tmp_path / "large")
    weights = load_file(large / "model.safetensors")
    save_file(
        {n: w * 1e30 if "embed_out" in n else w * 1e20 for n, w in weights.items()}, large / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(StudyError, match="'o' gives logits that are not finite"):
        scored(tmp_path / "c", large, windows)


def test_a_suffix_is_scored_after_prefixes_of_other_documents_and_clusters(
    tmp_path: Path, models: dict[str, LanguageModel]
) -> None:
    """As a pass over each prefix and suffix alone finds it; a suffix after its own prefix has the log p of its window."""
    draw, folder = np.random.default_rng(3), small.save_random(tmp_path / "saved")
    windows = draw.integers(1, 300, (7, 10)).tolist()
    windows[5] = windows[0]
    windows[6] = [*windows[1][:4], *windows[6][4:]]
    rows = scored(tmp_path, folder, windows, unrelated_prefixes=3)
    with repeatable("cpu"):
        model = load(SavedModel(folder), "o")
    own = [np.array(r["log_probabilities"][4:], np.float64).sum() for r in rows]
    for i, row in enumerate(rows):
        pairs = [np.array([*other[:4], *windows[i][4:]]) for other in windows]
        after = score_windows(model, pairs, [], 8192)["log_probabilities"][:, 4:].astype(np.float64).sum(axis=1)
        assert after[i] == pytest.approx(own[i], abs=1e-4)
        places = {int(np.argmin(np.abs(after - value))) for value in row["unrelated"]}
        assert np.abs(after[:, None] - row["unrelated"]).min(axis=0) == pytest.approx(0, abs=1e-4)
        assert len(row["unrelated"]) == len(places) == 3, "equal prefixes are read once"
        assert not places & {j for j in range(7) if windows[j][:4] == windows[i][:4]}
    assert {len(r["unrelated"]) for r in scored(tmp_path / "off", folder, windows)} == {0}
    assert {len(r["unrelated"]) for r in scored(tmp_path / "one", folder, windows[:1])} == {0}, "nothing is unrelated to it"


def test_in_half_precision_close_margins_are_those_of_float32(tmp_path: Path) -> None:
    """All columns of these tokens. Where the margin is not close, the numbers stay those of half precision."""
    folder, scheme = small.save_random(tmp_path / "saved"), [{"temperature": 1.0, "top_k": 5, "top_p": 1.0}]
    with repeatable("cpu"):
        full, half = (load(SavedModel(folder, dtype=dtype), "o") for dtype in ("float32", "bfloat16"))
        windows = [np.array([first, *decoded(full, [first], 11)]) for first in range(1, 41)]
        exact, rough = (score_windows(model, windows, scheme, 8192) for model in (full, half))
        scores = {name: values.copy() for name, values in rough.items()}
        again = score_close_calls(scores, lambda: full, windows, scheme, 8192)
    close = np.abs(rough["margins"]) < 0.05
    assert again == close.sum() > 10
    assert (rough["ranks"] != exact["ranks"])[close].any(), "rounding does change hits"
    for name, values in scores.items():
        where = close if name != "sampled" else close[None]
        assert np.allclose(values, np.where(where, exact[name], rough[name]), atol=1e-4), name
    rows = scored(tmp_path / "step", folder, [w.tolist() for w in windows], dtype="bfloat16")
    assert [r["hits"] for r in rows] == (scores["ranks"] == 1).tolist()


# -- networks that do not see all of a text in one way ------------------------------------------------------------------
def by_prefix(model: LanguageModel, window: list[int]) -> np.ndarray:
    """float32[tokens, vocabulary]: the logits after each beginning of a window, read alone and whole, without a cache."""
    import torch

    with torch.inference_mode():
        passes = [model.network(torch.tensor([[model.start, *window[:n]]]), use_cache=False) for n in range(len(window))]
    return np.stack([p.logits[0, -1].float().numpy() for p in passes])


@pytest.mark.parametrize("family", ["mistral", "gemma3_text", "mamba", "rwkv"])
def test_sliding_windows_and_states_are_scored_and_continued_as_one_at_a_time(family: str, tmp_path: Path) -> None:
    """Attention windows of 4 tokens, windows of 14: every number is that of a pass over the tokens before it alone, and so is every
    token that is written after the first miss."""
    import torch

    short = {"sliding_window": 4} if "sliding_window" in ZOO[family] else {}
    folder = small.save_random(tmp_path / "saved", family, 32, **ZOO[family] | short)
    with repeatable("cpu"):
        model = load(SavedModel(folder), "o")
        windows = np.random.default_rng(3).integers(1, 300, (5, 14)).tolist()
        for window in windows[:3]:
            for at in range(4, 11):  # what it writes itself, up to a miss
                window[at] = int(by_prefix(model, window[: at + 1])[-1].argmax())
        logits = np.stack([by_prefix(model, window) for window in windows])
        expected = token_statistics(torch.from_numpy(logits), torch.tensor(windows), [])
        rows = scored(tmp_path / "step", folder, windows, unrelated_prefixes=2)
        for i, row in enumerate(rows):
            for name in ("log_probabilities", "margins", "means"):
                assert row[name] == pytest.approx(expected[name][i].tolist(), abs=1e-4), name
            assert (row["ranks"], row["likeliest"]) == (expected["ranks"][i].tolist(), expected["likeliest"][i].tolist())
            after = [score_windows(model, [np.array(other[:4] + windows[i][4:])], [], 512) for other in windows]
            sums = np.array([of["log_probabilities"][0, 4:].sum(dtype=np.float64) for of in after])
            assert len(row["unrelated"]) == 2 and np.abs(sums[:, None] - row["unrelated"]).min(axis=0) == pytest.approx(0, abs=1e-3)
        columns = [[r[name] for r in rows] for name in ("sequence", "hits", "likeliest")]
        missed = missed_windows(zip(columns[0], windows, [4] * 5, *columns[1:], strict=True))
        assert len(missed) == 5 and all(w.miss > 10 for w in missed[:3])
        for window, answer in zip(missed, write_on(model, missed, 512), strict=True):
            text = [*window.ids[:4], *window.begun]
            while len(text) < 14 and text[-1] not in model.ends:
                text.append(int(by_prefix(model, [*text, 0])[-1].argmax()))
            assert text == [*window.ids[:4], *window.begun, *answer.tokens]


def test_rows_that_mix_are_read_one_at_a_time_or_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    model = mix_rows(opened(small.save_random(tmp_path / "m")))
    windows = list(np.random.default_rng(3).integers(1, 300, (6, 14)))
    apart = [score_windows(model, [w], [], 512)["log_probabilities"][0] for w in windows]
    together = score_windows(model, windows, [], 512)["log_probabilities"]
    assert np.array_equal(score_windows(replace(model, alone=True), windows, [], 512)["log_probabilities"], apart)
    with pytest.raises(StudyError, match="window 'w': what model 'o' says depends on the batch"):
        check_alone(model, [("w", windows[0], together[0])], 4)


@pytest.mark.parametrize(("window", "refused"), [(20, False), (30, True)])
def test_a_network_that_reads_long_windows_in_another_way_than_their_prefixes_is_refused(
    window: int, refused: bool, tmp_path: Path
) -> None:
    """LongRoPE takes other factors for all positions of texts beyond 24 tokens: greedy decoding from a prefix begins with those of
    short ones."""
    folder = small.save_random(tmp_path / "saved", "phi3", 128, **LONG, original_max_position_embeddings=24)
    windows = np.random.default_rng(3).integers(1, 300, (3, window)).tolist()
    if not refused:
        assert len(scored(tmp_path, folder, windows)) == 3
        return
    with pytest.raises(StudyError, match=r"model 'o' gives its first 5 tokens another log p .* at most 24 together, or leave"):
        scored(tmp_path, folder, windows)

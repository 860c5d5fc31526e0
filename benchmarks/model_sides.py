"""Models: options of multiple choice scored, questions answered, windows extracted, against CTranslate2, lm-evaluation-harness and
transformers.

The network is a GPT-NeoX with random weights, which takes as long as a trained one. Every side gets the same texts, each with the
document's first token before it, and does its own tokenising and batching.
"""

import shutil
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import BYTE_FALLBACK, BYTE_LEVEL, Corpora, places
from benchmarks.side import Arrays, BenchmarkSide, Case

SHAPE: dict[str, Any] = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}
SHAPE |= {"max_position_embeddings": 2048, "bos_token_id": 0, "eos_token_id": 0, "initializer_range": 0.1}
BATCH_TOKENS = 8192  # the default of [scoring]
SCORED, ANSWERED = 8, 32  # requests at once: the fastest for lm-evaluation-harness of 8 and 32, and for CTranslate2
TOKENS_SCORED = 1024  # at once, the fastest for CTranslate2 of 1024, 2048, 4096 and 8192
NEW = 24
WINDOW, PREFIX, APART = 64, 32, 4  # tokens; `generate` is compared for every fourth length of the prefix
STOP, END, SPECIAL = "\n", "<|endoftext|>", ("bos_token", "eos_token", "unk_token")


def _folder(corpora: Corpora, kind: str = BYTE_LEVEL) -> Path:
    """config, safetensors and tokenizer.json: Pythia's vocabulary, or one of 4,096."""
    folder = corpora.place("model" if kind == BYTE_LEVEL else f"model-{kind}")
    if not (folder / "config.json").exists():
        import torch
        from tokenizers import Tokenizer
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        text = corpora.tokenizer(kind)
        size = 128 * -(-Tokenizer.from_str(text).get_vocab_size() // 128)
        torch.manual_seed(0)
        unfinished = folder.with_suffix(".tmp")
        GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=size, **SHAPE)).save_pretrained(unfinished)
        (unfinished / "tokenizer.json").write_text(text, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    return folder


@lru_cache(maxsize=1)
def _words(corpora: Corpora, tokens: int) -> list[str]:
    return [w for text in corpora.texts(tokens).to_pylist() for w in text.split()]


def _drawn(words: list[str], random: np.random.Generator, least: int, most: int) -> str:
    count = int(random.integers(least, most))
    first = int(random.integers(len(words) - count))
    return " ".join(words[first : first + count])


def choices(corpora: Corpora, case: Case) -> list[tuple[str, str]]:
    """(prompt, option), four to a question: a stem of 10 to 90 words, options of 1 to 9, as in MMLU."""
    words, random = _words(corpora, case["tokens"]), np.random.default_rng(4)
    stems = [f"Question: {_drawn(words, random, 10, 90)}\nAnswer:" for _ in range(case["queries"] // 4)]
    return [(stem, " " + _drawn(words, random, 1, 10)) for stem in stems for _ in range(4)]


def questions(corpora: Corpora, case: Case) -> list[str]:
    """Prompts of 6 to 30 words, as in TriviaQA."""
    words, random = _words(corpora, case["tokens"]), np.random.default_rng(5)
    return [f"Question: {_drawn(words, random, 6, 30)}?\nAnswer:" for _ in range(case["queries"])]


# -- ours -------------------------------------------------------------------------------------------------------------
def _ours(corpora: Corpora, kind: str = BYTE_LEVEL) -> Any:
    from tasks.models.language_model import SavedModel
    from tasks.models.load import load

    return load(SavedModel(_folder(corpora, kind)), "random")


def choose(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The step's own functions, from texts to log-probabilities of every token."""
    from tasks.models.load import repeatable
    from tasks.models.model_inputs import requests
    from tasks.models.score import score

    model, queries = _ours(corpora), choices(corpora, case)

    def work(_: object) -> list[np.ndarray]:
        with repeatable("cpu"):
            result = requests(model, [(prompt, "", option) for prompt, option in queries], [""] * len(queries))
            return score(model, result, BATCH_TOKENS)

    def answer(result: list[np.ndarray]) -> Arrays:
        return _chosen(np.array([v.astype(np.float64).sum() for v in result]))

    return BenchmarkSide(work, len(queries), answer)


def _chosen(scores: np.ndarray) -> Arrays:
    """Log-probabilities, and the option of each question that they choose."""
    return {"scores": scores, "options": scores.reshape(-1, 4).argmax(1)}


def respond(corpora: Corpora, case: Case) -> BenchmarkSide:
    from tasks.models.generate import generate
    from tasks.models.load import repeatable

    model, queries = _ours(corpora), questions(corpora, case)

    def work(_: object) -> list[str]:
        with repeatable("cpu"):
            answers, _ = generate(model, [(prompt, " ") for prompt in queries], NEW, (STOP,), BATCH_TOKENS)
        return [model.tokenizer.decode(a.tokens, skip_special_tokens=False) for a in answers]

    return BenchmarkSide(work, len(queries), _hashes)


def _hashes(result: list[str]) -> Arrays:
    """Answers up to the first stop string, as hashes, because they are compared as arrays."""
    import hashlib

    texts = [text.split(END)[0].split(STOP)[0] for text in result]
    return {"answers": np.array([int(hashlib.sha256(t.encode()).hexdigest()[:15], 16) for t in texts])}


# -- CTranslate2 ------------------------------------------------------------------------------------------------------
def _generator(corpora: Corpora) -> tuple[Any, Callable[[str], list[str]], Any]:
    """The network, how a text becomes its tokens, and the tokenizer. The converter knows names that transformers 5 has changed."""
    import ctranslate2
    from ctranslate2.converters import TransformersConverter
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    class Converter(TransformersConverter):
        def load_model(self, kind: Any, name: str, **more: Any) -> Any:
            network = kind.from_pretrained(name, **more)
            network.config.rotary_pct = network.config.rope_parameters["partial_rotary_factor"]
            network.embed_out = network.get_output_embeddings()
            return network

        def load_tokenizer(self, kind: Any, name: str, **more: Any) -> Any:
            return PreTrainedTokenizerFast(tokenizer_file=f"{name}/tokenizer.json", **dict.fromkeys(SPECIAL, END))

    folder, converted = _folder(corpora), corpora.place("ctranslate2")
    if not converted.exists():
        Converter(str(folder)).convert(str(converted))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    generator = ctranslate2.Generator(str(converted), compute_type="float32", inter_threads=1, intra_threads=1)
    return generator, lambda text: [END, *tokenizer.encode(text, add_special_tokens=False).tokens], tokenizer


def choose_by_ctranslate2(corpora: Corpora, case: Case) -> BenchmarkSide:
    """`score_batch`."""
    (generator, tokens, _), queries = _generator(corpora), choices(corpora, case)

    def work(_: object) -> Arrays:
        whole, first = [tokens(prompt + option) for prompt, option in queries], [len(tokens(prompt)) for prompt, _ in queries]
        scored = generator.score_batch(whole, max_batch_size=TOKENS_SCORED, batch_type="tokens")
        return _chosen(np.array([sum(s.log_probs[k - 1 :]) for s, k in zip(scored, first, strict=True)]))

    return BenchmarkSide(work, len(queries))


def respond_by_ctranslate2(corpora: Corpora, case: Case) -> BenchmarkSide:
    """`generate_batch`, greedily."""
    (generator, tokens, tokenizer), queries = _generator(corpora), questions(corpora, case)
    how = {"max_length": NEW, "include_prompt_in_result": False, "max_batch_size": ANSWERED}

    def work(_: object) -> list[str]:
        answers = generator.generate_batch([tokens(prompt) for prompt in queries], **how)
        return [tokenizer.decode(a.sequences_ids[0], skip_special_tokens=False) for a in answers]

    return BenchmarkSide(work, len(queries), _hashes)


# -- lm-evaluation-harness --------------------------------------------------------------------------------------------
def harness(folder: Path, batch_size: int) -> Any:
    """Its Hugging Face back end for a saved model, with the document's first token before each text as in pretraining."""
    import logging

    import torch
    from lm_eval.models.huggingface import HFLM
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    end = tokenizer.id_to_token(0)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{end} $A", special_tokens=[(end, 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end)
    return HFLM(pretrained=str(folder), tokenizer=fast, device="cpu", dtype="float32", batch_size=batch_size, add_bos_token=True)


def instances(kind: str, arguments: list[tuple[Any, ...]]) -> list[Any]:
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]  # type: ignore[arg-type]


def choose_by_harness(corpora: Corpora, case: Case) -> BenchmarkSide:
    """`loglikelihood`."""
    model, queries = harness(_folder(corpora), SCORED), choices(corpora, case)
    requests = instances("loglikelihood", list(queries))

    def work(_: object) -> Arrays:
        return _chosen(np.array([score for score, _ in model.loglikelihood(requests, disable_tqdm=True)]))

    return BenchmarkSide(work, len(queries))


def respond_by_harness(corpora: Corpora, case: Case) -> BenchmarkSide:
    """`generate_until`, greedily."""
    model, queries = harness(_folder(corpora), ANSWERED), questions(corpora, case)
    how = {"until": [STOP], "max_gen_toks": NEW, "do_sample": False}
    requests = instances("generate_until", [(prompt, dict(how)) for prompt in queries])
    return BenchmarkSide(lambda _: model.generate_until(requests, disable_tqdm=True), len(queries), _hashes)


# -- windows ----------------------------------------------------------------------------------------------------------
def _network(corpora: Corpora) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(_folder(corpora, BYTE_FALLBACK), dtype=torch.float32).eval()


def _continued(network: Any, ids: np.ndarray, new: int, cached: bool) -> np.ndarray:
    """transformers' greedy `generate`: `new` tokens after the document's first token and each row of ids."""
    import torch

    given = torch.from_numpy(np.insert(ids, 0, 0, axis=1))
    how = {"do_sample": False, "max_new_tokens": new, "use_cache": cached, "eos_token_id": None, "pad_token_id": 0}
    with torch.inference_mode():
        return network.generate(given, attention_mask=torch.ones_like(given), **how)[:, given.shape[1] :].numpy()


def _windows(corpora: Corpora, case: Case) -> np.ndarray:
    """int64 [windows, WINDOW], of which every other one is what the network says after 4 to 32 of its tokens."""
    path = corpora.place(f"windows-{case['windows']}.npy")
    if not path.exists():
        network, stream = _network(corpora), corpora.tokens(case["tokens"])
        ids = stream[0][places(stream, case["windows"], WINDOW, 7)[:, None] + np.arange(WINDOW)].astype(np.int64)
        ids %= network.config.vocab_size
        for k in range(APART, PREFIX + 1, APART):
            some = np.arange(k // 2 - 1, len(ids), PREFIX // 2)
            ids[some, k:] = _continued(network, ids[some, :k], WINDOW - k, cached=True)
        np.save(path, ids)
    return np.load(path)


def _scored(corpora: Corpora, case: Case) -> Callable[[object], Arrays]:
    from tasks.models.load import repeatable
    from tasks.models.score_sequences import score_windows

    model, ids = _ours(corpora, BYTE_FALLBACK), list(_windows(corpora, case))

    def work(_: object) -> Arrays:
        with repeatable("cpu"):
            return score_windows(model, ids, [], BATCH_TOKENS)

    return work


def _prefixes(case: Case) -> list[int]:
    """The prefixes of which `generate` gets the first windows, and which are compared."""
    return [*range(APART, PREFIX + 1, APART)][-max(1, case["prefixes"] // APART) :]


def extract(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: one pass, then whether all of the next tokens are the likeliest, for each length of the prefix."""
    from tasks.memorization.extraction import extracted_from

    scored = _scored(corpora, case)
    lengths = range(PREFIX - case["prefixes"] + 1, PREFIX + 1)

    def work(_: object) -> dict[int, np.ndarray]:
        exact = extracted_from(scored(None)["ranks"] == 1, PREFIX)
        return {k: exact[:, k - 1] for k in lengths}

    def answer(result: dict[int, np.ndarray]) -> np.ndarray:
        return np.stack([result[k][: case["peers"]] for k in _prefixes(case)])

    return BenchmarkSide(work, case["windows"] * case["prefixes"], answer)


def generate(cached: bool) -> Callable[[Corpora, Case], BenchmarkSide]:
    """transformers' `generate` for each prefix, the windows in one batch, with its key-value cache or without."""

    def side(corpora: Corpora, case: Case) -> BenchmarkSide:
        network, ids, new = _network(corpora), _windows(corpora, case)[: case["peers"]], WINDOW - PREFIX

        def work(_: object) -> np.ndarray:
            return np.stack([(_continued(network, ids[:, :k], new, cached) == ids[:, k : k + new]).all(1) for k in _prefixes(case)])

        return BenchmarkSide(work, len(ids) * len(_prefixes(case)))

    return side


def score_token_windows(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Ours: log p, rank, margin, mean and variance of every token of a window."""
    scored, count = _scored(corpora, case), case["windows"]
    return BenchmarkSide(scored, count, lambda result: result["log_probabilities"].astype(np.float64).mean(axis=1))


def harness_windows(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The part of `loglikelihood` that follows tokenising."""
    model, ids = harness(_folder(corpora, BYTE_FALLBACK), ANSWERED), _windows(corpora, case)[: case["peers"]]
    requests = [(("", str(i)), [0], window) for i, window in enumerate(ids.tolist())]
    work = partial(model._loglikelihood_tokens, requests, disable_tqdm=True)
    return BenchmarkSide(lambda _: work(), len(ids), lambda result: np.array([score for score, _ in result]) / WINDOW)

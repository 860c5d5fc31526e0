"""Models: options of multiple choice scored, and questions answered, against a loop and lm-evaluation-harness.

The network is a GPT-NeoX with random weights, which takes as long as a trained one. Every side gets the same texts, each with the
document's first token before it, and does its own tokenising and batching.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.corpora import Corpora
from benchmarks.side import BenchmarkSide, Case

SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": 2048,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "initializer_range": 0.1,
}
BATCH_TOKENS = 8192  # the default of [scoring]
SCORED, ANSWERED = 8, 32  # requests at once, the fastest for lm-evaluation-harness of 8 and 32, and of 8, 16, 32 and 64
NEW = 24
STOP = "\n"


def prepare(corpora: Corpora, case: Case) -> None:
    """The texts and the network."""
    corpora.texts(case["tokens"])
    _folder(corpora)


def _folder(corpora: Corpora) -> Path:
    """config, safetensors and tokenizer.json."""
    folder = corpora.place("model")
    if not (folder / "config.json").exists():
        import torch
        from tokenizers import Tokenizer
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

        text = corpora.tokenizer()
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


def same_scores(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> str:
    """Log-probabilities within 1e-4 nats, and the same option chosen."""
    mine, others = ours["scores"], peers["scores"]
    if np.abs(mine - others).max() > 1e-4:
        return f"log-probabilities differ by {np.abs(mine - others).max():.1g}"
    return "" if (mine.reshape(-1, 4).argmax(1) == others.reshape(-1, 4).argmax(1)).all() else "chosen options differ"


# -- ours -------------------------------------------------------------------------------------------------------------
def _ours(corpora: Corpora) -> Any:
    from tasks.models.language_model import SavedModel
    from tasks.models.load import load

    return load(SavedModel(_folder(corpora)), "random")


def score_choices(corpora: Corpora, case: Case) -> BenchmarkSide:
    """The step's own functions, from texts to log-probabilities of every token."""
    from tasks.models.load import repeatable
    from tasks.models.model_inputs import requests
    from tasks.models.score import score

    model, queries = _ours(corpora), choices(corpora, case)

    def work(_: object) -> list[np.ndarray]:
        with repeatable("cpu"):
            result = requests(model, [(prompt, "", option) for prompt, option in queries], [""] * len(queries))
            return score(model, result, BATCH_TOKENS)

    return BenchmarkSide(
        work=work, items=len(queries), answer=lambda result: {"scores": np.array([v.astype(np.float64).sum() for v in result])}
    )


def answer_questions(corpora: Corpora, case: Case) -> BenchmarkSide:
    """Greedy answers."""
    from tasks.models.generate import generate
    from tasks.models.load import repeatable

    model, queries = _ours(corpora), questions(corpora, case)

    def work(_: object) -> list[str]:
        with repeatable("cpu"):
            answers, _ = generate(model, [(prompt, " ") for prompt in queries], NEW, (STOP,), BATCH_TOKENS)
        return [model.tokenizer.decode(a.tokens, skip_special_tokens=False) for a in answers]

    return BenchmarkSide(work=work, items=len(queries), answer=_hashes)


def _hashes(result: list[str]) -> Mapping[str, Any]:
    """Answers up to the first stop string, as hashes, because they are compared as arrays."""
    import hashlib

    texts = [text.split("<|endoftext|>")[0].split(STOP)[0] for text in result]
    return {"answers": np.array([int(hashlib.sha256(t.encode()).hexdigest()[:15], 16) for t in texts])}


# -- one at a time ----------------------------------------------------------------------------------------------------
def _plain(corpora: Corpora) -> tuple[Any, Any]:
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    folder = _folder(corpora)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return network, Tokenizer.from_file(str(folder / "tokenizer.json"))


def score_one_at_a_time(corpora: Corpora, case: Case) -> BenchmarkSide:
    """A forward pass for each option."""
    import torch

    (network, tokenizer), queries = _plain(corpora), choices(corpora, case)

    def one(prompt: str, option: str) -> float:
        ids = [0, *tokenizer.encode(prompt + option, add_special_tokens=False).ids]
        first = 1 + len(tokenizer.encode(prompt, add_special_tokens=False).ids)
        logits = network(torch.tensor([ids[:-1]]), use_cache=False).logits[0, first - 1 :]
        return float(logits.float().log_softmax(-1).gather(1, torch.tensor(ids[first:])[:, None]).sum())

    def work(_: object) -> list[float]:
        with torch.inference_mode():
            return [one(*request) for request in queries]

    return BenchmarkSide(work=work, items=len(queries), answer=lambda result: {"scores": np.array(result)})


def answer_one_at_a_time(corpora: Corpora, case: Case) -> BenchmarkSide:
    """transformers' `generate` for each prompt, with its key-value cache."""
    import torch

    (network, tokenizer), queries = _plain(corpora), questions(corpora, case)

    def one(prompt: str) -> str:
        ids = torch.tensor([[0, *tokenizer.encode(prompt, add_special_tokens=False).ids]])
        ids_out = network.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW, pad_token_id=0)
        return tokenizer.decode(ids_out[0, ids.shape[1] :].tolist(), skip_special_tokens=False)

    return BenchmarkSide(work=lambda _: [one(prompt) for prompt in queries], items=len(queries), answer=_hashes)


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
    """Its requests."""
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=a, idx=i) for i, a in enumerate(arguments)]  # type: ignore[arg-type]


def score_with_harness(corpora: Corpora, case: Case) -> BenchmarkSide:
    """`loglikelihood`."""
    model, queries = harness(_folder(corpora), SCORED), choices(corpora, case)
    requests = instances("loglikelihood", list(queries))
    return BenchmarkSide(
        work=lambda _: model.loglikelihood(requests, disable_tqdm=True),
        items=len(queries),
        answer=lambda result: {"scores": np.array([score for score, _ in result])},
    )


def answer_with_harness(corpora: Corpora, case: Case) -> BenchmarkSide:
    """`generate_until`, greedily."""
    model, queries = harness(_folder(corpora), ANSWERED), questions(corpora, case)
    how = {"until": [STOP], "max_gen_toks": NEW, "do_sample": False}
    requests = instances("generate_until", [(prompt, dict(how)) for prompt in queries])
    return BenchmarkSide(work=lambda _: model.generate_until(requests, disable_tqdm=True), items=len(queries), answer=_hashes)

"""`make check-gpu` with the CPU as the device: every check but CUDA's own passes, and those of a network that differs fail."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from benchmarks import gpu
from tasks.models.forward_passes import out_of_memory, release
from tasks.models.load import repeatable

SMALL = gpu.Size(texts=24, hidden=32, layers=2, length=64)
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 512}


def test_on_the_cpu_every_check_passes_and_the_speed_is_a_share_of_the_chips_peak():
    report = gpu.measure("cpu", "NVIDIA H200", SMALL, **SHAPE)
    checks = {c["check"]: c for c in report["checks"]}
    assert report["failures"] == 0 and checks.keys() == gpu.CHECKS.keys() - gpu.ONLY_ON_A_GPU
    assert all(c["passed"] and c["difference"] <= c["bound"] for c in report["checks"])
    assert checks["scoring, each text alone"]["difference"] > 0 and checks["prompt cache in bfloat16"]["difference"] > 0
    assert "the batch is halved" in checks["out of memory"]["note"]
    *scoring, generation = report["throughput"]
    assert generation["work"] == "generation" and generation["tokens_per_second"] > 0 and "flops" not in generation
    for row in scoring:
        # 24 texts of 64 tokens: two layers of 12 h² + 13 h parameters and a norm, causal attention, 32 scored tokens
        layers = 2 * (24 * 64) * (2 * (12 * 32**2 + 13 * 32) + 2 * 32) + 24 * 2 * 4 * 32 * (64 * 65 // 2)
        assert row["flops"] == layers + 2 * (24 * 32) * 32 * 512
        assert row["share_of_peak"] == pytest.approx(row["flops"] / row["seconds"] / 989e12)


def test_a_device_that_computes_something_else_fails(tmp_path, monkeypatch):
    names = ("scoring", "scoring in bfloat16", "scoring, each text alone", "generation, greedy", "windows", "out of memory")
    load = gpu.DeviceComparison.model

    def model(comparison, device, dtype="float32"):
        loaded = load(comparison, device, dtype)
        if device == "cpu:0":
            loaded.network.get_output_embeddings().weight.mul_(1.05)
        return loaded

    def broken(comparison):
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(gpu.DeviceComparison, "model", model)
    monkeypatch.setattr(gpu, "CHECKS", {n: gpu.CHECKS[n] for n in names} | {"kernels": (1.0, broken)})
    found = gpu.run_checks("cpu:0", SMALL, tmp_path)
    assert [c["check"] for c in found] == [*names, "kernels"] and not any(c["passed"] for c in found)
    assert found[-1]["note"] == "RuntimeError: no kernel image is available" and found[-1]["difference"] is None


def test_a_check_that_could_not_have_failed_fails(tmp_path, monkeypatch):
    names = ("out of memory", "training, killed and continued, bytes")
    monkeypatch.setattr(gpu, "CHECKS", {n: gpu.CHECKS[n] for n in names})
    monkeypatch.setattr(gpu, "little_memory", lambda model, work: nullcontext())
    monkeypatch.setattr(gpu.Training, "_resume", lambda training: None)
    memory, training = gpu.run_checks("cpu", SMALL, tmp_path)
    assert not memory["passed"] and "no batch was halved" in memory["note"]
    assert not training["passed"] and "the training began again" in training["note"]


@pytest.mark.parametrize(
    ("device", "sheet"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA A100-PCIE-40GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("Tesla T4", "T4"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA H200 MIG 1g.18gb", None),
        ("NVIDIA GH200 480GB", None),
        ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
    ],
)
def test_a_chip_has_the_peak_of_its_own_data_sheet_or_none(device, sheet):
    found = gpu.data_sheet(device)
    assert (found and found.half) == (sheet and gpu.GPUS[sheet].half)


def test_without_a_gpu_one_line_says_so(tmp_path, monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main(["--out", str(tmp_path / "gpu.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_gpu_is_left_as_it_was(monkeypatch):
    """Attention's kernels are chosen for the whole process, on the CPU too; memory is given back by every name of a device."""
    import torch

    emptied = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    with repeatable("cuda"):
        assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.mem_efficient_sdp_enabled()
    for device in ("cuda", "cuda:0", "cpu"):
        release(device)
    assert len(emptied) == 2
    assert out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert out_of_memory(torch.AcceleratorError("CUDA error: out of memory"))
    assert not out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))

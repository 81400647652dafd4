from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studies.training.hardware import Precision, _cpu_computes_bfloat16, memory


@pytest.mark.parametrize(("flags", "fast"), [("fpu avx2", False), ("fpu avx512_bf16 amx_bf16", True), ("avx512f", False)])
def test_a_cpu_is_asked_for_its_instructions(tmp_path: Path, flags: str, fast: bool) -> None:
    cpuinfo = tmp_path / flags.replace(" ", "-")
    cpuinfo.write_text(f"flags\t: {flags}\n")
    assert _cpu_computes_bfloat16(cpuinfo) == fast


def test_float32_is_left_alone() -> None:
    precision = Precision("float32", "cpu")
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert precision.name == "float32"


def test_under_bfloat16_matrices_are_multiplied_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.training.hardware.computes_bfloat16", lambda device: True)
    precision = Precision("bfloat16", "cpu")
    with precision.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_memory_is_counted_in_bytes() -> None:
    found = memory("cpu")
    # Torch alone takes some 100 MB, and no machine that can load it has less than a gigabyte.
    assert 10**8 < found["peak"] < found["limit"]
    assert found["limit"] > 10**9

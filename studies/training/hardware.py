"""What the device that trains can do, and how much memory it took."""

from __future__ import annotations

import os
import platform
import resource
import sys
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import torch

# Instructions without which a CPU takes longer for bfloat16 than for float32.
_FAST = ("avx512_bf16", "amx_bf16")


class Precision:
    """`wanted` where the device computes it natively, float32 elsewhere: `name` says which."""

    def __init__(self, wanted: str, device: str) -> None:
        self.name = "bfloat16" if wanted == "bfloat16" and computes_bfloat16(device) else "float32"
        self.device = device

    def autocast(self) -> AbstractContextManager[object]:
        """Under it matrices are multiplied in this format; weights, and what needs the range, stay float32."""
        return torch.autocast(torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.name == "bfloat16")


def memory(device: str) -> dict[str, int]:
    """Bytes: the `peak` that this process took so far, and the `limit` of what there is."""
    if torch.device(device).type == "cuda":
        return {
            "peak": torch.cuda.max_memory_allocated(device),
            "limit": torch.cuda.get_device_properties(device).total_memory,
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"peak": peak, "limit": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")}


def computes_bfloat16(device: str) -> bool:
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return _cpu_computes_bfloat16(Path("/proc/cpuinfo"))


@cache
def _cpu_computes_bfloat16(cpuinfo: Path) -> bool:
    if platform.machine() == "arm64":
        return False  # Apple's chips have it, PyTorch's CPU code for them does not use it
    return cpuinfo.exists() and any(name in cpuinfo.read_text() for name in _FAST)

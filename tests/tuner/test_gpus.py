from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from studies.errors import InvalidInput
from tuner.gpus import FakeGpus, GpuLost, NvidiaGpus, Reading, nvidia_gpus


class Nvml:
    """The driver's library as far as it is asked: two devices of 80 GB, of which the second is divided in two."""

    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        pass

    def __init__(self, divided: bool = False) -> None:
        self.divided = divided
        self.lost: set[str] = set()

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        return f"GPU-{index}"

    def nvmlDeviceGetMigMode(self, handle: str) -> Sequence[int]:
        if not self.divided:
            raise self.NVMLError("Not Supported")
        return [int(handle == "GPU-1"), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: str) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: str, index: int) -> str:
        if index > 1:
            raise self.NVMLError("Not Found")
        return f"MIG-{index}"

    def nvmlDeviceGetUUID(self, handle: str) -> str:
        return f"{handle}-aaaa"

    def nvmlDeviceGetName(self, handle: str) -> bytes:
        return b"NVIDIA H100"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        if handle in self.lost:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(total=80 * 10**9, used=3 * 10**9)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        if handle.startswith("MIG"):
            raise self.NVMLError("Not Supported")
        return SimpleNamespace(gpu=97)


def test_devices_have_ids_that_no_order_can_change() -> None:
    gpus = NvidiaGpus(Nvml(), None)
    assert [gpu.id for gpu in gpus.gpus] == ["GPU-0-aaaa", "GPU-1-aaaa"]
    assert (gpus.gpus[0].name, gpus.gpus[0].memory) == ("NVIDIA H100", 80 * 10**9)
    assert gpus.read(gpus.gpus[0]) == Reading(utilisation=97, memory_used=3 * 10**9)


def test_a_divided_device_is_its_instances() -> None:
    gpus = NvidiaGpus(Nvml(divided=True), None)
    assert [gpu.id for gpu in gpus.gpus] == ["GPU-0-aaaa", "MIG-0-aaaa", "MIG-1-aaaa"]
    assert gpus.read(gpus.gpus[1]).utilisation is None


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("1", ["GPU-1-aaaa"]),
        ("1, 0", ["GPU-1-aaaa", "GPU-0-aaaa"]),
        ("GPU-1", ["GPU-1-aaaa"]),
        ("0,7,1", ["GPU-0-aaaa"]),
        ("", []),
    ],
)
def test_a_worker_uses_those_that_it_is_shown(visible: str, expected: list[str]) -> None:
    assert [gpu.id for gpu in NvidiaGpus(Nvml(), visible).gpus] == expected


def test_a_device_that_does_not_answer_is_lost() -> None:
    nvml = Nvml()
    gpus = NvidiaGpus(nvml, None)
    nvml.lost.add("GPU-1")
    with pytest.raises(GpuLost, match="GPU is lost"):
        gpus.read(gpus.gpus[1])
    gpus.read(gpus.gpus[0])


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert nvidia_gpus() is None


def test_an_invented_inventory() -> None:
    gpus = FakeGpus("2x24GB, 1x80gib")
    assert [(gpu.id, gpu.memory) for gpu in gpus.gpus] == [("0", 24 * 10**9), ("1", 24 * 10**9), ("2", 80 * 2**30)]
    gpus.lost.add("1")
    with pytest.raises(GpuLost):
        gpus.read(gpus.gpus[1])


@pytest.mark.parametrize("wrong", ["", "four", "4", "4x24XB", "x24GB", "4x24GB;2x1GB"])
def test_a_wrong_description_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(InvalidInput, match="4x24GB"):
        FakeGpus(wrong)

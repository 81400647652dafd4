"""The GPUs of this machine: which there are, whether they are still there, how busy they are.

NVIDIA's are asked for through its driver's management library, which starts no CUDA context. Where there is no such driver
torch is asked, in a trial's process. `TUNER_FAKE_GPUS=4x24GB` puts an invented inventory in their place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from studies.errors import InvalidInput

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30}
_FAKE = re.compile(r"\s*(\d{1,3})\s*x\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One device. `id` is what CUDA_VISIBLE_DEVICES calls it: where the driver tells one, an id that no order can change."""

    id: str
    name: str
    memory: int  # bytes


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How busy a device is just now; None: not known."""

    utilisation: int | None = None  # percent of the last moments in which it computed anything
    memory_used: int | None = None  # bytes, by all processes


class GpuLost(Exception):
    """The device does not answer any more; the message says what the driver said."""


class Inventory(Protocol):
    """Where a worker's GPUs come from."""

    device: str  # what a trial's job is to train on with them
    gpus: Sequence[Gpu]

    def read(self, gpu: Gpu) -> Reading:
        """Raises GpuLost."""


class FakeGpus:
    """An invented inventory. Trials train on the CPU under it; `lost` names devices that have vanished."""

    device = "cpu"

    def __init__(self, description: str) -> None:
        """Raises InvalidInput unless it is such as `4x24GB` or `2x24GB,1x80GB`."""
        sizes: list[int] = []
        for part in description.split(","):
            found = _FAKE.fullmatch(part)
            if found is None or found[3].upper() not in _UNITS:
                raise InvalidInput.at("TUNER_FAKE_GPUS", f"must be such as 4x24GB or 2x24GB,1x80GB, not {description!r}")
            sizes += [int(float(found[2]) * _UNITS[found[3].upper()])] * int(found[1])
        self.gpus: Sequence[Gpu] = [Gpu(id=str(index), name="fake GPU", memory=memory) for index, memory in enumerate(sizes)]
        self.lost: set[str] = set()

    def read(self, gpu: Gpu) -> Reading:
        if gpu.id in self.lost:
            raise GpuLost("it was taken out of the invented inventory")
        return Reading(utilisation=0, memory_used=0)


class UnwatchedGpus:
    """Devices that nobody can be asked about, such as those that torch finds without NVIDIA's driver."""

    device = "cuda"

    def __init__(self, gpus: Sequence[Gpu]) -> None:
        self.gpus = gpus

    def read(self, gpu: Gpu) -> Reading:
        return Reading()


class NvidiaGpus:
    """What the driver's management library (NVML) tells; its instances where a device is divided (MIG)."""

    device = "cuda"

    def __init__(self, nvml: Any, visible: str | None) -> None:
        """`visible`: the CUDA_VISIBLE_DEVICES of this process; trials get no others."""
        self._nvml = nvml
        self._handles: dict[str, Any] = {}
        self.gpus: Sequence[Gpu] = [self._gpu(handle) for handle in _chosen(_handles(nvml), _ids(nvml), visible)]

    def _gpu(self, handle: Any) -> Gpu:
        gpu = Gpu(
            id=_text(self._nvml.nvmlDeviceGetUUID(handle)),
            name=_text(self._nvml.nvmlDeviceGetName(handle)),
            memory=int(self._nvml.nvmlDeviceGetMemoryInfo(handle).total),
        )
        self._handles[gpu.id] = handle
        return gpu

    def read(self, gpu: Gpu) -> Reading:
        try:
            used = int(self._nvml.nvmlDeviceGetMemoryInfo(self._handles[gpu.id]).used)
        except self._nvml.NVMLError as error:
            raise GpuLost(f"the driver says: {error}") from error
        return Reading(utilisation=self._utilisation(gpu), memory_used=used)

    def _utilisation(self, gpu: Gpu) -> int | None:
        try:
            return int(self._nvml.nvmlDeviceGetUtilizationRates(self._handles[gpu.id]).gpu)
        except self._nvml.NVMLError:
            return None  # an instance of a divided device has none of its own


def nvidia_gpus() -> NvidiaGpus | None:
    """None where there is no driver, or no package to ask it with."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        return NvidiaGpus(pynvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except pynvml.NVMLError:
        return None


def _handles(nvml: Any) -> list[Any]:
    """Every device, in the order of the bus; a divided one is its instances."""
    found: list[Any] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        instances = _instances(nvml, handle)
        found += instances or [handle]
    return found


def _instances(nvml: Any, handle: Any) -> list[Any]:
    found = []
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return []
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        return []  # it can't be divided
    for index in range(count):
        try:
            found.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
        except nvml.NVMLError:
            continue  # no instance was made there
    return found


def _ids(nvml: Any) -> list[str]:
    return [_text(nvml.nvmlDeviceGetUUID(handle)) for handle in _handles(nvml)]


def _chosen(handles: Sequence[Any], ids: Sequence[str], visible: str | None) -> list[Any]:
    """Those that CUDA_VISIBLE_DEVICES names, by number or by (the beginning of) an id; CUDA stops at the first unknown one."""
    if visible is None:
        return list(handles)
    chosen = []
    for name in (part.strip() for part in visible.split(",")):
        if name.isdecimal():
            found = [int(name)] if int(name) < len(handles) else []
        else:
            found = [index for index, known in enumerate(ids) if name and known.startswith(name)]
        if len(found) != 1:
            break
        chosen.append(handles[found[0]])
    return chosen


def _text(told: str | bytes) -> str:
    return told.decode() if isinstance(told, bytes) else told

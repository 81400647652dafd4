"""A worker's eye on its GPUs: found at the start, looked at now and then, set aside when one is gone."""

from __future__ import annotations

import platform
from importlib import metadata

import structlog

from studies.errors import TrialFailure
from tuner.errors import TunerError
from tuner.gpus import FakeGpus, Gpu, GpuLost, Inventory, UnwatchedGpus, nvidia_gpus
from tuner.places import Places, Slot
from tuner.trial_process import detect_gpus, warm_up

log = structlog.get_logger()


class GpuWatch:
    """Knows which of an inventory's devices are still there; `places` gives out no other."""

    def __init__(self, inventory: Inventory, places: Places) -> None:
        self.inventory = inventory
        self._places = places

    def seen(self) -> list[dict[str, object]]:
        """Look at each device now; returns what the service is told of them."""
        return [self._look(gpu) for gpu in self.inventory.gpus]

    def lost(self, slot: Slot, *, look: bool = False) -> TrialFailure | None:
        """The failure of a trial whose device is gone; `look`: ask the driver now."""
        for gpu in slot.gpus:
            if look:
                self._look(gpu)
            if (why := self._places.lost().get(gpu.id)) is not None:
                return TrialFailure("hardware", why)
        return None

    def _look(self, gpu: Gpu) -> dict[str, object]:
        told: dict[str, object] = {"id": gpu.id, "name": gpu.name, "memory": gpu.memory}
        if (why := self._places.lost().get(gpu.id)) is not None:
            return told | {"set_aside": why}
        try:
            reading = self.inventory.read(gpu)
        except GpuLost as lost:
            return told | {"set_aside": self._set_aside(gpu, lost)}
        known = {"utilisation": reading.utilisation, "memory_used": reading.memory_used}
        return told | {name: value for name, value in known.items() if value is not None}

    def _set_aside(self, gpu: Gpu, lost: GpuLost) -> str:
        why = f"GPU {gpu.id} ({gpu.name}) of {platform.node()} has vanished: {lost}"
        log.error("a GPU is set aside; the kernel's log may say why (Xid); restart this worker once it is back", reason=why)
        self._places.set_aside(gpu, why)
        return why


def prepare(fake: str | None, wanted: int | None) -> Inventory:
    """Start the process that trials are forked from, and look for GPUs, of which the first `wanted` are used.

    Raises InvalidInput for a wrong description of `fake` ones, TunerError where there are GPUs that torch can't use.
    """
    warm_up()
    inventory = _found(fake) if wanted != 0 else UnwatchedGpus([])
    inventory.gpus = inventory.gpus[:wanted]
    return inventory


def _found(fake: str | None) -> Inventory:
    if fake is not None:
        return FakeGpus(fake)
    usable = [Gpu(**gpu) for gpu in detect_gpus()]
    found = nvidia_gpus()
    if found is None or not found.gpus:
        return UnwatchedGpus(usable)
    if not usable:
        raise TunerError(
            f"the driver knows {len(found.gpus)} GPUs ({found.gpus[0].name}), but torch {metadata.version('torch')} here can use "
            "none: install a build of torch for this driver's CUDA, or train on the CPU with --gpus 0"
        )
    return found

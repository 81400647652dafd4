"""Where a worker's trials run: how many at once, on which GPUs, with how many threads. Nothing is ever given twice.

A GPU has one place, or several where the worker was told to have more slots than GPUs. A trial of several GPUs takes them
whole. Packed, a GPU has as many places as its memory has room for, going by the most that trials of a study have taken here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from tuner.gpus import Gpu

MOST_ON_ONE_GPU = 4  # packed: the processor's cores are shared too
_MARGIN = 1.2  # over the most that was measured: another configuration of the same study may take more
_CONTEXT_BYTES = 700_000_000  # CUDA's own, which no trial sees in what it measures
_USABLE = 0.95


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for one trial."""

    index: int  # of those in use now, the lowest that was free
    gpus: tuple[Gpu, ...]  # empty: CPU
    threads: int
    shared: bool = False  # its GPU may have other trials on it


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a worker may ask for now."""

    gpus: int  # at most so many for one trial
    studies: Sequence[str] | None = None  # only of these; None: of any


@dataclass
class _Device:
    gpu: Gpu
    places: int
    taken: dict[int, int] = field(default_factory=dict)  # slot → bytes that it was given the place for
    lost: str | None = None  # why it is set aside

    @property
    def whole(self) -> bool:
        return self.places > 0 and not self.taken and self.lost is None

    @property
    def has_place(self) -> bool:
        return self.lost is None and len(self.taken) < self.places

    @property
    def room(self) -> int:
        """Bytes, as far as it is known what is taken."""
        free = int(self.gpu.memory * _USABLE) - sum(self.taken.values())
        return free if self.places and self.lost is None and len(self.taken) < MOST_ON_ONE_GPU else 0


class Places:
    """All places of one worker; safe to use from every thread."""

    def __init__(self, gpus: Sequence[Gpu], *, slots: int | None = None, cores: int | None = None, pack: bool = False) -> None:
        """`slots`: trials at once; default: one per GPU, on a machine without one per four cores. `pack` goes by memory.

        `cores`: of the processor, that all of them share; default: all.
        """
        cores = cores or os.cpu_count() or 1
        count = slots or (len(gpus) * (MOST_ON_ONE_GPU if pack else 1)) or max(1, cores // 4)
        self.count = count
        self.pack = pack and bool(gpus)
        self._threads = max(1, cores // count)
        self._devices = [_Device(gpu, len(range(index, count, len(gpus)))) for index, gpu in enumerate(gpus)]
        self._used: set[int] = set()
        self._most: dict[str, int] = {}  # study → the most bytes that a trial of it has taken
        self._alone: set[tuple[str, int]] = set()  # trials that ran out of memory beside others
        self._changed = threading.Condition()

    def room(self) -> Room | None:
        """What there is room for now; None: for nothing."""
        with self._changed:
            if not self._devices:
                return Room(gpus=0) if len(self._used) < self.count else None
            whole = sum(device.whole for device in self._devices)
            if whole:
                return Room(gpus=whole)
            if self.pack:
                biggest = max(device.room for device in self._devices)
                waiting = {study for study, _ in self._alone}  # for a GPU of its own; the service would offer that trial first
                fitting = [study for study in self._most if self._need(study) <= biggest and study not in waiting]
                return Room(gpus=1, studies=fitting) if fitting else None
            return Room(gpus=1) if any(device.has_place for device in self._devices) else None

    def wait(self, seconds: float) -> None:
        """Until a place is given back, at most so long."""
        with self._changed:
            self._changed.wait(seconds)

    def take(self, gpus: int, study: str, trial: int) -> Slot | None:
        """A place for a trial that wants so many GPUs; None if there is none now."""
        with self._changed:
            index = next(number for number in range(len(self._used) + 1) if number not in self._used)
            chosen, need = self._choose(gpus, study, trial)
            if (self._devices and not chosen) or (not self._devices and len(self._used) >= self.count):
                return None
            self._alone.discard((study, trial))
            for device in chosen:
                device.taken[index] = need or device.gpu.memory
            self._used.add(index)
            # A trial that wants no GPU still takes a place on one, for the sake of the cores.
            shown = tuple(device.gpu for device in chosen) if gpus else ()
            return Slot(index=index, gpus=shown, threads=self._threads * max(1, len(chosen)), shared=need > 0)

    def give_back(self, slot: Slot) -> None:
        with self._changed:
            self._used.discard(slot.index)
            for device in self._devices:
                device.taken.pop(slot.index, None)
            self._changed.notify_all()

    def measured(self, study: str, peak: int) -> None:
        """A trial of the study has taken so many bytes of a GPU at most."""
        with self._changed:
            self._most[study] = max(peak, self._most.get(study, 0))

    def ran_out(self, study: str, trial: int) -> None:
        """A trial ran out of memory beside others: it has a GPU to itself next time."""
        with self._changed:
            self._alone.add((study, trial))

    def set_aside(self, gpu: Gpu, why: str) -> None:
        """No trial gets this device any more."""
        with self._changed:
            for device in self._devices:
                if device.gpu == gpu:
                    device.lost = why
            self._changed.notify_all()

    def lost(self) -> dict[str, str]:
        """Devices that are set aside, by id, and why."""
        with self._changed:
            return {device.gpu.id: device.lost for device in self._devices if device.lost is not None}

    @property
    def usable(self) -> bool:
        """Whether any trial can ever run here again."""
        with self._changed:
            return not self._devices or any(device.lost is None and device.places for device in self._devices)

    def _need(self, study: str) -> int:
        return int(self._most[study] * _MARGIN) + _CONTEXT_BYTES

    def _choose(self, gpus: int, study: str, trial: int) -> tuple[list[_Device], int]:
        """Devices for a trial, and the bytes it is expected to take of one that others may share; 0: it has a fixed share."""
        whole = [device for device in self._devices if device.whole]
        if gpus > 1:
            return (whole[:gpus] if len(whole) >= gpus else []), 0
        if not self.pack:
            free = [device for device in self._devices if device.has_place]
            return [min(free, key=lambda device: len(device.taken))] if free else [], 0
        if gpus and (study not in self._most or (study, trial) in self._alone):
            return whole[:1], 0
        need = self._need(study) if gpus else 1
        fitting = [device for device in self._devices if device.room >= need]
        return [min(fitting, key=lambda device: device.room)] if fitting else whole[:1], need

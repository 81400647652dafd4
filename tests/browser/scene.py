"""What the browser looks at: studies in every state of their life, played through the manager."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from studies.errors import FailureKind
from tests.browser.results import result_files
from tests.simulation import accuracy, start_study
from tuner.db.trial_rows import trial_of_lease
from tuner.granting import Lease
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.records import MetricPoint, Study
from tuner.service import Service, utc_now
from tuner.workforce import add_worker

FAILURES: Mapping[int, tuple[FailureKind, str]] = {
    6: ("nan", "the loss became nan at step 37 of epoch 1, with learning rate 9.1e-4"),
    13: ("oom", "ran out of memory: 512 MiB more were wanted, 130 MiB were free"),
}
STOPPED = 9
ON_GPU, GPU = 4101, "GPU-7b1f"  # the worker that has one
LOST = 4


@dataclass
class _Slot:
    worker_id: str
    free_at: datetime
    lease: Lease | None = None
    epoch: int = 0


class Player:
    """Plays the workers of one study, from some minutes ago until now."""

    def __init__(self, service: Service, study: Study, begin: datetime) -> None:
        self.service = service
        self.study = study
        self.rng = random.Random(5)
        self.ended = 0
        self.slots = [_Slot(self._worker(pid, begin), begin) for pid in (ON_GPU, 4102)]

    def _worker(self, pid: int, now: datetime) -> str:
        gpus = [{"id": GPU, "name": "NVIDIA L4", "memory": 24_000_000_000}] if pid == ON_GPU else []
        versions = {"python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"}
        return add_worker(self.service.ledger, host="node-a", pid=pid, gpus=gpus, versions=versions, now=now).id

    def play(self, trials: int) -> None:
        """Until so many have ended; then each worker is in the first epochs of another."""
        while self.ended < trials:
            slot = min(self.slots, key=lambda slot: slot.free_at)
            lease = slot.lease or self._lease(slot)
            slot.free_at += timedelta(seconds=self.rng.uniform(8, 14))
            self.ended += self._epoch(slot, lease)
        for slot in self.slots:
            while self._told_to_stop(slot.lease or self._lease(slot), slot.epoch + 1):
                slot.lease = None
                self.ended += 1

    def _told_to_stop(self, lease: Lease, epoch: int) -> bool:
        return self.service.manager.report(lease.id, scores(lease.params, epoch, self.rng), now=utc_now()).stop

    def _lease(self, slot: _Slot) -> Lease:
        slot.lease, slot.epoch = self.service.manager.lease(slot.worker_id, studies=[self.study.id], now=slot.free_at), 0
        assert slot.lease is not None
        if slot is self.slots[0]:
            self.service.manager.heartbeat(slot.lease.id, gpus=[GPU], now=slot.free_at)
        return slot.lease

    def _epoch(self, slot: _Slot, lease: Lease) -> bool:
        """One more epoch of a trial, or its end by a fault; whether it has ended."""
        manager, now = self.service.manager, slot.free_at
        slot.epoch += 1
        if lease.trial == LOST and lease.attempt == 1:
            manager.finish(lease.id, Ending(state="failed", failure=("lost", "the worker was gone for 60 s")), now=now)
            slot.lease = None
            return False
        if lease.trial == STOPPED:
            self.service.lifecycle.stop_trial(self.study.id, lease.trial, actor=Actor(), now=now)
            slot.lease = None
            return True
        if lease.trial in FAILURES:
            manager.finish(lease.id, Ending(state="failed", failure=FAILURES[lease.trial]), now=now)
            slot.lease = None
            return True
        points = scores(lease.params, slot.epoch, self.rng)
        manager.log(lease.id, [f"epoch {slot.epoch}: accuracy {points[0].value:.4f}"], now=now)
        verdict = manager.report(lease.id, points, now=now)
        if not verdict.stop and slot.epoch < int(lease.params["epochs"] or 0):
            return False
        values = {point.name: point.value for point in points if point.split == "validation"}
        trained = 22_700_000 - 1_770_000 * int(lease.params["frozen_layers"] or 0)
        details = {"trained_parameters": trained, "seconds": {"train": 9.3 * slot.epoch, "evaluate": 0.8 * slot.epoch}}
        details |= {"memory": {"peak": 790_540_288, "limit": 25_276_514_304}}
        if not verdict.stop:
            self._keep(lease, result_files(points[0].value, self.rng), now)
        manager.finish(lease.id, Ending(state="completed", values=values, details=details), now=now)
        slot.lease = None
        return True

    def _keep(self, lease: Lease, files: Mapping[str, str], now: datetime) -> None:
        store = self.service.artifacts
        with self.service.ledger.read() as connection:
            trial = trial_of_lease(connection, lease.id)
        assert trial is not None
        for name, text in files.items():
            store.attach(lease.id, trial, name, store.receive([text.encode()], now=now), now=now)


def scores(params: Mapping[str, Any], epoch: int, rng: random.Random) -> list[MetricPoint]:
    """The objective first."""
    value = min(1.0, max(0.0, accuracy(params, epoch) + rng.gauss(0, 0.006)))
    numbers = {
        ("accuracy", "validation"): value,
        ("macro_f1", "validation"): value * 0.95,
        ("loss", "validation"): -math.log(max(value, 0.05)),
        ("loss", "train"): -math.log(max(value, 0.05)) * 0.9,
    }
    return [
        MetricPoint(name=name, value=number, step=30 * epoch, epoch=float(epoch), split=split)
        for (name, split), number in numbers.items()
    ]


def busy_study(service: Service, *, trials: int = 38, **changes: Any) -> Player:
    """A study in the middle of its life: trials in every state, two of them running now and one waiting."""
    begin = utc_now() - timedelta(minutes=11.5)  # about as long as 38 trials take
    # Median pruning ends what it stops; successive halving would set it aside.
    about = {"pruner": {"name": "median"}, "tags": {"team": "reading"}, "notes": "Which layers may stay frozen?"}
    player = Player(service, start_study(service, begin, **({"budget": {"trials": 60}} | about | changes)), begin)
    player.play(trials)
    service.lifecycle.enqueue(player.study.id, {"learning_rate": 1e-4, "epochs": 4}, actor=Actor(), now=utc_now())
    return player

"""A trial that speaks through a pipe: to the process that looks after it, which answers what is to be answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from studies.definition import Checkpoint, Keep, Metric, Verdict


@dataclass(frozen=True)
class Trained:
    """The trial has ended with `values`. The answer is whether its model is wanted."""

    values: Mapping[str, float]


class Piped(Keep):
    """The trial's side. What it sends: a list of metrics, answered by a Verdict; a Checkpoint; Trained, answered by a bool."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def report(self, metrics: Sequence[Metric]) -> Verdict:
        self._pipe.send(list(metrics))
        verdict: Verdict = self._pipe.recv()
        return verdict

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        self._pipe.send(checkpoint)

    def wants_model(self, values: Mapping[str, float]) -> bool:
        self._pipe.send(Trained(values))
        wanted: bool = self._pipe.recv()
        return wanted

"""One trial on several GPUs: a process for each, a rank, that trains its own copy of the model on its share of every batch.

The trial's own process trains nothing then. It starts the ranks, passes on what the first of them reports and leaves, and ends
all of them as soon as one fails. The others only compute gradients, which are added up before each step, so that every
copy takes the same one.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from studies.definition import Checkpoint, Job, Keep, Outcome, Report, Verdict
from studies.errors import TrialFailure, death_of, failure_of
from studies.piped import Piped, Trained

Value = TypeVar("Value")
_BUCKET = 8 * 2**20  # numbers that are added up at once: enough for a fast transfer, without a second copy of all gradients
# How long a rank may wait for the others is the study's to say (`timeouts`), which the worker sees to.
_PATIENCE = timedelta(days=7)
_SECONDS_TO_DIE = 10.0
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


class CutOff(Exception):
    """Another rank does not answer: what became of it is the reason why the trial ends, not this."""


@dataclass(frozen=True)
class Ranks:
    """What one rank knows of all: which it is, and how many there are. The first one evaluates, reports and saves."""

    index: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        return self.index == 0

    def share(self, rows: Sequence[int]) -> list[int]:
        """This rank's part of a batch, whose rows come by length: every one gets as many tokens. It may be empty."""
        return list(rows[self.index :: self.count])

    def add_up(self, parameters: Sequence[nn.Parameter], loss: float) -> float:
        """Give each of `parameters` the sum of what the ranks have as its gradient; returns the sum of their losses.

        One that has a gradient on no rank gets none: the optimiser would move what was given one of 0.
        """
        if self.count == 1:
            return loss
        sums = torch.tensor([loss, *(parameter.grad is not None for parameter in parameters)], dtype=torch.float64)
        with _others_answering():
            dist.all_reduce(sums)
        moved = [parameter for parameter, ranks in zip(parameters, sums[1:].tolist(), strict=True) if ranks]
        for bucket in _buckets(moved):
            parts = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in bucket]
            flat = torch.cat([part.reshape(-1) for part in parts])
            with _others_answering():
                dist.all_reduce(flat)
            for parameter, part in zip(bucket, torch.split(flat, [part.numel() for part in parts]), strict=True):
                parameter.grad = part.view_as(parameter)
        return float(sums[0])

    def told(self, value: Value) -> Value:
        """What the first rank has for `value`; the others wait for it."""
        if self.count == 1:
            return value
        box = [value]
        with _others_answering():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    @contextmanager
    def one_after_the_first(self) -> Iterator[None]:
        """The others begin when the first is through, and find what it has left for them."""
        if not self.first:
            self.told(None)
        yield
        if self.first:
            self.told(None)

    def draw_apart(self, seed: str) -> None:
        """Let every rank but the first, which keeps the trial's own, draw from a random state that follows from `seed`.

        From one state all would drop the same places of their shares.
        """
        if not self.first:
            torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {self.index}".encode()).digest()[:8]))


Train = Callable[[Job, Report, Keep, Ranks], Outcome | None]  # an outcome from the first rank, nothing from the others


def in_ranks(train: Train, job: Job, report: Report, keep: Keep) -> Outcome:
    """Call `train` in `job.ranks` processes, or here if that is one; `report` and `keep` are called here in any case.

    The processes are forked from this one: it may have neither threads nor a device. None of them is left at the end.
    Raises TrialFailure for what became of the first rank to fail.
    """
    if job.ranks == 1:
        outcome = train(job, report, keep, Ranks())
        assert outcome is not None
        return outcome
    context = multiprocessing.get_context("fork")
    (job.folder / "ranks").unlink(missing_ok=True)
    started: dict[Connection, ForkProcess] = {}
    try:
        for index in range(job.ranks):
            ours, theirs = context.Pipe()
            process = context.Process(target=_run, args=(train, job, Ranks(index, job.ranks), theirs), name=f"rank {index}")
            process.start()
            theirs.close()
            started[ours] = process
        return _followed(started, report, keep)
    finally:
        for pipe, process in started.items():
            process.kill()
            process.join(_SECONDS_TO_DIE)
            pipe.close()


def _followed(started: dict[Connection, ForkProcess], report: Report, keep: Keep) -> Outcome:
    """Pass on what the first rank tells until it has an outcome, or one of them fails."""
    running = dict(started)
    cut_off: CutOff | None = None
    while running:
        for pipe in [one for one in wait(list(running)) if isinstance(one, Connection)]:
            try:
                message: object = pipe.recv()
            except (EOFError, ConnectionError):
                process = running.pop(pipe)
                process.join(_SECONDS_TO_DIE)
                if process.exitcode != 0:
                    raise death_of(f"{process.name} of the trial", process.exitcode) from None
                continue
            if isinstance(message, TrialFailure):
                raise message
            if isinstance(message, Outcome):
                return message
            if isinstance(message, CutOff):
                cut_off = message
            elif isinstance(message, Checkpoint):
                keep.checkpoint(message)
            elif isinstance(message, list | Trained):
                answer = keep.wants_model(message.values) if isinstance(message, Trained) else report(message)
                with suppress(ConnectionError):  # it is gone: the next look at its pipe says so
                    pipe.send(answer)
    raise TrialFailure("hardware", f"the processes of the trial lost each other: {cut_off}")


def _run(train: Train, job: Job, ranks: Ranks, pipe: Connection) -> None:
    """A rank, from its beginning to its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what Ctrl-C ends is the trial, and that ends its ranks
    threading.Thread(target=_end_with_trial, daemon=True).start()
    told = Piped(pipe)

    def unheard(_: object) -> Verdict:
        return Verdict()

    message: Outcome | TrialFailure | CutOff | None
    try:
        _meet(job, ranks)
        message = train(job, told.report if ranks.first else unheard, told, ranks)
    except CutOff as error:
        message = error
    except Exception as error:  # noqa: BLE001  the outermost edge of this process
        message = failure_of(error)
    pipe.send(message)


def _meet(job: Job, ranks: Ranks) -> None:
    """Have each rank see its own device only, and wait until all can speak to each other, on this machine alone."""
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        os.environ[variable] = _LOOPBACK
    gpus = torch.device(job.device).type == "cuda"
    if gpus:
        seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(ranks.count)))
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(seen.split(",")[ranks.index : ranks.index + 1])
        if not torch.cuda.is_available():
            raise TrialFailure(
                "hardware", f"the trial trains on {ranks.count} GPUs, of {seen}, and number {ranks.index + 1} is not there"
            )
    store = dist.FileStore(str(job.folder / "ranks"), ranks.count)  # type: ignore[attr-defined]  # documented, not listed
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    with _others_answering():
        dist.init_process_group(backend, store=store, rank=ranks.index, world_size=ranks.count, timeout=_PATIENCE)


@contextmanager
def _others_answering() -> Iterator[None]:
    """Tells an error of this rank from one that another's end causes."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        if "out of memory" in str(error):  # NCCL says so in words
            raise
        raise CutOff(str(error)) from error


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """All of them, in their order, in lists of so many numbers that a transfer is worth while."""
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        bucket.append(parameter)
        if sum(one.numel() for one in bucket) >= _BUCKET:
            yield bucket
            bucket = []
    if bucket:
        yield bucket


def _end_with_trial() -> None:
    """A rank that lost the trial's process would wait for the others for ever."""
    trial = multiprocessing.parent_process()
    if trial is not None:
        trial.join()
        os._exit(1)

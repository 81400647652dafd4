"""A trial in a process of its own, fresh for each trial at the price of a warm one.

A trial that leaks GPU memory or crashes must not hurt the next, yet importing torch and transformers takes seconds:
`multiprocessing`'s forkserver imports them once (never touching CUDA) and forks each trial from there.
"""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import tempfile
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

import structlog

from studies.catalog import definition
from studies.definition import Checkpoint, Job, Metric, Outcome, Verdict
from studies.errors import TrialFailure, death_of, failure_of
from studies.piped import Piped, Trained
from tuner.errors import TunerError
from tuner.process_tree import kill_tree

log = structlog.get_logger()
_MOST_SECONDS_TO_DIE = 5.0
# Trials' processes are reached by sockets below TMPDIR. A socket's path may have 107 bytes; /pymp-…/listener-… takes 32.
_LONGEST_TMPDIR = 107 - 32

# A child runs the script anew that its worker was started by (`multiprocessing` does that); `tuner` imports the command line.
_PRELOADED = ["tuner.trial_process", "studies.training.warm", "tuner.cli"]

Message = Sequence[Metric] | Checkpoint | Trained | Outcome | TrialFailure


class TrialProcess:
    """A running trial. `receive` its messages; answer each report, and what it asks when it is Trained, with `reply`."""

    def __init__(self, job: Job, environment: dict[str, str]) -> None:
        self._pipe, theirs = _context().Pipe()
        # Not one of multiprocessing's daemons: those may start no processes, and a trial on several GPUs does.
        self._process: ForkServerProcess = _context().Process(
            target=_run, args=(job, theirs, environment), name=f"trial-{job.folder.name}", daemon=False
        )
        _start(self._process)
        theirs.close()

    def receive(self, timeout: float) -> Message | None:
        """The next message, or None if none came within `timeout` seconds. A process that is gone is a TrialFailure."""
        try:
            if not self._pipe.poll(timeout):
                return None
            message: Message = self._pipe.recv()
            return message
        except (EOFError, ConnectionError):
            self._process.join(10)
            return death_of("the trial's process", self._process.exitcode)

    def reply(self, answer: Verdict | bool) -> None:
        try:
            self._pipe.send(answer)
        except ConnectionError:
            pass  # the process is gone: the next `receive` says so

    def end(self, grace: float = 0.0) -> None:
        """Wait `grace` seconds for it to end by itself, then kill it and all that it started."""
        self._process.join(grace)
        if self._process.pid is not None:
            stuck = kill_tree(self._process.pid)
            if stuck:
                log.error("processes of a trial can't be killed", pids=stuck)
        self._process.join(_MOST_SECONDS_TO_DIE)
        self._pipe.close()


def warm_up() -> None:
    """Start the forkserver now, so that the first trial need not wait for its imports. Raises TunerError if it can't be."""
    if len(os.fsencode(folder := tempfile.gettempdir())) > _LONGEST_TMPDIR:
        raise TunerError(f"TMPDIR: {folder} is too long for sockets in it; set it to a path of at most {_LONGEST_TMPDIR} bytes")
    process = _context().Process(target=_nothing, daemon=True)
    _start(process)
    process.join()


def detect_gpus() -> list[dict[str, Any]]:
    """Id, name and memory (bytes) of each device that torch can use here. Asked in a child: who has touched CUDA can't fork."""
    ours, theirs = _context().Pipe(duplex=False)
    process = _context().Process(target=_tell_gpus, args=(theirs,), daemon=True)
    _start(process)
    theirs.close()
    try:
        gpus: list[dict[str, Any]] = ours.recv()
    except EOFError:
        gpus = []
    process.join()
    return gpus


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _start(process: ForkServerProcess) -> None:
    """Ctrl-C in a terminal reaches every process in it, and the worker decides what becomes of its trials.

    So the forkserver, which may have to be started, and all that it forks are deaf to it, from before their first line.
    """
    resource_tracker.ensure_running()  # here, because it lets the signal in again once it has started
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def _nothing() -> None:
    return


def _tell_gpus(pipe: Connection) -> None:
    import torch  # only ever in a trial's process

    # Where this process sees only some of the machine's devices, torch counts among those.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(torch.cuda.device_count())]
    properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    named = zip(names, properties, strict=False)
    pipe.send([{"id": name.strip(), "name": device.name, "memory": device.total_memory} for name, device in named])


def _run(job: Job, pipe: Connection, environment: dict[str, str]) -> None:
    """The child: train, and tell the worker how it went."""
    os.environ.update(environment)
    os.setsid()  # what the trial starts is found, and killed, by this session
    _end_with_worker()
    told = Piped(pipe)
    message: Outcome | TrialFailure
    try:
        message = definition(job.task).train(job, told.report, told)
    except Exception as error:  # noqa: BLE001  the outermost edge of this process
        message = failure_of(error)
    pipe.send(message)


def _end_with_worker() -> None:
    """Fork a process that waits for the worker's end and kills this trial then. A thread could not while C code runs."""
    worker, trial = multiprocessing.parent_process(), os.getpid()
    if worker is None or os.fork() != 0:
        return
    # No other file may stay open here: whoever reads from its other end would never see that the trial has ended.
    sentinel = worker.sentinel
    assert isinstance(sentinel, int)
    os.closerange(0, sentinel)
    os.closerange(sentinel + 1, os.sysconf("SC_OPEN_MAX"))
    ended = select.poll()
    ended.register(sentinel)
    ended.poll()
    kill_tree(trial)
    os._exit(0)

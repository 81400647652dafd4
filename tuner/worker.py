"""A worker: leases trials from a service, trains each in a process of its own, reports every epoch.

Each slot is a thread that holds at most one trial; training happens in the trial's process, so that slots do not
hinder each other and a trial that dies takes nothing with it.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import structlog

from studies.definition import RESUMED_LATER, Checkpoint, Job, Metric, Outcome, Verdict
from studies.errors import InvalidInput, TrialFailure
from tuner.allowed import check_allowed
from tuner.client import Client
from tuner.errors import Refused, ServiceError
from tuner.leased_trial import LeasedTrial
from tuner.outbox import passes
from tuner.spec import data_spec, direction_of, objective_of, parse
from tuner.trial_process import Message, TrialProcess, detect_gpus, warm_up

log = structlog.get_logger()
Result = TypeVar("Result")
# How long a trial that was told to stop may go on before it is killed; longer where it can still leave a checkpoint.
_GRACE_SECONDS = 3.0
_GRACE_SECONDS_TO_KEEP = 10.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A place for one trial."""

    index: int
    gpu: int | None  # which of the machine's devices; None: CPU
    threads: int


class Worker:
    """Trains trials until `stop` is set; a trial that it then holds is given back."""

    def __init__(
        self,
        client: Client,
        slots: Sequence[Slot],
        *,
        folder: Path,
        studies: Sequence[str] | None = None,
        allowed_sources: Sequence[str] | None = None,
        shared: Path | None = None,
        shared_bytes: int = 0,
    ) -> None:
        """`shared` is where trials share what is computed once, up to `shared_bytes`."""
        self.client = client
        self.slots = slots
        self.folder = folder
        self.studies = studies
        self.allowed_sources = allowed_sources
        self.shared, self.shared_bytes = shared, shared_bytes
        self.stopping = threading.Event()
        self.worker_id = ""

    def run(self, gpus: Sequence[Mapping[str, Any]] = ()) -> None:
        """Returns once `stopping` is set and every trial has been given back. Raises Refused if the service wants no worker."""
        self.worker_id = self._patiently(lambda: self.client.register(gpus, versions()))
        threads = [threading.Thread(target=self._serve, args=(slot,), name=f"slot-{slot.index}") for slot in self.slots]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _serve(self, slot: Slot) -> None:
        while not self.stopping.is_set():
            try:
                trial = self._patiently(lambda: self.client.lease(self.worker_id, studies=self.studies, wait_seconds=2.0))
                if trial is not None:
                    trial.give_up = self.stopping
                    self._train(slot, trial)
            except Refused as refusal:
                if refusal.status != 409:
                    log.error("the service refused this worker", status=refusal.status, detail=refusal.detail)
                    self.stopping.set()
            except OSError as error:
                # A full disk, too many processes: the next trial would fare no better here, but would elsewhere.
                log.error("this machine can train no more trials", error=str(error))
                self.stopping.set()
            except ServiceError as error:
                if not self.stopping.is_set():
                    log.warning("a trial could not be reported to its end", error=str(error))

    def _train(self, slot: Slot, trial: LeasedTrial) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"{trial.study_id}-{trial.number}-", dir=self.folder))
        log.info("trial started", study=trial.study_id, trial=trial.number, attempt=trial.attempt, slot=slot.index)
        try:
            with trial:
                self._end(trial, self._run(trial, slot, folder), folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        log.info("trial ended", study=trial.study_id, trial=trial.number, attempt=trial.attempt)

    def _run(self, trial: LeasedTrial, slot: Slot, folder: Path) -> Outcome | TrialFailure | Verdict:
        try:
            job = self._job(trial, slot, folder)
        except InvalidInput as error:
            return TrialFailure("data", f"on {platform.node()}: {error}")
        process = TrialProcess(job, environment_of(slot, job.device))
        try:
            return self._follow(trial, process)
        finally:
            process.end()

    def _job(self, trial: LeasedTrial, slot: Slot, folder: Path) -> Job:
        check_allowed(parse(trial.spec), self.allowed_sources)
        job = replace(job_of(trial, slot, folder), shared=self.shared, shared_bytes=self.shared_bytes)
        if trial.resume is None:
            return job
        file = folder / "resume.safetensors"
        try:
            self._patiently(lambda: trial.load_checkpoint(file))
        except Refused as refusal:
            if refusal.status != 404:
                raise
            log.warning("the checkpoint is gone; starting anew", study=trial.study_id, trial=trial.number, error=refusal.detail)
            return job
        return replace(job, resume=file)

    def _follow(self, trial: LeasedTrial, process: TrialProcess) -> Outcome | TrialFailure | Verdict:
        """Pass reports on and verdicts back until the trial ends, or is killed: over its time, or deaf to its verdict."""
        deadline: float | None = None
        watch = Watch(trial)
        while True:
            message: Message | None = process.receive(_POLL_SECONDS)
            if isinstance(message, Outcome | TrialFailure):
                return message
            if isinstance(message, Checkpoint):
                trial.save_checkpoint(message, wait=False)
            elif message is not None:
                watch.heard()
                process.reply(self._report(trial, message))
            told = Verdict(stop=True, reason="preempted") if self.stopping.is_set() else trial.verdict
            if told.stop:
                grace = _GRACE_SECONDS_TO_KEEP if told.reason in RESUMED_LATER else _GRACE_SECONDS
                deadline = deadline or time.monotonic() + grace
                if time.monotonic() >= deadline:
                    return told
            elif (late := watch.late()) is not None:
                return TrialFailure("timeout", late)

    def _report(self, trial: LeasedTrial, metrics: Sequence[Metric]) -> Verdict:
        verdict = trial.report_metrics(metrics)
        return Verdict(stop=True, reason="preempted") if self.stopping.is_set() and not verdict.stop else verdict

    def _end(self, trial: LeasedTrial, ending: Outcome | TrialFailure | Verdict, folder: Path) -> None:
        """Tell how the trial ended. A result that the service will not have is a failure, or it would be trained for ever."""
        try:
            self._tell_end(trial, ending, folder)
        except Refused as refusal:
            if refusal.status in (401, 403, 409, 429) or refusal.status >= 500:
                raise
            trial.fail("code", f"the service refused the result ({refusal.status}): {refusal.detail}")

    def _tell_end(self, trial: LeasedTrial, ending: Outcome | TrialFailure | Verdict, folder: Path) -> None:
        if isinstance(ending, Outcome) and ending.stopped is None:
            trial.heard()  # what it reported while the service was away may have been judged by now
        if trial.verdict.reason == "lost":
            return
        if isinstance(ending, TrialFailure):
            trial.fail(ending.kind, ending.message)
        elif isinstance(ending, Verdict) or ending.stopped in (*RESUMED_LATER, "lost"):
            trial.release()
        else:
            if ending.stopped is None and trial.verdict.reason not in ("pruned", "stopped"):
                for file in sorted((folder / "model").glob("*")):
                    self._patiently(lambda file=file: trial.upload(file.name, file))  # type: ignore[misc]
            trial.complete(ending.values, ending.details)

    def _patiently(self, call: Callable[[], Result]) -> Result:
        """Repeat a call while the service gives no answer: every call of a worker may be repeated."""
        pause = 0.2
        while True:
            try:
                return call()
            except ServiceError as error:
                if self.stopping.is_set() or not passes(error):
                    raise
                log.warning("no answer from the service; trying again", error=str(error), seconds=pause)
                self.stopping.wait(pause)
                pause = min(pause * 2, 5.0)


class Watch:
    """How long a trial may go on, by its study's timeouts."""

    def __init__(self, trial: LeasedTrial) -> None:
        self.timeouts = parse(trial.spec).timeouts
        self._began = self._heard = time.monotonic()
        # Earlier attempts count too.
        self._before = (self.timeouts.trial_seconds or 0.0) - (trial.seconds_left or 0.0)

    def heard(self) -> None:
        """It has reported."""
        self._heard = time.monotonic()

    def late(self) -> str | None:
        """Why it is to end; None if it may go on."""
        now = time.monotonic()
        return self.timeouts.exceeded(seconds=self._before + now - self._began, silent=now - self._heard)


def job_of(trial: LeasedTrial, slot: Slot, folder: Path) -> Job:
    """What the trial's process is given."""
    spec = parse(trial.spec)
    return Job(
        task=spec.task,
        model=spec.model,
        data=data_spec(spec),
        metric=objective_of(spec).metric,
        direction=direction_of(spec),
        params=trial.params,
        data_seed=spec.seed,
        seed=trial.seed,
        fingerprint=trial.fingerprint,
        device="cpu" if slot.gpu is None or spec.resources.gpus == 0 else "cuda",
        threads=slot.threads,
        legs=tuple(trial.legs),
        eval_every=spec.eval_every,
        folder=folder,
    )


def environment_of(slot: Slot, device: str) -> dict[str, str]:
    """The variables that hold a trial to its slot; without CUDA_VISIBLE_DEVICES it would see every GPU."""
    visible = "" if slot.gpu is None or device == "cpu" else _name_of_gpu(slot.gpu)
    return {"CUDA_VISIBLE_DEVICES": visible, "OMP_NUM_THREADS": str(slot.threads)}


def _name_of_gpu(index: int) -> str:
    """Where this worker itself sees only some of the machine's GPUs, `index` counts among those."""
    ours = os.environ.get("CUDA_VISIBLE_DEVICES")
    return ours.split(",")[index].strip() if ours else str(index)


def make_slots(gpus: int, wanted: int | None) -> list[Slot]:
    """One slot per GPU; on a machine without, one per four cores. `wanted` overrides the number."""
    cores = os.cpu_count() or 1
    count = wanted or gpus or max(1, cores // 4)
    threads = max(1, cores // count)
    return [Slot(index=index, gpu=index % gpus if gpus else None, threads=threads) for index in range(count)]


def versions() -> dict[str, str]:
    """What decides a trial's numbers besides its parameters."""
    found = {"python": platform.python_version()}
    for package in ("tuner", "torch", "transformers", "scikit-learn"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def prepare() -> list[dict[str, Any]]:
    """Start the process that trials are forked from, and look for GPUs; returns them."""
    warm_up()
    return detect_gpus()

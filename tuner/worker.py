"""A worker: leases trials from a service, trains each in a process of its own, reports every epoch.

It asks for a trial whenever it has room for one (`tuner/places.py`). Each trial that it holds has a thread here; training
happens in the trial's process, so that trials do not hinder each other and one that dies takes nothing with it.
"""

from __future__ import annotations

import platform
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import structlog
from structlog.contextvars import bound_contextvars

from studies.definition import RESUMED_LATER, Checkpoint, Job, Metric, Outcome, Verdict
from studies.errors import InvalidInput, TrialFailure
from studies.piped import Trained
from tuner.allowed import check_allowed
from tuner.client import Client
from tuner.errors import Refused, ServiceError, TunerError
from tuner.gpu_watch import GpuWatch
from tuner.gpus import Inventory
from tuner.leased_trial import LeasedTrial, well_formed
from tuner.outbox import passes
from tuner.places import Places, Slot
from tuner.spec import data_spec, direction_of, gpus_of_trial, objective_of, parse
from tuner.trial_process import Message, TrialProcess

log = structlog.get_logger()
Result = TypeVar("Result")
Ending = Outcome | TrialFailure | Verdict
# How long a trial that was told to stop may go on before it is killed; longer where it can still leave a checkpoint.
_GRACE_SECONDS = 3.0
_GRACE_SECONDS_TO_KEEP = 8.0
_POLL_SECONDS = 0.5
_WAIT_SECONDS = 2.0  # of the service, for a trial to come up: meanwhile nothing is heard of room that becomes free
_GPU_SECONDS = 10.0  # between two looks at the GPUs


class Worker:
    """Trains trials until `stopping` is set; a trial that it then holds is given back."""

    def __init__(
        self,
        client: Client,
        places: Places,
        inventory: Inventory,
        *,
        folder: Path,
        studies: Sequence[str] | None = None,
        allowed_sources: Sequence[str] | None = None,
        shared: Path | None = None,
        shared_bytes: int = 0,
        most_idle_seconds: float | None = None,
    ) -> None:
        """`shared` is where trials share what is computed once, up to `shared_bytes`. After `most_idle_seconds` without a
        trial the worker ends."""
        self.client = client
        self.places, self.gpus = places, GpuWatch(inventory, places)
        self.folder = folder
        self.studies = studies
        self.allowed_sources = allowed_sources
        self.shared, self.shared_bytes = shared, shared_bytes
        self.most_idle_seconds = most_idle_seconds
        self.stopping = threading.Event()
        self.worker_id = ""
        self._trials: list[threading.Thread] = []

    def run(self) -> None:
        """Returns once `stopping` is set and every trial has been given back.

        Raises Refused if the service wants no worker, TunerError if no GPU is left.
        """
        self.worker_id = self._patiently(lambda: self.client.register(self.gpus.seen(), versions()))
        watch = threading.Thread(target=self._tell_gpus, name="gpus", daemon=True)
        watch.start()
        idle_since = time.monotonic()
        while not self.stopping.is_set() and self.places.usable:
            self._trials = [thread for thread in self._trials if thread.is_alive()]
            if self._ask() or self._trials:
                idle_since = time.monotonic()
            elif self.most_idle_seconds is not None and time.monotonic() - idle_since >= self.most_idle_seconds:
                log.info("nothing to do; this worker ends", seconds=self.most_idle_seconds)
                self.stopping.set()
        for thread in self._trials:
            thread.join()
        self.stopping.set()
        watch.join()
        if not self.places.usable:
            raise TunerError(f"no GPU of this worker is left: {'; '.join(self.places.lost().values())}")

    def _ask(self) -> bool:
        """Ask for a trial if there is room for one, and start it; whether one came."""
        room = self.places.room()
        if room is None:
            self.places.wait(_POLL_SECONDS)
            return False
        studies, wish = room.studies or self.studies, secrets.token_hex(8)
        asked = partial(self.client.lease, self.worker_id, studies=studies, gpus=room.gpus, wait_seconds=_WAIT_SECONDS)
        with self._surviving():
            # One wish, however often it has to be said: a lost answer leaves no trial leased to nobody.
            trial = self._patiently(lambda: asked(request=wish))
            if trial is None:
                if self._trials:  # perhaps what waits there needs the room that they will leave
                    self.places.wait(_POLL_SECONDS)
                return False
            trial.give_up = self.stopping
            wanted = gpus_of_trial(parse(trial.spec), len(self.gpus.inventory.gpus))
            slot = self.places.take(wanted, trial.study_id, trial.number)
            if slot is None:  # a device went while the service answered
                with trial:
                    trial.release()
                return False
            trial.gpus = [gpu.id for gpu in slot.gpus]
            thread = threading.Thread(target=self._serve, args=(slot, trial), name=f"slot-{slot.index}")
            self._trials.append(thread)
            thread.start()
            return True
        return False

    def _serve(self, slot: Slot, trial: LeasedTrial) -> None:
        try:
            with bound_contextvars(**trial.log_names), self._surviving():
                self._train(slot, trial)
        finally:
            self.places.give_back(slot)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """What goes wrong with one trial ends the worker only where the next would fare no better."""
        try:
            yield
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

    def _tell_gpus(self) -> None:
        """Tell the service now and then how busy the GPUs are; by the way it is noticed which are gone."""
        while self.gpus.inventory.gpus and not self.stopping.wait(_GPU_SECONDS):
            try:
                self.client.tell_gpus(self.worker_id, self.gpus.seen())
            except ServiceError as error:
                log.warning("the service was not told how busy the GPUs are", error=str(error))

    def _train(self, slot: Slot, trial: LeasedTrial) -> None:
        folder = Path(tempfile.mkdtemp(prefix=f"{trial.study_id}-{trial.number}-", dir=self.folder))
        log.info("trial started", slot=slot.index, gpus=[gpu.id for gpu in slot.gpus])
        try:
            with trial:
                self._end(trial, self._blamed(trial, slot, self._run(trial, slot, folder)), folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        log.info("trial ended")

    def _run(self, trial: LeasedTrial, slot: Slot, folder: Path) -> Ending:
        try:
            job = self._job(trial, slot, folder)
        except InvalidInput as error:
            return TrialFailure("data", f"on {platform.node()}: {error}")
        process = TrialProcess(job, environment_of(slot))
        try:
            return self._follow(trial, slot, process)
        finally:
            process.end()

    def _blamed(self, trial: LeasedTrial, slot: Slot, ending: Ending) -> Ending:
        """The same ending, unless it was not the trial's own doing: its GPU is gone, or others had taken its memory."""
        if isinstance(ending, Outcome) and slot.gpus:
            self.places.measured(trial.study_id, int(ending.details.get("memory", {}).get("peak", 0)))
        if not isinstance(ending, TrialFailure):
            return ending
        if (lost := self.gpus.lost(slot, look=True)) is not None:
            return lost
        if ending.kind == "oom" and slot.shared:
            log.info("out of memory beside others; next time without them")
            self.places.ran_out(trial.study_id, trial.number)
            return Verdict(stop=True, reason="preempted")
        return ending

    def _job(self, trial: LeasedTrial, slot: Slot, folder: Path) -> Job:
        check_allowed(parse(trial.spec), self.allowed_sources)
        device = self.gpus.inventory.device if slot.gpus else "cpu"
        job = replace(job_of(trial, slot, folder, device), shared=self.shared, shared_bytes=self.shared_bytes)
        if trial.resume is None:
            return job
        file = folder / "resume.safetensors"
        try:
            self._patiently(lambda: trial.load_checkpoint(file))
        except Refused as refusal:
            if refusal.status != 404:
                raise
            log.warning("the checkpoint is gone; starting anew", error=refusal.detail)
            return job
        return replace(job, resume=file)

    def _follow(self, trial: LeasedTrial, slot: Slot, process: TrialProcess) -> Ending:
        """Pass reports on and verdicts back until the trial ends, or is killed: over its time, or deaf to its verdict."""
        deadline: float | None = None
        watch = Watch(trial)
        while True:
            message: Message | None = process.receive(_POLL_SECONDS)
            if isinstance(message, Outcome | TrialFailure):
                return message
            if isinstance(message, Checkpoint):
                trial.save_checkpoint(message, wait=False)
            elif isinstance(message, Trained):
                process.reply(self._wants_model(trial, message))
            elif message is not None:
                watch.heard()
                process.reply(self._report(trial, message))
            if (lost := self.gpus.lost(slot)) is not None:
                return lost
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

    def _end(self, trial: LeasedTrial, ending: Ending, folder: Path) -> None:
        """Tell how the trial ended. A result that the service will not have is a failure, or it would be trained for ever."""
        try:
            self._tell_end(trial, ending, folder)
        except Refused as refusal:
            if refusal.status in (401, 403, 409, 429) or refusal.status >= 500:
                raise
            trial.fail("code", f"the service refused the result ({refusal.status}): {refusal.detail}")

    def _tell_end(self, trial: LeasedTrial, ending: Ending, folder: Path) -> None:
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

    def _wants_model(self, trial: LeasedTrial, ended: Trained) -> bool:
        """Whether the service would keep the model, which is large; it may if there is no answer now."""
        value = ended.values.get(objective_of(parse(trial.spec)).metric)
        if value is None:
            return True
        try:
            answer = self.client.get(f"/leases/{trial.id}/wanted", value=value)
            with well_formed("what is wanted"):
                return bool(answer["model"])
        except ServiceError as error:
            log.warning("no answer whether the model is wanted; it is saved", error=str(error))
            return True

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


def job_of(trial: LeasedTrial, slot: Slot, folder: Path, device: str) -> Job:
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
        device=device,
        threads=slot.threads,
        ranks=max(1, len(slot.gpus)),
        legs=tuple(trial.legs),
        target=None if trial.legs else spec.budget.target,  # who extends a trial wants more of it
        eval_every=spec.eval_every,
        folder=folder,
    )


def environment_of(slot: Slot) -> dict[str, str]:
    """The variables that hold a trial to its slot; without CUDA_VISIBLE_DEVICES it would see every GPU."""
    return {
        "CUDA_VISIBLE_DEVICES": ",".join(gpu.id for gpu in slot.gpus),
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # devices may be known by number, and by default CUDA numbers the fastest first
        "OMP_NUM_THREADS": str(slot.threads),
    }


def versions() -> dict[str, str]:
    """What decides a trial's numbers besides its parameters."""
    found = {"python": platform.python_version()}
    for package in ("tuner", "torch", "transformers", "scikit-learn"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found

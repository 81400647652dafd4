"""The nouns as they stand in the database: frozen, and changed only by writing a new row and reading it back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Literal

from studies.definition import ParamValue
from tuner.spec import StudySpec

StudyState = Literal["running", "paused", "completed", "stopped", "failed"]
TrialState = Literal["waiting", "running", "completed", "pruned", "stopped", "failed"]
Origin = Literal["sampled", "default", "literature", "enqueued"]
Role = Literal["viewer", "editor", "worker", "admin"]

LIVE_STUDY_STATES: tuple[StudyState, ...] = ("running", "paused")
STUDY_STATES: tuple[StudyState, ...] = ("running", "paused", "completed", "stopped", "failed")
TRIAL_STATES: tuple[TrialState, ...] = ("waiting", "running", "completed", "pruned", "stopped", "failed")
FINISHED_TRIAL_STATES: tuple[TrialState, ...] = ("completed", "pruned", "stopped", "failed")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was found out about a study's data and model before it started."""

    blocks: int | None = None  # of the model; what `frozen_layers: all` stands for
    trained_parameters: tuple[int, ...] = ()  # with 0, 1, … frozen blocks, without the task's head; empty where not known
    train_rows: int | None = None
    validation_rows: int | None = None
    test_rows: int | None = None
    fingerprint: str | None = None  # of the data
    classes: tuple[str, ...] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)  # metric → score of always answering the commonest class


@dataclass(frozen=True, kw_only=True)
class Study:
    """One search."""

    id: str
    name: str
    state: StudyState
    reason: str | None  # why it is paused, stopped or failed, for people
    spec: StudySpec  # as posted, defaults filled in
    facts: Facts
    n_created: int  # trials that exist; the next one has this number
    version: int  # counts changes of the row; the ETag
    search_attrs: Mapping[str, Any]  # what the sampler remembers about the whole study
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    space_version: int = 1  # of its parameters; trials keep the one that they were drawn under
    reopened_from: StudyState | None = None  # it was over and runs for an extended trial only: no new trial is drawn
    reopened_reason: str | None = None  # the reason it had been over for
    freed_bytes: int = 0  # what removing models and checkpoints of all but its best trials has freed


@dataclass(frozen=True, kw_only=True)
class SpaceVersion:
    """What a study searched from some time on."""

    version: int  # 1, 2, …
    parameters: Mapping[str, Any]  # as in a study file
    constraints: tuple[str, ...]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class Prior:
    """A trial of an earlier study that the sampler knows of."""

    params: Mapping[str, ParamValue]
    value: float  # of this study's objective
    source: str  # the study's name and the trial's number
    # Of another problem, whose values can't be compared: whether it was among the best there. None: of the same problem.
    good: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a trial had ended before it was extended."""

    state: TrialState
    value: float | None
    values: Mapping[str, float]
    epoch: float | None
    step: int | None
    reason: str | None
    details: Mapping[str, Any]
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class Extension:
    """More epochs for a trial that had ended."""

    until: int  # the epoch after which it ends now
    legs: tuple[int, ...]  # the epochs at which each run of the learning rate's schedule ends; the first is the planned one
    first: Ended  # what the search knows of the trial
    before: Ended | None  # what it goes back to if the extension comes to nothing; None once it has ended anew


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration and what became of it."""

    id: int
    study_id: str
    number: int  # 0, 1, 2, … within the study, without holes
    state: TrialState
    origin: Origin
    params: Mapping[str, ParamValue]  # searched and fixed
    value: float | None  # the objective: of the best epoch if completed, the last reported one otherwise
    values: Mapping[str, float]  # every metric that belongs to `value`
    epoch: float | None  # last reported
    step: int | None  # last reported
    attempt: int  # leases granted so far
    retries: int  # how many of them were lost
    lease_id: str | None  # the current lease, or the last one once finished
    worker_id: str | None
    reason: str | None  # why it was stopped or pruned, for people
    failure_kind: str | None
    failure_message: str | None
    search_attrs: Mapping[str, Any]  # what sampler and pruner remember about this trial
    details: Mapping[str, Any]  # what the worker told at the end: trainable parameters, seconds, versions
    created_at: datetime
    started_at: datetime | None  # of the first attempt
    finished_at: datetime | None
    space_version: int = 1  # of the study's parameters, when it was drawn
    busy_seconds: float = 0.0  # under leases that have ended
    attempt_at: datetime | None = None  # when the current lease began
    reported_at: datetime | None = None  # when the current attempt last got on; its start before the first report
    extension: Extension | None = None
    set_aside_at: datetime | None = None  # it stands at a rung since then, and goes on once it ranks high enough

    @property
    def finished(self) -> bool:
        return self.state in FINISHED_TRIAL_STATES

    @property
    def as_ended(self) -> Trial:
        """While an extension waits or runs, the trial as it had ended before; else as it is."""
        return self if self.extension is None or self.extension.before is None else self._at(self.extension.before)

    @property
    def as_first_ended(self) -> Trial:
        """What the search knows: an extension, which a person asked for, tells it nothing."""
        return self if self.extension is None else self._at(self.extension.first)

    def _at(self, ended: Ended) -> Trial:
        return replace(self, **{entry.name: getattr(ended, entry.name) for entry in fields(ended)})


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One lease of a trial to a worker; `id` is the fencing token."""

    id: str
    trial_id: int
    attempt: int  # 1, 2, … within the trial
    worker_id: str
    granted_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    outcome: str | None  # completed, pruned, stopped, failed, released, lost
    message: str | None
    gpus: Sequence[str] | None = None  # ids of those of the worker that it trained on; None: the worker did not tell


@dataclass(frozen=True, kw_only=True)
class MetricPoint:
    """One reported number."""

    name: str
    value: float  # may be nan or infinite
    step: int
    epoch: float | None
    split: str
    reported_at: datetime | None = field(default=None, compare=False, repr=False)  # when the service heard of it


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A process that trains trials."""

    id: str
    host: str
    pid: int
    gpus: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, str]
    registered_at: datetime
    seen_at: datetime


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that a trial left behind."""

    trial_id: int
    name: str
    size: int  # bytes
    sha256: str
    path: str  # below the artifact folder; made by the service, never by a client
    created_at: datetime
    attempt: int | None = None
    sequence: int | None = None  # of the upload within the attempt; None: its worker does not count

    def is_behind(self, other: Artifact) -> bool:
        """Whether its worker sent it before the other one."""
        if self.sequence is None or other.sequence is None:
            return False
        return self.attempt == other.attempt and self.sequence < other.sequence


@dataclass(frozen=True, kw_only=True)
class StoredCheckpoint:
    """The point from which a trial can be taken up again; each trial has at most one, the newest."""

    trial_id: int
    epoch: float
    step: int
    size: int  # bytes
    sha256: str
    path: str  # below the artifact folder
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """One line of a trial's log."""

    seq: int  # 1, 2, … within the trial
    attempt: int
    logged_at: datetime
    text: str


@dataclass(frozen=True, kw_only=True)
class Token:
    """Who may do what; only a hash of the secret is kept."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """Who did what, when."""

    id: int
    at: datetime
    token_id: str | None
    role: str | None
    address: str | None
    action: str  # "study.create", "study.stop", …
    subject: str | None  # the study, trial or token it was done to
    detail: str | None

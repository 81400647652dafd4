"""What the service answers with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from api.numbers import Number
from studies.definition import ParamValue, Verdict
from tuner.granting import Lease
from tuner.overview import Overview, trial_seconds
from tuner.records import Attempt, Ended, Extension, Origin, Role, StudyState, Trial, TrialState
from tuner.spec import StudySpec

Item = TypeVar("Item")


class Answer(BaseModel):
    """An object whose keys are exactly the documented ones."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)


class Page(Answer, Generic[Item]):
    """A part of a list; `next` is the `cursor` of the part after it, null at the end."""

    items: list[Item]
    next: str | None = None
    total: int


class WrongField(Answer):
    """One wrong field of a request, as a dotted path, and what would be right there."""

    field: str
    message: str


class Problem(Answer):
    """Why a request was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[WrongField] = []


class CountsAnswer(Answer):
    """Trials by state."""

    waiting: int
    running: int
    completed: int
    pruned: int
    stopped: int
    failed: int
    total: int


class BestAnswer(Answer):
    """The best trial in short."""

    number: int
    value: Number
    params: dict[str, ParamValue]


class BaselineAnswer(Answer):
    """What needs no search: always answering the commonest class, and the untuned default."""

    majority: float | None
    default: Number | None


class FactsAnswer(Answer):
    """What was found out about data and model before the start."""

    blocks: int | None = None
    trained_parameters: list[int] = []
    train_rows: int | None = None
    validation_rows: int | None = None
    test_rows: int | None = None
    fingerprint: str | None = None
    classes: list[str] = []
    baseline: dict[str, float] = {}


class StudyAnswer(StudySpec):
    """A study: what was posted, with every default filled in, and how far it is."""

    id: str
    version: int
    state: StudyState
    reason: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    counts: CountsAnswer
    progress: float | None
    eta_seconds: float | None
    best: BestAnswer | None
    baseline: BaselineAnswer
    facts: FactsAnswer
    space_version: int
    saved_seconds: Number | None  # by stored states of frozen prefixes; null in lists
    freed_bytes: int  # by removing the models of all but its best trials, and checkpoints
    trend: list[Number]

    @classmethod
    def of(cls, view: Overview) -> StudyAnswer:
        study, best = view.study, view.best
        return cls(
            **dict(study.spec),
            id=study.id,
            version=study.version,
            state=study.state,
            reason=study.reason,
            created_at=study.created_at,
            updated_at=study.updated_at,
            finished_at=study.finished_at,
            counts=CountsAnswer(**view.counts, total=sum(view.counts.values())),
            progress=view.progress,
            eta_seconds=view.eta_seconds,
            best=None if best is None else BestAnswer(number=best.number, value=best.value or 0.0, params=dict(best.params)),
            baseline=BaselineAnswer(majority=view.majority, default=view.default.value if view.default else None),
            facts=FactsAnswer.model_validate(study.facts),
            space_version=study.space_version,
            saved_seconds=view.saved_seconds,
            freed_bytes=view.study.freed_bytes,
            trend=list(view.trend),
        )


class FirstTrialAnswer(Answer):
    """A trial that is not drawn by the sampler; parameters left out are."""

    origin: Origin
    params: dict[str, ParamValue]


class DryRunAnswer(Answer):
    """What a study would start with; nothing was stored. `size`: configurations of its space, null for no end of them."""

    valid: Literal[True]
    spec: StudySpec
    parameters: dict[str, dict[str, Any]]
    facts: FactsAnswer
    size: int | None
    first_trial: dict[str, ParamValue]
    first_trials: list[FirstTrialAnswer]


class FailureAnswer(Answer):
    """Why a trial failed."""

    kind: str
    message: str | None


class EndedAnswer(Answer):
    """How a trial had ended before it was extended."""

    state: TrialState
    value: Number | None
    epoch: float | None

    @classmethod
    def of(cls, ended: Ended) -> EndedAnswer:
        return cls(state=ended.state, value=ended.value, epoch=ended.epoch)


class ExtensionAnswer(Answer):
    """More epochs for a trial that had ended: at which epoch it ends now, at which each run of its schedule does, how it
    first ended (what the search knows), and what it goes back to if this comes to nothing."""

    until: int
    legs: list[int]
    first: EndedAnswer
    before: EndedAnswer | None

    @classmethod
    def of(cls, extension: Extension) -> ExtensionAnswer:
        before = None if extension.before is None else EndedAnswer.of(extension.before)
        return cls(until=extension.until, legs=list(extension.legs), first=EndedAnswer.of(extension.first), before=before)


class TrialAnswer(Answer):
    """One configuration and what became of it."""

    study_id: str
    number: int
    state: TrialState
    origin: Origin
    params: dict[str, ParamValue]
    value: Number | None
    values: dict[str, Number]
    epoch: float | None
    step: int | None
    attempt: int
    retries: int
    space_version: int
    worker_id: str | None
    reason: str | None
    failure: FailureAnswer | None
    details: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    seconds: float | None
    extension: ExtensionAnswer | None

    @classmethod
    def of(cls, trial: Trial, now: datetime) -> TrialAnswer:
        return cls(**_trial_fields(trial, now))


class AttemptAnswer(Answer):
    """One lease of a trial to a worker. Its id is missing on purpose: whoever knows it may write under it."""

    attempt: int
    worker_id: str
    granted_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    outcome: str | None
    message: str | None
    gpus: list[str] | None  # ids of those of the worker that it was on; null: not told


class TrialInFull(TrialAnswer):
    """A trial with its attempts."""

    attempts: list[AttemptAnswer]

    @classmethod
    def with_attempts(cls, trial: Trial, attempts: list[Attempt], now: datetime) -> TrialInFull:
        return cls(**_trial_fields(trial, now), attempts=[AttemptAnswer.model_validate(attempt) for attempt in attempts])


class BestTrial(TrialInFull):
    """The best trial by rule, in full; with several objectives `items` are all trials that no other one beats."""

    items: list[TrialAnswer]
    next: None = None
    total: int


class MetricAnswer(Answer):
    """One reported number."""

    name: str
    value: Number
    step: int
    epoch: float | None
    split: str


class ArtifactAnswer(Answer):
    """A file that a trial left behind; `size` in bytes."""

    name: str
    size: int
    sha256: str
    created_at: datetime


class RunningTrial(Answer):
    """A trial that a worker trains now."""

    study_id: str
    number: int


class WorkerAnswer(Answer):
    """A process that trains trials."""

    id: str
    host: str
    pid: int
    gpus: list[dict[str, Any]]
    versions: dict[str, str]
    registered_at: datetime
    seen_at: datetime
    running: list[RunningTrial]


class DemandAnswer(Answer):
    """Trials that run or could begin now, of all running studies."""

    trials: int


class RegisteredAnswer(Answer):
    """The name under which a worker asks for trials."""

    worker_id: str


class ResumeAnswer(Answer):
    """Where to take the trial up: after so many epochs and optimiser steps, from `GET /leases/{id}/checkpoint`."""

    epoch: float
    step: int


class LeaseAnswer(Answer):
    """A trial given to a worker; `id` is the fencing token of every call about it, `expires_in` is in seconds."""

    id: str
    attempt: int
    expires_in: float
    study_id: str
    trial: int
    params: dict[str, ParamValue]
    legs: list[int]
    spec: StudySpec
    seed: int
    seconds_left: float | None
    resume: ResumeAnswer | None
    fingerprint: str | None

    @classmethod
    def of(cls, lease: Lease) -> LeaseAnswer:
        fields: Mapping[str, Any] = {name: getattr(lease, name) for name in cls.model_fields if name != "resume"}
        resume = None if lease.resume is None else ResumeAnswer(epoch=lease.resume.epoch, step=lease.resume.step)
        return cls(**fields, resume=resume)


class VerdictAnswer(Answer):
    """Whether a worker should go on, and if not, why."""

    verdict: Literal["continue", "stop"]
    reason: str | None

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictAnswer:
        return cls(verdict="stop" if verdict.stop else "continue", reason=verdict.reason)


class CheckpointAnswer(Answer):
    """A checkpoint as it was kept; `size` is in bytes."""

    epoch: float
    step: int
    size: int
    sha256: str


class WantedAnswer(Answer):
    """Which of a trial's files would be kept: those by which trials are compared always are."""

    model: bool


class FinishedAnswer(Answer):
    """The outcome of an attempt: completed, pruned, stopped, failed, lost or released."""

    state: str


class TokenAnswer(Answer):
    """A token without its secret."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    used_at: datetime | None


class NewTokenAnswer(TokenAnswer):
    """A token with its secret, which is shown this once."""

    token: str


class AuditAnswer(Answer):
    """Who did what, when."""

    id: int
    at: datetime
    token_id: str | None
    role: str | None
    address: str | None
    action: str
    subject: str | None
    detail: str | None


class StatusAnswer(Answer):
    """Whether the service is well."""

    status: Literal["ok"]


def _trial_fields(trial: Trial, now: datetime) -> dict[str, Any]:
    fields = {name: getattr(trial, name) for name in TrialAnswer.model_fields if name not in ("failure", "seconds", "extension")}
    failure = None
    if trial.failure_kind is not None:
        failure = FailureAnswer(kind=trial.failure_kind, message=trial.failure_message)
    extension = None if trial.extension is None else ExtensionAnswer.of(trial.extension)
    return fields | {"failure": failure, "seconds": trial_seconds(trial, now), "extension": extension}

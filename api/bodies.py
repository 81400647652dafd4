"""What clients send: the bodies of writes. Unknown keys are refused with the known ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Body as FromBody
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from api.numbers import Count, FreeJson, LongText, Number
from studies.definition import ParamValue
from studies.errors import FailureKind, known
from tuner.pruners import Pruner
from tuner.records import MetricPoint, Role
from tuner.sections import Name, Text
from tuner.spec import Budget, StudySpec

Split = Literal["train", "validation", "test"]


class Body(BaseModel):
    """An object whose keys are all known."""

    model_config = ConfigDict(allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, raw: object) -> object:
        unknown = [key for key in raw if key not in cls.model_fields] if isinstance(raw, Mapping) else []
        if unknown:
            context = {"keys": unknown, "known": known(list(cls.model_fields))}
            raise PydanticCustomError("unknown_keys", "unknown key; {known}", context)
        return raw


@dataclass(frozen=True)
class DocumentedAs:
    """For a body that is read elsewhere, with messages of its own: only the documentation knows its model."""

    model: type[BaseModel]

    def __get_pydantic_json_schema__(self, _: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler.resolve_ref_schema(handler(self.model.__pydantic_core_schema__))


class StudyChange(BaseModel):
    """What may change while a study lives; what is left out stays."""

    budget: Budget | None = None
    parallelism: int | None = None
    pruner: Pruner | None = None
    notes: str | None = None
    tags: dict[str, str] | None = None


StudyBody = Annotated[Any, DocumentedAs(StudySpec), FromBody()]
ChangeBody = Annotated[dict[str, Any], DocumentedAs(StudyChange), FromBody()]
Params = dict[Name, ParamValue]


class EnqueueBody(Body):
    """A trial with given parameters; those left out are sampled."""

    params: Params


class ImportedTrialBody(Body):
    """A trial that has ended elsewhere. A metric without a name is the study's objective."""

    class Point(Body):
        """One measured number."""

        name: Name | None = None
        value: Number
        step: Count
        epoch: Annotated[float, Field(ge=0)] | None = None
        split: Split = "validation"

    state: Literal["completed", "pruned", "stopped", "failed"]
    params: Params
    value: Number | None = None
    values: dict[Name, Number] = {}
    metrics: Annotated[list[Point], Field(max_length=100_000)] = []
    reason: LongText | None = None
    failure_kind: FailureKind | None = None
    failure_message: LongText | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None


class ImportBody(Body):
    """A study that ran elsewhere: what it searched, as a study file says it, and its trials in their order."""

    study: Annotated[Any, DocumentedAs(StudySpec)]
    trials: Annotated[list[ImportedTrialBody], Field(max_length=100_000)]
    source: Name = "elsewhere"


class CloneBody(Body):
    """What to change in a copy of a trial."""

    params: Params = {}


class ExtendBody(Body):
    """How many epochs more than the trial has reached."""

    epochs: Annotated[int, Field(ge=1, le=10_000)]


class WorkerBody(Body):
    """A process that trains trials."""

    host: Annotated[Text, Field(min_length=1, max_length=255)]
    pid: Annotated[int, Field(ge=0, le=2**32)]
    gpus: Annotated[list[FreeJson], Field(max_length=1024)] = []
    versions: dict[Name, Annotated[Text, Field(max_length=200)]] = {}


class GpusBody(Body):
    """How busy a worker's GPUs are; `set_aside` says of one that has vanished why no trial gets it."""

    class Gpu(Body):
        """One device."""

        id: Name
        name: Name
        memory: Count  # bytes
        memory_used: Count | None = None
        utilisation: Annotated[int, Field(ge=0, le=100)] | None = None
        set_aside: LongText | None = None

    gpus: Annotated[list[Gpu], Field(max_length=1024)]


class LeaseBody(Body):
    """A worker asks for a trial, of these studies (names or ids) or of any, and waits so long for one to come up.

    `gpus`: how many the trial may take, which is how many of the worker's are free; null: all of them. `request` is a random
    name for the wish: said again after a lost answer, it gets the same lease instead of a second one.
    """

    worker_id: Name
    studies: Annotated[list[Name], Field(max_length=1000)] | None = None
    gpus: Annotated[int, Field(ge=0, le=1024)] | None = None
    wait_seconds: Annotated[float, Field(ge=0, le=60)] = 0.0
    request: Annotated[Name, Field(min_length=8)] | None = None


class HeartbeatBody(Body):
    """`gpus`: ids of those of the worker that the trial is on, to be told once; null: as told before."""

    gpus: Annotated[list[Name], Field(max_length=1024)] | None = None


class MetricBody(Body):
    """One measured number; `epoch` is a share of the data seen (1.0: all once), `step` counts optimiser steps."""

    name: Name
    value: Number
    step: Count
    epoch: Annotated[float, Field(ge=0)] | None = None
    split: Split = "validation"

    def point(self) -> MetricPoint:
        return MetricPoint(name=self.name, value=self.value, step=self.step, epoch=self.epoch, split=self.split)


class MetricsBody(Body):
    """A batch of measured numbers."""

    metrics: Annotated[list[MetricBody], Field(max_length=10_000)]


class LogBody(Body):
    """Lines for a trial's log, after so many that were sent under this lease before."""

    text: Annotated[Text, Field(max_length=1_000_000)]
    after: Count | None = None


class FailureBody(Body):
    """Why a trial failed; the kind decides whether it is tried again."""

    kind: FailureKind
    message: LongText = ""


class FinishBody(Body):
    """How an attempt ended."""

    state: Literal["completed", "failed", "released"]
    values: dict[Name, Number] = {}
    failure: FailureBody | None = None
    details: FreeJson = {}


class LoginBody(Body):
    """A token, to be exchanged for a session."""

    token: Annotated[Text, Field(max_length=500)]


class TokenBody(Body):
    """A token to be made."""

    role: Role
    name: Name
    expires_at: AwareDatetime | None = None

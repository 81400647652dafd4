"""A study as posted: its shape, and whether it makes sense.

`StudySpec` is the shape (API.md §1); `check` compares it with the catalog, the model and the data, and reports
every wrong field at once. Nothing is stored or started here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from studies.catalog import definition as catalog_definition
from studies.definition import DataFacts, DataSpec, Definition, Direction
from studies.errors import FieldError, InvalidInput, known
from studies.models import ModelFacts
from studies.space import Space, number, parse_space


def _plain_text(text: str) -> str:
    # PostgreSQL cannot store U+0000 and UTF-8 cannot carry lone surrogates; refuse both for both databases.
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must not contain U+0000 or lone surrogates")
    return text


def _numeric(raw: object) -> object:
    # `parallelism: yes` must not become 1; YAML reads `1e2` as text.
    if isinstance(raw, bool):
        raise ValueError("must be a number, not true or false")
    as_number = number(raw)
    return raw if as_number is None else as_number


Whole = Annotated[int, BeforeValidator(_numeric)]
Real = Annotated[float, BeforeValidator(_numeric)]
Text = Annotated[str, AfterValidator(_plain_text)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain_text)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(_Section):
    """Where examples come from."""

    train: Name
    validation: Name | Real = 0.1
    test: Name | Real | None = None
    columns: dict[Name, Name] = {}
    limit: Whole | None = Field(default=None, ge=1, le=10**12)

    @field_validator("validation", "test", mode="before")
    @classmethod
    def _share_as_text(cls, raw: object) -> object:
        # YAML reads `1e-1` as text; it is a share, not a file.
        as_number = number(raw)
        return raw if as_number is None else as_number


class Objective(_Section):
    """The number to make as large or as small as possible."""

    metric: Name
    direction: Direction | None = None  # None: the metric's own


class TpeSampler(_Section):
    """Tree-structured Parzen estimator (Bergstra et al. 2011), multivariate, aware of running trials."""

    name: Literal["tpe"] = "tpe"
    startup_trials: Whole = Field(default=10, ge=0, le=10_000)  # drawn at random before the model is used


class RandomSampler(_Section):
    """Independent draws."""

    name: Literal["random"]


class NoPruner(_Section):
    """Every trial runs to its end."""

    name: Literal["none"]


class MedianPruner(_Section):
    """Stops a trial whose best value so far is worse than the median of finished trials at the same epoch."""

    name: Literal["median"]
    min_epochs: Whole = Field(default=1, ge=1, le=1_000_000)  # never stops before
    startup_trials: Whole = Field(default=5, ge=0, le=10_000)  # stops nothing until so many have completed


class AshaPruner(_Section):
    """Asynchronous successive halving (Li et al. 2020): of those that reach a rung, the best 1/reduction_factor go on."""

    name: Literal["asha"] = "asha"
    min_epochs: Whole = Field(default=1, ge=1, le=1_000_000)  # the first rung
    reduction_factor: Whole = Field(default=3, ge=2, le=1_000)


class Budget(_Section):
    """When the study ends: whatever is reached first."""

    trials: Whole | None = Field(default=50, ge=1, le=1_000_000)
    hours: Real | None = Field(default=None, gt=0)
    gpu_hours: Real | None = Field(default=None, gt=0)
    target: Real | None = None  # ends when the best trial reaches it
    no_gain_in: Whole | None = Field(default=None, ge=1, le=1_000_000)  # ends when so many trials in a row brought no better one

    @model_validator(mode="after")
    def _some_end(self) -> Budget:
        if all(value is None for value in (self.trials, self.hours, self.gpu_hours, self.target, self.no_gain_in)):
            raise ValueError("sets no limit at all; give at least one of trials, hours, gpu_hours, target, no_gain_in")
        return self


class Resources(_Section):
    """What one trial needs."""

    gpus: Literal["auto"] | Annotated[Whole, Field(ge=0, le=1024)] = "auto"


Sampler = Annotated[TpeSampler | RandomSampler, Field(discriminator="name")]
Pruner = Annotated[NoPruner | MedianPruner | AshaPruner, Field(discriminator="name")]


class StudySpec(_Section):
    """A study file; the same object is the body of `POST /api/v1/studies`."""

    name: Name | None = None
    task: Name
    model: Name
    data: Data
    objective: Objective | None = None
    parameters: dict[Name, Any] | Literal["auto"]
    constraints: list[str] = []
    sampler: Sampler = TpeSampler()
    pruner: Pruner = AshaPruner()
    budget: Budget = Budget()
    parallelism: Whole = Field(default=4, ge=1, le=10_000)
    eval_every: Real = Field(default=1.0, ge=0.001, le=1)  # epochs between two evaluations and reports
    resources: Resources = Resources()
    retries: Whole = Field(default=2, ge=0, le=100)
    seed: Whole = Field(default=0, ge=0, lt=2**31)
    notes: Annotated[Text, Field(max_length=100_000)] = ""
    tags: dict[Name, Annotated[Text, Field(max_length=200)]] = {}

    @field_validator("objective", mode="before")
    @classmethod
    def _one_objective(cls, raw: object) -> object:
        if isinstance(raw, list):
            raise ValueError("several objectives are not offered yet; give one, such as {metric: accuracy}")
        return raw

    @field_validator("constraints")
    @classmethod
    def _no_constraints(cls, raw: list[str]) -> list[str]:
        if raw:
            raise ValueError("constraints are not offered yet; narrow the ranges instead")
        return raw

    @field_validator("parameters", mode="before")
    @classmethod
    def _parameters_shape(cls, raw: object) -> object:
        if raw != "auto" and not isinstance(raw, Mapping):
            raise ValueError("must map parameter names to ranges, or be `auto`")
        return raw


@dataclass(frozen=True, kw_only=True)
class CheckedStudy:
    """A study that can be started: its spec with nothing left open, and what it was checked against."""

    spec: StudySpec
    definition: Definition
    space: Space
    model: ModelFacts
    data: DataFacts | None  # None: the service was told not to look


def parse(raw: object) -> StudySpec:
    """Read the object of a study file. Raises InvalidInput naming every field of a wrong shape."""
    if not isinstance(raw, Mapping):
        raise InvalidInput.at("", "a study is an object with the keys task, model, data and parameters")
    try:
        return StudySpec.model_validate(raw)
    except ValidationError as error:
        raise InvalidInput(_one_a_field([_field_error(detail) for detail in error.errors()])) from None


def check(spec: StudySpec, *, check_data: bool = True) -> CheckedStudy:
    """Compare `spec` with the catalog, the model and the data; fill in what it leaves to them.

    Raises InvalidInput with every wrong field that can be told: a wrong model does not hide a wrong column.
    """
    errors: list[FieldError] = []
    definition = catalog_definition(spec.task)
    model = ModelFacts()
    try:
        model = definition.model_facts(spec.model)
    except InvalidInput as error:
        errors.extend(error.errors)
    errors.extend(_objective_errors(spec, definition))
    data = None
    try:
        data = definition.inspect(data_spec(spec), spec.seed) if check_data else None
    except InvalidInput as error:
        errors.extend(error.errors)
    space: Space = {}
    try:
        space = space_of(spec, model.blocks)
    except InvalidInput as error:
        # With an unknown model the number of its blocks is unknown too: one cause, one message.
        unknown_model = any(known.field == "model" for known in errors)
        errors.extend(e for e in error.errors if not (unknown_model and "frozen_layers" in e.field))
    if errors:
        raise InvalidInput(errors)
    complete = spec.model_copy(update={"objective": objective_of(spec), "parameters": _given_parameters(spec, definition)})
    return CheckedStudy(spec=complete, definition=definition, space=space, model=model, data=data)


def space_of(spec: StudySpec, blocks: int | None) -> Space:
    """The parsed search space of a study on a model with `blocks` blocks."""
    definition = catalog_definition(spec.task)
    return parse_space(_given_parameters(spec, definition), definition.hyperparameters, blocks=blocks)


def objective_of(spec: StudySpec) -> Objective:
    """The objective, with the task's first metric and the metric's own direction where the study names none."""
    metrics = catalog_definition(spec.task).metrics
    metric = spec.objective.metric if spec.objective else next(iter(metrics))
    direction = spec.objective.direction if spec.objective else None
    return Objective(metric=metric, direction=direction or metrics[metric])


def direction_of(spec: StudySpec) -> Direction:
    return objective_of(spec).direction or "maximize"


def data_spec(spec: StudySpec) -> DataSpec:
    """The data section in the form that `studies` takes, default columns filled in."""
    columns = dict(catalog_definition(spec.task).columns) | spec.data.columns
    return DataSpec(**(spec.data.model_dump() | {"columns": columns}))


def _given_parameters(spec: StudySpec, definition: Definition) -> Mapping[str, Any]:
    return definition.default_space if spec.parameters == "auto" else spec.parameters


def _objective_errors(spec: StudySpec, definition: Definition) -> list[FieldError]:
    errors = []
    if spec.objective is not None and spec.objective.metric not in definition.metrics:
        errors.append(
            FieldError("objective.metric", f"unknown metric {spec.objective.metric!r}; {known(list(definition.metrics))}")
        )
    for role in spec.data.columns:
        if role not in definition.columns:
            errors.append(FieldError(f"data.columns.{role}", f"unknown column; {known(list(definition.columns))}"))
    return errors


_SECTIONS: dict[str, type[BaseModel]] = {
    "data": Data,
    "objective": Objective,
    "budget": Budget,
    "resources": Resources,
    "sampler.tpe": TpeSampler,
    "sampler.random": RandomSampler,
    "pruner.none": NoPruner,
    "pruner.median": MedianPruner,
    "pruner.asha": AshaPruner,
    "": StudySpec,
}


def _one_a_field(errors: Sequence[FieldError]) -> list[FieldError]:
    """What may be this or that is wrong in two ways at once."""
    messages: dict[str, list[str]] = {}
    for error in errors:
        messages.setdefault(error.field, []).append(error.message)
    return [FieldError(field, ", or ".join(several)) for field, several in messages.items()]


def _field_error(detail: Any) -> FieldError:
    """One of pydantic's errors in our words: a dotted path, and for a wrong name the known ones."""
    location = [str(part) for part in detail["loc"]]
    # Members of a union show up in pydantic's path; they are no part of the study file.
    noise = ("function-", "literal[", "dict[", "constrained-", "[key]")
    location = [part for part in location if part not in ("float", "int") and not part.startswith(noise)]
    tagged = len(location) > 1 and f"{location[0]}.{location[1]}" in _SECTIONS
    field = ".".join(location[:1] + location[2:] if tagged else location)
    kind, message = detail["type"], str(detail["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        section = ".".join(location[:2]) if tagged else ".".join(location[:-1])
        names = list(_SECTIONS[section].model_fields) if section in _SECTIONS else []
        message = f"unknown key; {known(names)}"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        names = [name.partition(".")[2] for name in _SECTIONS if name.startswith(f"{field}.")]
        given = "is missing" if kind == "union_tag_not_found" else f"unknown name {detail['ctx']['tag']!r}"
        field, message = f"{field}.name", f"{given}; {known(names)}"
    elif kind == "missing":
        message = "is missing"
    elif kind in ("model_type", "model_attributes_type"):
        message = "must be an object with keys and values"
    return FieldError(field, message[:1].lower() + message[1:])


def facts_of(checked: CheckedStudy) -> dict[str, Any]:
    """What `records.Facts` holds, as it is stored."""
    facts: dict[str, Any] = asdict(checked.data) if checked.data else {}
    return facts | {"blocks": checked.model.blocks}

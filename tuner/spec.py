"""A study as posted: its shape, and whether it makes sense.

`StudySpec` is the shape (API.md §1); `check` compares it with the catalog, the model and the data, and reports
every wrong field at once. Nothing is stored or started here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from studies.builtin import PREFIX
from studies.catalog import definition as catalog_definition
from studies.configurations import allowed_example, most
from studies.constraints import Constraint, parse_constraints
from studies.definition import DataFacts, DataSpec, Definition, Direction, ParamValue
from studies.errors import FieldError, InvalidInput, known
from studies.hub import DATA_PREFIX, pinned, unpinned
from studies.models import ModelFacts
from studies.sources import local_path
from studies.space import Space, contains, number, on_grid, parse_space
from tuner.lengths import length_errors, with_length
from tuner.pruners import PRUNERS, AshaPruner, HyperbandPruner, NoPruner, Pruner, pruner_errors
from tuner.samplers import SAMPLERS, Sampler, TpeSampler, sampler_errors
from tuner.sections import Name, Real, Section, Text, Whole


class Data(Section):
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


class Objective(Section):
    """The number to make as large or as small as possible."""

    metric: Name
    direction: Direction | None = None  # None: the metric's own


class Budget(Section):
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


class Resources(Section):
    """What one trial needs."""

    gpus: Literal["auto"] | Annotated[Whole, Field(ge=0, le=1024)] = "auto"


class Timeouts(Section):
    """After which a trial fails, as `timeout`; it is not tried again, because it would take as long again."""

    trial_seconds: Real | None = Field(default=None, gt=0)  # under leases, all its attempts together
    no_progress_seconds: Real | None = Field(default=None, gt=0)  # since the attempt's start, or its last report

    def exceeded(self, *, seconds: float, silent: float) -> str | None:
        """Why a trial that ran for `seconds`, the last `silent` of them without a report, is to end; None if it may go on."""
        if self.trial_seconds is not None and seconds > self.trial_seconds:
            return f"it ran for longer than timeouts.trial_seconds, {self.trial_seconds:g} s"
        if self.no_progress_seconds is not None and silent > self.no_progress_seconds:
            return f"it reported nothing for timeouts.no_progress_seconds, {self.no_progress_seconds:g} s"
        return None


# What a completed trial has cost: objectives beside those that a task measures.
COSTS: Mapping[str, Direction] = dict.fromkeys(("train_seconds", "trained_parameters", "latency_seconds"), "minimize")


class StudySpec(Section):
    """A study file; the same object is the body of `POST /api/v1/studies`."""

    name: Name | None = None
    task: Name
    model: Name
    data: Data
    objective: Objective | None = None  # a list of 2 or 3 is read as this one, the leading one, and the others:
    further_objectives: list[Objective] = Field(default=[], max_length=2)
    parameters: dict[Name, Any] | Literal["auto"]
    constraints: list[Text] = []
    untuned_default: bool = True  # trial 0 is what one would get without a search; false: there is no such trial
    start_with: list[dict[Name, ParamValue]] = Field(default=[], max_length=1000)  # configurations to try first
    warm_start: list[Name] = Field(default=[], max_length=20)  # earlier studies, by name or id, to learn from
    sampler: Sampler = TpeSampler()
    pruner: Pruner = AshaPruner()
    budget: Budget = Budget()
    parallelism: Whole = Field(default=4, ge=1, le=10_000)
    eval_every: Real = Field(default=1.0, ge=0.001, le=1)  # epochs between two evaluations and reports
    resources: Resources = Resources()
    retries: Whole = Field(default=2, ge=0, le=100)
    timeouts: Timeouts = Timeouts()
    keep_models: Whole = Field(default=1, ge=1, le=1000)  # of the best trials
    seed: Whole = Field(default=0, ge=0, lt=2**31)
    notes: Annotated[Text, Field(max_length=100_000)] = ""
    tags: dict[Name, Annotated[Text, Field(max_length=200)]] = {}

    @model_validator(mode="before")
    @classmethod
    def _several_objectives(cls, raw: object) -> object:
        listed = raw.get("objective") if isinstance(raw, Mapping) else None
        if not isinstance(raw, Mapping) or not isinstance(listed, list) or not 2 <= len(listed) <= 3:
            return raw
        return dict(raw) | {"objective": listed[0], "further_objectives": listed[1:]}

    @field_validator("objective", mode="before")
    @classmethod
    def _not_too_many(cls, raw: object) -> object:
        if isinstance(raw, list):
            raise ValueError("give one, such as {metric: accuracy}, or a list of 2 or 3")
        return raw

    @field_validator("warm_start", mode="before")
    @classmethod
    def _one_is_a_list(cls, raw: object) -> object:
        return [raw] if isinstance(raw, str) else raw

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
    auto: bool = False  # the space is the task's own


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

    What it names of the hub is pinned to a commit, so that every trial has the same.
    Raises InvalidInput with every wrong field that can be told: a wrong model does not hide a wrong column.
    """
    definition = catalog_definition(spec.task)
    spec, errors = _with_pins(spec)
    not_there = {error.field for error in errors}
    model = ModelFacts()
    try:
        model = ModelFacts() if "model" in not_there else definition.model_facts(spec.model)
    except InvalidInput as error:
        errors.extend(error.errors)
    auto = spec.parameters == "auto"
    if auto:
        spec = spec.model_copy(update={"parameters": definition.auto_space(model)})
    spec = with_length(spec, definition, model)
    errors.extend(_objective_errors(spec, definition))
    data = None
    try:
        data = definition.inspect(data_spec(spec), spec.seed) if check_data and not_there <= {"model"} else None
    except InvalidInput as error:
        errors.extend(error.errors)
    space: Space = {}
    try:
        space = space_of(spec, model.blocks)
    except InvalidInput as error:
        # With an unknown model the number of its blocks is unknown too: one cause, one message.
        unknown_model = any(known.field == "model" for known in errors)
        errors.extend(e for e in error.errors if not (unknown_model and "frozen_layers" in e.field))
    if space:
        spec, wrong = _checked_search(spec, definition, space, model.blocks)
        errors.extend(wrong or _start_errors(spec, space, model.blocks))
    if not any(known.field.startswith("parameters") for known in errors):
        errors.extend(length_errors(definition, space, model))
    if errors:
        raise InvalidInput(errors)
    leading, *further = objectives_of(spec)
    complete = spec.model_copy(update={"objective": leading, "further_objectives": further})
    return CheckedStudy(spec=complete, definition=definition, space=space, model=model, data=data, auto=auto)


def _with_pins(spec: StudySpec) -> tuple[StudySpec, list[FieldError]]:
    """The study with the commits of what it names of the hub, and what can't be had of it."""
    given = {f"data.{part}": source for part in ("train", "validation", "test") if _of_hub(source := getattr(spec.data, part))}
    pins, errors = dict[str, str](), list[FieldError]()
    for where, reference in {**({} if _is_here(spec.model) else {"model": spec.model}), **given}.items():
        try:
            pins[where] = pinned(reference, where)
        except InvalidInput as error:
            errors.extend(error.errors)
    data = {where.removeprefix("data."): pin for where, pin in pins.items() if where != "model"}
    named = {"model": pins.get("model", spec.model), "data": spec.data.model_copy(update=data)}
    return spec.model_copy(update=named), errors


def unpinned_spec(spec: StudySpec) -> StudySpec:
    """The study as people wrote it, with the names of what it takes from the hub."""
    data = {part: unpinned(source) for part in ("train", "validation", "test") if _of_hub(source := getattr(spec.data, part))}
    model = spec.model if _is_here(spec.model) else unpinned(spec.model)
    return spec.model_copy(update={"model": model, "data": spec.data.model_copy(update=data)})


def _of_hub(source: object) -> bool:
    return isinstance(source, str) and source.startswith(DATA_PREFIX)


def _is_here(model: str) -> bool:
    try:
        return model.startswith(PREFIX) or local_path(model, "model").exists()
    except InvalidInput:
        return True


def check_search(spec: StudySpec, blocks: int | None) -> StudySpec:
    """A study's space, sampler, pruner and constraints alone, as when a live study is changed. Raises InvalidInput."""
    definition = catalog_definition(spec.task)
    spec, errors = _checked_search(spec, definition, space_of(spec, blocks), blocks)
    if errors:
        raise InvalidInput(errors)
    return spec


def _checked_search(
    spec: StudySpec, definition: Definition, space: Space, blocks: int | None
) -> tuple[StudySpec, list[FieldError]]:
    """The study with its pruner filled in, and what its search cannot do with this space."""
    pruner, errors = _checked_pruner(spec, definition, most(definition, space, "epochs"))
    errors = errors + sampler_errors(spec.sampler, space) + _several_errors(spec) + _constraint_errors(spec, space, blocks)
    return spec.model_copy(update={"pruner": pruner}), errors


def _several_errors(spec: StudySpec) -> list[FieldError]:
    """What cannot be had with several objectives."""
    if not spec.further_objectives:
        return []
    errors = []
    if spec.sampler.name in ("gp", "cmaes"):
        message = f"{spec.sampler.name} searches for one objective; tpe, nsga2, nsga3, random, qmc and grid can do with several"
        errors.append(FieldError("sampler.name", message))
    if spec.warm_start:
        errors.append(FieldError("warm_start", "earlier studies can inform a search for one objective only; leave it out"))
    return errors


def _start_errors(spec: StudySpec, space: Space, blocks: int | None) -> list[FieldError]:
    constraints = constraints_of(spec, space, blocks)
    errors = []
    for index, params in enumerate(spec.start_with):
        where = f"start_with[{index}]"
        errors += [FieldError(f"{where}.{error.field}", error.message) for error in given_errors(space, constraints, params)]
    trials = spec.budget.trials
    if trials is not None and len(spec.start_with) + spec.untuned_default > trials:
        message = f"has {len(spec.start_with)} entries, but the budget leaves {trials} trials"
        if spec.untuned_default:
            message = f"has {len(spec.start_with)} entries, but after the untuned default the budget leaves {trials - 1} trials"
        errors.append(FieldError("start_with", message))
    return errors


def given_errors(space: Space, constraints: Sequence[Constraint], params: Mapping[str, ParamValue]) -> list[FieldError]:
    """What is wrong with parameters that a user gives for a trial; those left out are no mistake."""
    errors = []
    for name, value in params.items():
        if name not in space:
            errors.append(FieldError(name, f"unknown parameter; {known(list(space))}"))
        elif not contains(space[name], value) or not on_grid(space[name], value):
            errors.append(FieldError(name, f"{value!r} is not in the study's space: {space[name]}"))
    if not errors:
        broken = [constraint.text for constraint in constraints if not constraint.holds(params)]
        errors += [FieldError(next(iter(params)), f"breaks the constraint {text!r}") for text in broken]
    return errors


def space_of(spec: StudySpec, blocks: int | None) -> Space:
    """The parsed search space of a study on a model with `blocks` blocks."""
    definition = catalog_definition(spec.task)
    return parse_space(_given_parameters(spec, definition), definition.hyperparameters, blocks=blocks)


def constraints_of(spec: StudySpec, space: Space, blocks: int | None) -> list[Constraint]:
    """The parsed constraints of a study with this space."""
    return parse_constraints(spec.constraints, space, blocks=blocks)


def objective_of(spec: StudySpec) -> Objective:
    """The objective, with the task's first metric and the metric's own direction where the study names none."""
    if spec.objective is not None and spec.objective.direction is not None:
        return spec.objective
    metrics = catalog_definition(spec.task).metrics
    metric = spec.objective.metric if spec.objective else next(iter(metrics))
    return Objective(metric=metric, direction=metrics[metric])


def objectives_of(spec: StudySpec) -> list[Objective]:
    """All objectives, the leading one first, none without a direction."""
    directions = {**catalog_definition(spec.task).metrics, **COSTS}
    further = [o if o.direction else Objective(metric=o.metric, direction=directions[o.metric]) for o in spec.further_objectives]
    return [objective_of(spec), *further]


def direction_of(spec: StudySpec) -> Direction:
    return objective_of(spec).direction or "maximize"


def pruning_metric(spec: StudySpec) -> str:
    """The score that the pruner looks at."""
    named = None if isinstance(spec.pruner, NoPruner) else spec.pruner.metric
    return named or objective_of(spec).metric


def pruning_direction(spec: StudySpec) -> Direction:
    metric, objective = pruning_metric(spec), objective_of(spec)
    if metric == objective.metric and objective.direction is not None:
        return objective.direction
    return catalog_definition(spec.task).metrics[metric]


def epochs_of(spec: StudySpec, params: Mapping[str, ParamValue]) -> float | None:
    """After how many epochs a trial with these parameters is at its end; None if that can't be known."""
    epochs = catalog_definition(spec.task).completed(params).get("epochs")
    return float(epochs) if isinstance(epochs, int | float) else None


def data_spec(spec: StudySpec) -> DataSpec:
    """The data section in the form that `studies` takes, default columns filled in."""
    columns = dict(catalog_definition(spec.task).columns) | spec.data.columns
    return DataSpec(**(spec.data.model_dump() | {"columns": columns}))


def _given_parameters(spec: StudySpec, definition: Definition) -> Mapping[str, Any]:
    return definition.default_space if spec.parameters == "auto" else spec.parameters


def _checked_pruner(spec: StudySpec, definition: Definition, epochs: float) -> tuple[Pruner, list[FieldError]]:
    """The pruner with nothing left open, and what is wrong with it. One that nobody asked for gives way where it is no use."""
    pruner = spec.pruner
    errors = pruner_errors(pruner, most_epochs=epochs, eval_every=spec.eval_every)
    if errors and "pruner" not in spec.model_fields_set:
        return NoPruner(name="none"), []
    if not isinstance(pruner, NoPruner) and pruner.metric is not None and pruner.metric not in definition.metrics:
        errors.append(FieldError("pruner.metric", f"unknown metric {pruner.metric!r}; {known(list(definition.metrics))}"))
    if isinstance(pruner, HyperbandPruner) and pruner.max_epochs is None and not errors:
        pruner = pruner.model_copy(update={"max_epochs": epochs})
    return pruner, errors


def _constraint_errors(spec: StudySpec, space: Space, blocks: int | None) -> list[FieldError]:
    """What is wrong with the constraints, that nothing can fulfil them included."""
    try:
        constraints = constraints_of(spec, space, blocks)
    except InvalidInput as error:
        return list(error.errors)
    if constraints and allowed_example(space, constraints) is None:
        alone = [constraint.text for constraint in constraints if allowed_example(space, [constraint]) is None]
        culprit = f"{alone[0]!r} holds" if alone else "all of them hold together"
        return [
            FieldError(
                "constraints", f"no configuration of this space was found in which {culprit}; loosen it or widen the ranges"
            )
        ]
    return []


def _objective_errors(spec: StudySpec, definition: Definition) -> list[FieldError]:
    errors = []
    if spec.objective is not None and spec.objective.metric not in definition.metrics:
        errors.append(
            FieldError("objective.metric", f"unknown metric {spec.objective.metric!r}; {known(list(definition.metrics))}")
        )
    measurable = {**definition.metrics, **COSTS}
    taken = {objective_of(spec).metric} if not errors else set()
    for index, further in enumerate(spec.further_objectives, start=1):
        if further.metric not in measurable:
            message = f"unknown metric {further.metric!r}; {known(list(measurable))}"
            errors.append(FieldError(f"objective.{index}.metric", message))
        elif further.metric in taken:
            errors.append(FieldError(f"objective.{index}.metric", f"{further.metric!r} is an objective already; name another"))
        taken.add(further.metric)
    for role in spec.data.columns:
        if role not in definition.columns:
            errors.append(FieldError(f"data.columns.{role}", f"unknown column; {known(list(definition.columns))}"))
    return errors


_SECTIONS: dict[str, type[BaseModel]] = {
    "data": Data,
    "objective": Objective,
    "budget": Budget,
    "resources": Resources,
    "timeouts": Timeouts,
    **{f"sampler.{get_args(entry.model_fields['name'].annotation)[0]}": entry for entry in SAMPLERS},
    **{f"pruner.{get_args(entry.model_fields['name'].annotation)[0]}": entry for entry in PRUNERS},
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
    if field.startswith("further_objectives."):  # the list that was given began with the leading one
        field = f"objective.{int(location[1]) + 1}.{'.'.join(location[2:])}".rstrip(".")
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
    return facts | {"blocks": checked.model.blocks, "trained_parameters": checked.model.trained_parameters}


def gpus_of_trial(spec: StudySpec, there: int) -> int:
    """How many GPUs a trial of the study takes on a worker that has so many."""
    wanted = spec.resources.gpus
    return min(1, there) if wanted == "auto" else wanted

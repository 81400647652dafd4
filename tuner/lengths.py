"""How many tokens of a text are read: no more than the model can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from studies.configurations import most
from studies.definition import Definition
from studies.errors import FieldError
from studies.models import ModelFacts
from studies.space import Space

if TYPE_CHECKING:
    from tuner.spec import StudySpec

_NAME = "max_length"


def with_length(spec: StudySpec, definition: Definition, model: ModelFacts) -> StudySpec:
    """With as many as the model reads where the study names no `max_length` and the default is more."""
    if spec.parameters == "auto" or _NAME in spec.parameters or _too_many(definition, {}, model) is None:
        return spec
    return spec.model_copy(update={"parameters": spec.parameters | {_NAME: {"value": model.max_positions}}})


def length_errors(definition: Definition, space: Space, model: ModelFacts) -> list[FieldError]:
    """What is wrong with a `max_length` that is given."""
    given, longest = _too_many(definition, space, model), model.max_positions
    message = f"the model reads at most {longest} tokens of a text, so up to {given} are too many; give at most {longest}"
    return [] if given is None else [FieldError(f"parameters.{_NAME}", message)]


def _too_many(definition: Definition, space: Space, model: ModelFacts) -> int | None:
    if definition.hyperparameter(_NAME) is None or model.max_positions is None:
        return None
    given = int(most(definition, space, _NAME))
    return given if given > model.max_positions else None

"""`/definitions`: the catalog of what can be searched, and the models and data that packages ship."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from api.deps import requires
from api.schemas import Answer
from studies.builtin import DATA, MODELS, PREFIX
from studies.catalog import DEFINITIONS
from studies.definition import Direction, Hyperparameter, ParamValue

router = APIRouter(prefix="/api/v1/definitions", tags=["definitions"])


class HyperparameterAnswer(Answer):
    """One setting that a task understands; `default` is the untuned one."""

    name: str
    kind: str
    default: ParamValue
    help: str
    low: float | None
    high: float | None
    low_open: bool
    high_open: bool
    choices: list[ParamValue]


class TaskAnswer(Answer):
    """One entry of the catalog: what a study's `task` can be."""

    task: str
    title: str
    metrics: dict[str, Direction]
    columns: dict[str, str]
    hyperparameters: list[HyperparameterAnswer]
    default_space: dict[str, dict[str, Any]]


class BuiltinModelAnswer(Answer):
    """A model that a package ships; `install` brings the package where it is not installed."""

    name: str
    title: str
    licence: str
    installed: bool
    install: str


class BuiltinDataAnswer(BuiltinModelAnswer):
    """A data set that a package ships."""

    rows: int
    classes: int


class CatalogAnswer(Answer):
    """Everything that a study can name."""

    tasks: list[TaskAnswer]
    models: list[BuiltinModelAnswer]
    data: list[BuiltinDataAnswer]


@router.get("", dependencies=[requires("viewer")])
def show_catalog() -> CatalogAnswer:
    """Tasks with their metrics, parameters and default spaces; built-in models and data."""
    return CatalogAnswer(
        tasks=[
            TaskAnswer(
                task=entry.task,
                title=entry.title,
                metrics=dict(entry.metrics),
                columns=dict(entry.columns),
                hyperparameters=[HyperparameterAnswer(**_listed(rule)) for rule in entry.hyperparameters],
                default_space={name: dict(body) for name, body in entry.default_space.items()},
            )
            for entry in DEFINITIONS.values()
        ],
        models=[BuiltinModelAnswer(**_shipped(entry)) for entry in MODELS.values()],
        data=[BuiltinDataAnswer(**_shipped(entry), rows=entry.rows, classes=entry.classes) for entry in DATA.values()],
    )


def _listed(rule: Hyperparameter) -> dict[str, Any]:
    return asdict(rule) | {"choices": list(rule.choices)}


def _shipped(entry: Any) -> dict[str, Any]:
    return {
        "name": PREFIX + entry.name,
        "title": entry.title,
        "licence": entry.licence,
        "installed": entry.package.folder() is not None,
        "install": entry.package.install,
    }

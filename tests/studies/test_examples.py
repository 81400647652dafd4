from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import studies
from studies.catalog import definition
from studies.definition import DataSpec
from studies.models import model_facts
from studies.space import contains, parse_space

EXAMPLES = sorted((Path(studies.__path__[0]) / "examples").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    study: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return study


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_name_what_exists(path: Path) -> None:
    study = load(path)
    task = definition(study["task"])
    assert parse_space(study["parameters"], task.hyperparameters, blocks=model_facts(study["model"]).blocks)
    assert study.get("objective", {"metric": "accuracy"})["metric"] in task.metrics


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem != "csv"], ids=lambda path: path.name)
def test_examples_on_builtin_data_can_be_read(path: Path) -> None:
    study = load(path)
    assert len(definition(study["task"]).inspect(DataSpec(**study["data"]), 0).classes) >= 2


def test_the_demo_can_try_the_untuned_defaults() -> None:
    study = load(EXAMPLES[0].with_name("trec.yaml"))
    task = definition(study["task"])
    defaults = task.completed({})
    space = parse_space(study["parameters"], task.hyperparameters, blocks=6)
    assert all(contains(parameter, defaults[name]) for name, parameter in space.items())

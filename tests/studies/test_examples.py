from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import studies
from studies.builtin import DATA, MODELS, PREFIX
from studies.catalog import definition
from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.space import contains, parse_space

EXAMPLES = sorted((Path(studies.__path__[0]) / "examples").glob("*.yaml"))


def load(path: Path) -> dict[str, Any]:
    study: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return study


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_name_what_exists_or_say_what_to_install(path: Path) -> None:
    study = load(path)
    task = definition(study["task"])
    package = MODELS[study["model"].removeprefix(PREFIX)].package
    if package.folder() is None:
        with pytest.raises(InvalidInput, match=re.escape(package.install)):
            task.model_facts(study["model"])
    else:
        assert parse_space(study["parameters"], task.hyperparameters, blocks=task.model_facts(study["model"]).blocks)
    assert study.get("objective", {"metric": next(iter(task.metrics))})["metric"] in task.metrics


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.stem != "csv"], ids=lambda path: path.name)
def test_examples_on_builtin_data_can_be_read_or_say_what_to_install(path: Path) -> None:
    study = load(path)
    data = DataSpec(**study["data"])
    package = DATA[data.train.removeprefix(PREFIX)].package
    if package.folder() is None:
        with pytest.raises(InvalidInput, match=re.escape(package.install)):
            definition(study["task"]).inspect(data, 0)
    else:
        assert definition(study["task"]).inspect(data, 0).validation_rows > 0


def test_the_demo_can_try_the_untuned_defaults() -> None:
    study = load(EXAMPLES[0].with_name("trec.yaml"))
    task = definition(study["task"])
    defaults = task.completed({})
    space = parse_space(study["parameters"], task.hyperparameters, blocks=6)
    assert all(contains(parameter, defaults[name]) for name, parameter in space.items())

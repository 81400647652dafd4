"""The definition that docs/new-definition.md adds works as the page says."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from studies import catalog
from studies.definition import DataSpec, Definition
from tests.studies.training.conftest import train_tiny, write_jsonl
from tuner.spec import check, parse

PAGE = Path(__file__).parents[3] / "docs" / "new-definition.md"


@pytest.fixture
def definition(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Definition:
    """The page's files as modules, and its line of the catalog."""
    for path, code in re.findall(r"```python\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        module = load(path.removesuffix(".py").replace("/", "."), tmp_path / Path(path).name, code, monkeypatch)
        if hasattr(module, "DEFINITION"):
            found: Definition = module.DEFINITION
    monkeypatch.setattr(catalog, "DEFINITIONS", dict(catalog.DEFINITIONS) | {found.task: found})
    return found


def load(name: str, file: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    file = file.with_name(f"{name}.py")
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_the_page_adds_a_task_that_is_checked_trained_and_used(definition: Definition, tiny_model: str, tmp_path: Path) -> None:
    rows = [{"text": text, "value": value} for text, value in (("the cat is red", 1.0), ("a dog is blue", -1), ("so", "0"))] * 20
    data = DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", rows), validation=0.2)
    study = {"task": "text-regression", "model": tiny_model, "data": {"train": data.train}, "parameters": "auto"}
    checked = check(parse(study))
    assert checked.data is not None and checked.spec.objective is not None
    assert checked.spec.objective.metric == "mae" and checked.data.baseline["loss"] > 0.3
    outcome = train_tiny(definition, tiny_model, data, tmp_path, max_length=16, epochs=4, learning_rate=5e-3)
    assert outcome.values["mae"] < 0.5  # the mean of all would be off by 0.67
    assert definition.predict(tmp_path / "model", ["a dog is blue"])[0]["value"] < -0.3
    kept = [json.loads(line) for line in (tmp_path / "model" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert {row["expected"] for row in kept} <= {1.0, -1.0, 0.0}

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tuner.commands.plan import plan
from tuner.spec import check, parse

DATA = {"train": "builtin:sms-spam", "validation": 0.5, "limit": 40}


def shown(**parameters: Any) -> str:
    raw = {"task": "text-classification", "model": "builtin:minilm", "data": DATA, "parameters": parameters}
    written = StringIO()
    console = Console(width=120, file=written)
    for part in plan(check(parse(raw))):
        console.print(part, markup=False)
    return written.getvalue()


def test_trained_parameters_at_each_depth_that_the_space_allows() -> None:
    text = shown(frozen_layers={"min": 4, "max": "all"}, epochs={"min": 1, "max": 2})
    assert "20 rows to train on, 20 for validation, 2 classes" in text
    assert "searches frozen_layers, epochs: 50 trials" in text
    found = {line.split()[0]: line.split()[1] for line in text.splitlines() if "%" in line}
    assert list(found) == ["4", "5", "6"]
    # Two blocks of 1,774,464 and a pooler of 147,840.
    assert found["4"] == "3,696,768" and found["6"] == "147,840"


@pytest.mark.parametrize(
    ("parameter", "depths"),
    [({"values": [6, 2]}, ["2", "6"]), ({"value": 3}, ["3"]), ({"min": 5, "max": 6, "when": {"train": "all"}}, ["0", "5", "6"])],
    ids=str,
)
def test_depths_of_other_spaces(parameter: dict[str, Any], depths: list[str]) -> None:
    text = shown(frozen_layers=parameter, train={"values": ["all", "bias"]})
    assert [line.split()[0] for line in text.splitlines() if "%" in line] == depths


def test_without_frozen_layers_everything_is_trained() -> None:
    text = shown(epochs={"min": 1, "max": 2})
    assert [line.split() for line in text.splitlines() if "%" in line] == [["0", "22,713,216", "100.0%"]]

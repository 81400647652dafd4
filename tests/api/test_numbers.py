from __future__ import annotations

import json
import math
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from api.numbers import FreeJson, Number


class Model(BaseModel):
    value: Number = 0.0
    free: FreeJson = {}


@pytest.mark.parametrize(("sent", "value"), [(1, 1.0), (0.5, 0.5), ("inf", math.inf), ("-inf", -math.inf), (math.inf, math.inf)])
def test_numbers_are_read_and_written_alike(sent: object, value: float) -> None:
    model = Model.model_validate({"value": sent})
    assert model.value == value
    assert Model.model_validate_json(model.model_dump_json()) == model


def test_nan_is_read_and_written() -> None:
    model = Model.model_validate({"value": "nan"})
    assert math.isnan(model.value)
    assert json.loads(model.model_dump_json())["value"] == "nan"


@pytest.mark.parametrize("sent", ["1", "Infinity", "NaN", "", True, None, [], 10**400])
def test_what_is_no_number_is_refused(sent: object) -> None:
    with pytest.raises(ValidationError):
        Model.model_validate({"value": sent})


def nested(depth: int) -> dict[str, Any]:
    return {} if depth == 0 else {"a": nested(depth - 1)}


def test_free_json_is_kept_and_its_numbers_made_storable() -> None:
    free = {"a": [1, 2.5, None, True, "é"], "b": {"c": math.nan}}
    assert Model(free=free).free == {"a": [1, 2.5, None, True, "é"], "b": {"c": "nan"}}


@pytest.mark.parametrize("free", [{"a": "\0"}, {"\0": 1}, {"a": ["\ud800"]}, {"a": 2**60}, nested(30)])
def test_free_json_that_cannot_be_stored_is_refused(free: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Model(free=free)

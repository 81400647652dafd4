from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.image_classification import DEFINITION, inspect, read, written
from studies.space import parse_space
from tests.studies.training.conftest import write_jsonl

GREY = [[0, 255], [1, 2]]


def test_pictures_are_written_as_texts(tmp_path: Path) -> None:
    assert written(GREY, None) == "2x2:" + base64.b64encode(bytes([0, 255, 1, 2])).decode()
    assert str(written([[[1, 2, 3]]], None)).startswith("1x1x3:")
    assert written({"bytes": b"x", "path": None}, None) == "file:" + base64.b64encode(b"x").decode()
    (tmp_path / "a.png").write_bytes(b"x")
    assert written("a.png", tmp_path) == written(b"x", None)


@pytest.mark.parametrize("raw", [None, 7, "", "b.png", "../secret.png", [], [[]], [[300]], [[1, 2], [3]], [["x"]]])
def test_what_is_no_picture_or_lies_elsewhere(raw: Any, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "data").mkdir()
    assert written(raw, tmp_path / "data") is None


def test_wrong_rows_are_named(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"image": GREY, "label": "a"}, {"image": "gone.png", "label": "b"}]
    with pytest.raises(InvalidInput, match="data.columns.image: 1 row has no picture .*rows.jsonl row 2"):
        read(DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", rows)), 0)


def test_built_in_digits() -> None:
    facts = inspect(DataSpec(train="builtin:digits", validation=0.5), 0)
    assert (len(facts.classes), facts.train_rows + facts.validation_rows) == (10, 1797)
    assert facts.baseline["accuracy"] == pytest.approx(0.1, abs=0.02)


def test_the_default_space_is_legal_for_the_small_network() -> None:
    assert DEFINITION.model_facts("builtin:small-cnn").blocks == 3
    assert parse_space(DEFINITION.default_space, DEFINITION.hyperparameters, blocks=3)

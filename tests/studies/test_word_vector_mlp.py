from __future__ import annotations

from studies.definition import DataSpec
from studies.word_vector_mlp import DEFINITION
from tests.studies.conftest import Write


def test_its_data_is_labelled_texts(write: Write, examples: list[tuple[str, str]]) -> None:
    facts = DEFINITION.inspect(DataSpec(train=write("rows.csv", examples)), 0)
    assert facts.classes == ("animal", "colour", "number")
    assert set(DEFINITION.metrics) <= {*facts.baseline}

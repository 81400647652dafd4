from __future__ import annotations

import json

import pytest

from studies.definition import Verdict
from studies.text_classification import DEFINITION
from tests.studies.training.conftest import MakeJob, keep_nothing


def test_predictions_and_results_of_each_class_are_kept_with_the_model(make_job: MakeJob) -> None:
    job = make_job(epochs=4)
    outcome = DEFINITION.train(job, lambda metrics: Verdict(), keep_nothing)
    answers = [json.loads(line) for line in (job.folder / "model" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) == 45
    assert sum(answer["expected"] == answer["predicted"] for answer in answers) / 45 == outcome.values["accuracy"]
    kept = json.loads((job.folder / "model" / "evaluation.json").read_text("utf-8"))
    assert kept["scores"] == outcome.values
    assert sum(row["f1"] for row in kept["classes"].values()) / 3 == pytest.approx(outcome.values["macro_f1"])
    assert {name: row["rows"] for name, row in kept["classes"].items()} == {"animal": 15, "colour": 15, "number": 15}

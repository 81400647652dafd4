from __future__ import annotations

import json

import pytest
import torch

from studies.definition import Keep, Verdict
from studies.text_classification import DEFINITION
from studies.training.settings import Settings, settings_of
from studies.training.text_classification import class_weights, weighted_loss
from tests.studies.training.conftest import MakeJob


def balanced() -> Settings:
    return settings_of(DEFINITION.completed({"class_weights": "balanced"}))


def test_balanced_classes_count_alike() -> None:
    weights = class_weights([0, 0, 0, 1], 3, balanced())
    assert weights is not None
    # Three of four rows and one of four; the third class has no row.
    assert weights[:2].tolist() == pytest.approx([2 / 3, 2.0])
    assert float(weights[torch.tensor([0, 0, 0, 1])].mean()) == pytest.approx(1.0)
    assert class_weights([0, 0, 0, 1], 3, settings_of(DEFINITION.completed({}))) is None


def test_a_weighted_batch_in_parts_is_the_same_batch() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 0, 1, 2])
    weights = class_weights([0, 0, 1, 2], 3, balanced())
    whole = weighted_loss(logits, labels, weights, 0.1)
    parts = [weighted_loss(logits[part], labels[part], weights, 0.1) / 2 for part in (slice(0, 2), slice(2, 4))]
    assert float(sum(parts)) == pytest.approx(float(whole))
    alike = weighted_loss(logits, labels, torch.ones(3), 0.1)
    assert float(alike) == pytest.approx(float(weighted_loss(logits, labels, None, 0.1)))


def test_predictions_and_results_of_each_class_are_kept_with_the_model(make_job: MakeJob) -> None:
    job = make_job(epochs=4)
    outcome = DEFINITION.train(job, lambda metrics: Verdict(), Keep())
    answers = [json.loads(line) for line in (job.folder / "model" / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) == 45
    assert sum(answer["expected"] == answer["predicted"] for answer in answers) / 45 == outcome.values["accuracy"]
    kept = json.loads((job.folder / "model" / "evaluation.json").read_text("utf-8"))
    assert kept["scores"] == outcome.values
    assert sum(row["f1"] for row in kept["classes"].values()) / 3 == pytest.approx(outcome.values["macro_f1"])
    assert {name: row["rows"] for name, row in kept["classes"].items()} == {"animal": 15, "colour": 15, "number": 15}

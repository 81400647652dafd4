from __future__ import annotations

import json

from studies.training.task import Evaluation


def test_an_evaluation_is_kept_as_two_files() -> None:
    evaluation = Evaluation(
        scores={"accuracy": 0.5},
        predictions=[{"text": "é", "predicted": "a"}, {"text": "b", "predicted": "b"}],
        classes={"a": {"f1": 1.0}},
    )
    files = evaluation.files()
    assert json.loads(files["evaluation.json"]) == {"scores": {"accuracy": 0.5}, "classes": {"a": {"f1": 1.0}}}
    assert [json.loads(line)["text"] for line in files["predictions.jsonl"].splitlines()] == ["é", "b"]

from __future__ import annotations

import pytest
import torch
from transformers import AutoTokenizer

from studies.definition import Keep, Verdict
from studies.text_classification import DEFINITION
from studies.training.data import encode
from studies.training.models import load_classifier
from studies.training.predict import compute_logits
from tests.studies.training.conftest import MakeJob

TEXTS = ["the very red a is", "dog", "it is of three", "cat and cat and cat and cat"]


def go_on(metrics: object) -> Verdict:
    return Verdict()


def test_a_trained_model_tells_label_and_probability(make_job: MakeJob) -> None:
    job = make_job(epochs=6, job_seed=4)
    DEFINITION.train(job, go_on, Keep())
    answers = DEFINITION.predict(job.folder / "model", TEXTS)
    assert [answer["label"] for answer in answers] == ["colour", "animal", "number", "animal"]
    assert all(1 / 3 <= answer["probability"] <= 1 for answer in answers)


def test_padding_does_not_change_the_logits(tiny_model: str) -> None:
    torch.manual_seed(0)
    model, tokenizer = load_classifier(tiny_model, ["a", "b", "c"], max_length=32, dropout=None)
    encoded = encode(tokenizer, TEXTS)
    one_by_one = compute_logits(model, encoded, 1, "cpu")
    together = compute_logits(model, encoded, len(TEXTS), "cpu")
    assert torch.allclose(one_by_one, together, rtol=0, atol=1e-6)
    # In the order of the texts, though batches are sorted by length.
    alone = model(**AutoTokenizer.from_pretrained(tiny_model)(TEXTS[2], return_tensors="pt")).logits[0]
    assert one_by_one[2].tolist() == pytest.approx(alone.tolist(), abs=1e-6)


def test_no_texts_no_answers(make_job: MakeJob) -> None:
    job = make_job(epochs=1)
    DEFINITION.train(job, go_on, Keep())
    assert DEFINITION.predict(job.folder / "model", []) == []

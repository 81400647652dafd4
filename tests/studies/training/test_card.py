from __future__ import annotations

from studies.definition import Keep, Verdict
from studies.text_classification import DEFINITION
from tests.studies.training.conftest import MakeJob


def test_a_model_folder_explains_itself(make_job: MakeJob) -> None:
    job = make_job(epochs=1, learning_rate=0.004)
    outcome = DEFINITION.train(job, lambda metrics: Verdict(), Keep())
    card = (job.folder / "model" / "README.md").read_text("utf-8")
    assert card.startswith("---\ntags:\n- tuner\n- text-classification\n---\n")
    assert f"| accuracy | {outcome.values['accuracy']:.5g} |" in card
    assert "| learning_rate | 0.004 |" in card
    assert outcome.details["data"]["train"]["fingerprint"] in card
    assert outcome.details["model"]["revision"] in card
    assert f"| torch | {outcome.details['versions']['torch']} |" in card
    assert "| animal | " in card
    assert "AutoModelForSequenceClassification.from_pretrained(FOLDER)" in card


def test_the_card_of_an_adapter_says_how_it_is_loaded(make_job: MakeJob) -> None:
    job = make_job(epochs=1, train="lora")
    DEFINITION.train(job, lambda metrics: Verdict(), Keep())
    card = (job.folder / "model" / "README.md").read_text("utf-8")
    assert "peft.PeftModel.from_pretrained(" in card
    assert f"`{job.model}`; or `tuner predict`" in card

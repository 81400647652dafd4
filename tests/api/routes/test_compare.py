from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Trainer
from tests.api.helpers import wrong_fields


def test_trials_side_by_side(admin: TestClient, post_study: Callable[..., Any], trainer: Trainer) -> None:
    study = post_study()
    for value in (0.5, 0.7):
        trainer.complete(value)
    compared = admin.get(f"/api/v1/studies/{study['id']}/compare?trials=1,0").json()
    assert [trial["number"] for trial in compared["trials"]] == [1, 0]
    assert {row["name"] for row in compared["parameters"]} == {"learning_rate", "epochs", "optimizer"}
    assert compared["metrics"] == [{"name": "accuracy", "values": [0.7, 0.5], "present": [True, True], "differs": True}]
    environment = {row["name"]: row for row in compared["environment"]}
    assert environment["python"] == {"name": "python", "values": ["3", "3"], "present": [True, True], "differs": False}
    for row in compared["parameters"]:
        assert row["differs"] == (row["values"][0] != row["values"][1])


def test_a_value_that_is_no_number_travels_as_text(admin: TestClient, post_study: Callable[..., Any], trainer: Trainer) -> None:
    study = post_study()
    for value in ("nan", 0.7):
        lease = trainer.lease()
        trainer.report(lease, value)
        trainer.finish(lease, value)
    answer = admin.get(f"/api/v1/studies/{study['id']}/compare?trials=0,1")
    assert answer.status_code == 200, answer.text
    assert "nan" in answer.text or answer.json()["trials"][0]["state"] == "failed"


@pytest.mark.parametrize("trials", ["", "1", "0,1,2,3,4,5,6", "0,x", "-1,0"])
def test_2_to_6_numbers_are_compared(admin: TestClient, post_study: Callable[..., Any], trials: str) -> None:
    assert wrong_fields(admin.get(f"/api/v1/studies/{post_study()['id']}/compare", params={"trials": trials})) == ["trials"]


def test_a_trial_that_is_not_there(admin: TestClient, post_study: Callable[..., Any]) -> None:
    answer = admin.get(f"/api/v1/studies/{post_study()['id']}/compare?trials=0,77")
    assert answer.status_code == 404
    assert "no trial 77" in answer.json()["detail"]


def test_studies_side_by_side(admin: TestClient, post_study: Callable[..., Any], trainer: Trainer) -> None:
    one = post_study()
    trainer.complete(0.5)
    other = post_study(name="other", parallelism=1)
    trainer.complete(0.6)
    pair = {"studies": f"{one['id']},other"}
    compared = admin.get("/api/v1/compare", params=pair).json()
    assert [study["id"] for study in compared["studies"]] == [one["id"], other["id"]]
    assert {row["name"] for row in compared["settings"] if row["differs"]} == {"parallelism"}
    for name in ("by_trial", "by_hour", "edf"):
        figure = admin.get(f"/api/v1/compare/figures/{name}", params=pair)
        assert figure.status_code == 200, figure.text
        assert [trace["name"] for trace in figure.json()["data"]]
    assert admin.get("/api/v1/compare/figures/nothing", params=pair).status_code == 404
    assert admin.get("/api/v1/compare", params={"studies": "absent,other"}).status_code == 404
    assert wrong_fields(admin.get("/api/v1/compare", params={"studies": "other"})) == ["studies"]

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from api.dashboard.figures import FIGURES
from tests.api.conftest import Json, Trainer
from tests.api.helpers import both_databases, wrong_fields

WHERE = "/api/v1/studies/parity/figures"


@both_databases
def test_every_figure_of_a_study_with_results(admin: TestClient, trainer: Trainer, post_study: Callable[..., Json]) -> None:
    post_study(budget={"trials": 20})
    for value in (0.5, 0.8, 0.6, 0.9):
        trainer.complete(value)
    trainer.lease()
    for name in FIGURES:
        answer = admin.get(f"{WHERE}/{name}")
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["data"], name


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_of_a_study_without_any(admin: TestClient, post_study: Callable[..., Json], name: str) -> None:
    post_study()
    figure = admin.get(f"{WHERE}/{name}").json()
    assert set(figure) >= {"data", "layout"}


def test_the_curves_show_the_metric_that_was_asked_for(
    admin: TestClient, trainer: Trainer, post_study: Callable[..., Json]
) -> None:
    post_study()
    lease = trainer.lease()
    metric = {"name": "loss", "step": 10, "epoch": 1, "value": 0.25, "split": "train"}
    trainer.post(lease, "metrics", {"metrics": [metric]})
    figure = admin.get(f"{WHERE}/curves", params={"metric": "train/loss"}).json()
    assert figure["data"][0]["y"] == [0.25]
    assert admin.get(f"{WHERE}/curves", params={"metric": "fame"}).json()["data"] == []


def test_an_unknown_figure_is_answered_with_the_known_ones(admin: TestClient, post_study: Callable[..., Json]) -> None:
    post_study()
    answer = admin.get(f"{WHERE}/pie")
    assert answer.status_code == 404
    assert "known: contour, curves" in answer.json()["detail"]


def test_an_unknown_axis_is_refused_and_named(admin: TestClient, trainer: Trainer, post_study: Callable[..., Json]) -> None:
    post_study()
    for value in (0.5, 0.6):
        trainer.complete(value)
    assert wrong_fields(admin.get(f"{WHERE}/slice", params={"x": "speed"})) == ["x"]
    assert wrong_fields(admin.get(f"{WHERE}/slice?x=%00")) == ["x"]

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Json, Trainer
from tests.api.helpers import both_databases, wrong_fields

PostStudy = Callable[..., Json]
TRIALS = "/api/v1/studies/parity/trials"


@pytest.fixture
def given(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    """Four trials with known parameters: two completed, one running, one waiting."""
    post_study(budget={"trials": 20})
    trainer.complete(0.5)
    for params in (
        {"learning_rate": 1e-4, "epochs": 1, "optimizer": "sgd"},
        {"learning_rate": 1e-3, "epochs": 2, "optimizer": "adamw"},
        {"learning_rate": 1e-2, "epochs": 3, "optimizer": "sgd"},
    ):
        assert admin.post(TRIALS, json={"params": params}).status_code == 201
    trainer.complete(0.9)
    trainer.lease()


@both_databases
def test_trials_are_filtered_by_any_metric(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    for value in (0.5, 0.25):
        lease = trainer.lease()
        points = [
            {"name": name, "step": step, "epoch": step, "value": value * step, "split": split}
            for step in (1, 2)
            for name, split in (("accuracy", "validation"), ("loss", "validation"), ("loss", "train"))
        ]
        assert trainer.post(lease, "metrics", {"metrics": points}).status_code == 200
        trainer.finish(lease, value)
    assert numbers(admin, where="loss>0.6") == [0], "of each the last number counts"
    assert numbers(admin, where="train/loss<=0.5,accuracy>0") == [1]
    assert numbers(admin, where="validation/loss!=1") == [1]
    answer = admin.get(TRIALS, params={"where": "train/accuracy>1"})
    assert "train/loss" in answer.json()["errors"][0]["message"]


def numbers(client: TestClient, **query: Any) -> list[int]:
    answer = client.get(TRIALS, params=query)
    assert answer.status_code == 200, answer.text
    return [trial["number"] for trial in answer.json()["items"]]


@both_databases
@pytest.mark.usefixtures("given")
def test_trials_are_filtered_and_sorted(admin: TestClient) -> None:
    assert numbers(admin) == [0, 1, 2, 3]
    assert numbers(admin, state="completed,running") == [0, 1, 2]
    assert numbers(admin, where="value>0.5") == [1]
    assert numbers(admin, where="value>=0.5, learning_rate<=1e-4") == [0, 1]
    assert numbers(admin, where="optimizer=sgd") == [1, 3]
    assert numbers(admin, where="optimizer!=sgd") == [0, 2]
    assert numbers(admin, where="state=waiting") == [3]
    assert numbers(admin, where="epochs>2.5,number<1e30") == [0, 3]
    assert numbers(admin, where="number>0.5,number<2.5") == [1, 2]
    assert numbers(admin, where="seconds>=0") == [0, 1]
    assert numbers(admin, sort="-value") == [1, 0, 2, 3]
    assert numbers(admin, sort="value") == [0, 1, 2, 3]
    assert numbers(admin, sort="-learning_rate") == [3, 2, 1, 0]
    assert numbers(admin, sort="optimizer") == [0, 2, 1, 3]
    assert numbers(admin, sort="-number") == [3, 2, 1, 0]
    for column in ("state", "epoch", "seconds", "finished_at", "started_at", "created_at", "attempt"):
        assert sorted(numbers(admin, sort=f"-{column}")) == [0, 1, 2, 3]


@pytest.mark.usefixtures("given")
def test_pages_follow_each_other(admin: TestClient) -> None:
    first = admin.get(TRIALS, params={"limit": 3, "sort": "-number"}).json()
    assert ([trial["number"] for trial in first["items"]], first["total"]) == ([3, 2, 1], 4)
    second = admin.get(TRIALS, params={"limit": 3, "sort": "-number", "cursor": first["next"]}).json()
    assert ([trial["number"] for trial in second["items"]], second["next"]) == ([0], None)


@pytest.mark.usefixtures("given")
def test_only_the_wanted_fields_come(admin: TestClient) -> None:
    page = admin.get(TRIALS, params={"fields": "number,value", "limit": 1}).json()
    assert page["items"] == [{"number": 0, "value": 0.5}]
    assert page["total"] == 4


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("where=speed>1", "known: accuracy, attempt, epoch, epochs, learning_rate"),
        ("where=value", "value>0.8"),
        ("where=value>high", "number"),
        ("where=value>nan", "number"),
        ("where=value>1>2", "value>0.8"),
        ("where=optimizer>sgd", "= or !="),
        ("where=state=happy", "known: completed"),
        ("where=created_at>2020", "unknown column"),
        ("where=__import__('os')>1", "unknown column"),
        ("where=%00>1", "U+0000"),
        ("sort=speed", "known: attempt"),
        ("sort=--value", "known: attempt"),
        ("fields=password", "known: attempt"),
        ("state=happy", "known: completed"),
        ("cursor=abc", "next"),
        ("limit=1001", "1000"),
    ],
)
def test_a_wrong_question_is_refused_and_named(admin: TestClient, query: str, hint: str) -> None:
    answer = admin.get(f"{TRIALS}?{query}")
    field = query.partition("=")[0]
    assert wrong_fields(answer) in ([field], ["state"])
    assert hint in answer.json()["detail"]


def test_a_trial_is_enqueued_with_given_parameters(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    answer = admin.post(TRIALS, json={"params": {"learning_rate": 0.001}})
    assert answer.status_code == 201
    assert answer.headers["location"].endswith("/trials/1")
    trial = answer.json()
    assert (trial["number"], trial["state"], trial["origin"]) == (1, "waiting", "enqueued")
    assert trial["params"]["learning_rate"] == 0.001
    assert set(trial["params"]) == {"learning_rate", "epochs", "optimizer"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "params"),
        ({"params": {"speed": 1}}, "params.speed"),
        ({"params": {"learning_rate": 5}}, "params.learning_rate"),
        ({"params": {"learning_rate": "fast"}}, "params.learning_rate"),
        ({"params": {"epochs": 2.5}}, "params.epochs"),
        ({"params": {"epochs": 10**30}}, "params.epochs"),
        ({"params": {"epochs": True}}, "params.epochs"),
        ({"params": {"optimizer": "a\0"}}, "params.optimizer"),
        ({"params": {"optimizer": None}}, "params.optimizer"),
        ({"parameters": {}}, "parameters"),
    ],
)
def test_wrong_parameters_are_refused_and_named(admin: TestClient, post_study: PostStudy, body: Json, field: str) -> None:
    post_study()
    assert wrong_fields(admin.post(TRIALS, json=body)) == [field]
    assert numbers(admin) == [0]


def test_the_budget_holds_for_enqueued_trials(admin: TestClient, post_study: PostStudy) -> None:
    post_study(budget={"trials": 2})
    assert admin.post(TRIALS, json={"params": {}}).status_code == 201
    assert admin.post(TRIALS, json={"params": {}}).status_code == 409


@pytest.mark.usefixtures("given")
def test_a_clone_differs_in_what_was_changed(admin: TestClient) -> None:
    original = admin.get(f"{TRIALS}/1").json()["params"]
    answer = admin.post(f"{TRIALS}/1/clone", json={"params": {"epochs": 4}})
    assert answer.status_code == 201
    assert answer.json()["params"] == original | {"epochs": 4}
    assert admin.post(f"{TRIALS}/1/clone", json={}).json()["params"] == original
    assert wrong_fields(admin.post(f"{TRIALS}/1/clone", json={"params": {"epochs": 99}})) == ["params.epochs"]


@pytest.mark.usefixtures("given")
def test_one_trial_is_stopped(admin: TestClient, trainer: Trainer) -> None:
    assert admin.post(f"{TRIALS}/2/stop").json()["state"] == "stopped"
    assert admin.post(f"{TRIALS}/0/stop").json()["state"] == "completed"
    assert admin.get(f"{TRIALS}/2").json()["reason"] == "stopped by a user"


@both_databases
def test_logs_are_read_from_where_one_left_off(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    lease = trainer.lease()
    trainer.post(lease, "logs", {"text": "one\ntwo\n"})
    answer = admin.get(f"{TRIALS}/0/logs")
    assert (answer.text, answer.headers["x-next-after"]) == ("one\ntwo\n", "2")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    trainer.post(lease, "logs", {"text": "three <b>"})
    later = admin.get(f"{TRIALS}/0/logs", params={"after": 2})
    assert (later.text, later.headers["x-next-after"]) == ("three <b>\n", "3")
    assert admin.get(f"{TRIALS}/0/logs", params={"after": 3}).headers["x-next-after"] == "3"
    assert admin.get(f"{TRIALS}/0/logs", params={"limit": 1}).text == "one\n"
    assert wrong_fields(admin.get(f"{TRIALS}/0/logs", params={"after": 2**31})) == ["after"]


@pytest.mark.usefixtures("given")
def test_metrics_come_by_step(admin: TestClient) -> None:
    page = admin.get(f"{TRIALS}/1/metrics").json()
    assert page == {
        "items": [{"name": "accuracy", "value": 0.9, "step": 10, "epoch": 1.0, "split": "validation"}],
        "next": None,
        "total": 1,
    }


@pytest.mark.usefixtures("given")
def test_a_missing_artifact_is_named(admin: TestClient) -> None:
    answer = admin.get(f"{TRIALS}/1/artifacts/model.bin")
    assert (answer.status_code, answer.json()["detail"]) == (404, "trial 1 has no artifact 'model.bin'")


@pytest.mark.usefixtures("given")
def test_the_best_trial(admin: TestClient) -> None:
    best = admin.get("/api/v1/studies/parity/best").json()
    assert (best["number"], best["value"], len(best["attempts"])) == (1, 0.9, 1)


def test_there_is_no_best_before_the_first_value(admin: TestClient, post_study: PostStudy) -> None:
    post_study()
    assert admin.get("/api/v1/studies/parity/best").status_code == 404


@both_databases
@pytest.mark.usefixtures("given")
def test_a_finished_trial_is_given_more_epochs(admin: TestClient, trainer: Trainer) -> None:
    answer = admin.post(f"{TRIALS}/0/extend", json={"epochs": 2})
    assert answer.status_code == 200
    extension = answer.json()["extension"]
    assert (answer.json()["state"], extension["before"]["state"], extension["before"]["value"]) == ("waiting", "completed", 0.5)
    assert extension["first"] == extension["before"]
    lease = trainer.lease()
    assert (lease["trial"], lease["legs"], lease["params"]["epochs"]) == (0, extension["legs"], extension["until"])
    assert admin.post(f"{TRIALS}/0/extend", json={"epochs": 2}).status_code == 409
    assert wrong_fields(admin.post(f"{TRIALS}/1/extend", json={"epochs": 0})) == ["epochs"]
    assert wrong_fields(admin.post(f"{TRIALS}/1/extend", json={})) == ["epochs"]
    assert [entry["action"] for entry in admin.get("/api/v1/audit").json()["items"]][0] == "trial.extend"


@both_databases
def test_of_several_objectives_the_best_is_a_set(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    posted = post_study(objective=[{"metric": "accuracy"}, {"metric": "trained_parameters"}], pruner={"name": "none"})
    assert (posted["objective"]["metric"], posted["further_objectives"][0]["direction"]) == ("accuracy", "minimize")
    for accuracy, parameters in [(0.5, 100), (0.8, 900), (0.4, 300)]:
        values = {"accuracy": accuracy, "trained_parameters": parameters}
        answer = trainer.post(trainer.lease(), "finish", {"state": "completed", "values": values})
        assert answer.status_code == 200, answer.text
    best = admin.get("/api/v1/studies/parity/best").json()
    assert (best["number"], [item["number"] for item in best["items"]], best["total"], best["next"]) == (1, [1, 0], 2, None)
    figure = admin.get("/api/v1/studies/parity/figures/pareto").json()
    assert [trace["x"] for trace in figure["data"]] == [[300], [900, 100]]
    refused = admin.get("/api/v1/studies/parity/figures/pareto?x=loss")
    assert refused.status_code == 422 and "trained_parameters" in refused.text

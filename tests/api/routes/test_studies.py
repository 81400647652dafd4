from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.conftest import Json, Trainer
from tests.api.helpers import both_databases, wrong_fields
from tuner.search_exchange import read_study
from tuner.service import Service

PostStudy = Callable[..., Json]


@both_databases
def test_a_study_is_answered_as_it_was_posted_and_more(admin: TestClient, spec: Json) -> None:
    answer = admin.post("/api/v1/studies", json=spec | {"tags": {"team": "a"}, "notes": "é"})
    assert answer.status_code == 201
    study = answer.json()
    assert answer.headers["location"] == f"/api/v1/studies/{study['id']}"
    assert answer.headers["etag"] == '"1"'
    for key in ("name", "task", "model", "parameters", "parallelism"):
        assert study[key] == spec[key]
    assert study["data"] == spec["data"] | {"test": None, "columns": {}, "limit": None}
    assert study["objective"] == {"metric": "accuracy", "direction": "maximize"}
    assert (study["tags"], study["notes"], study["seed"], study["retries"]) == ({"team": "a"}, "é", 0, 2)
    assert (study["state"], study["reason"], study["finished_at"]) == ("running", None, None)
    assert study["counts"] == {
        "waiting": 1, "running": 0, "completed": 0, "pruned": 0, "stopped": 0, "failed": 0, "total": 1
    }  # fmt: skip
    assert (study["progress"], study["eta_seconds"], study["best"], study["trend"]) == (0.0, None, None, [])
    assert study["baseline"] == {"majority": 0.5, "default": None}
    facts = study["facts"]
    assert (facts["blocks"], facts["train_rows"], facts["validation_rows"], facts["test_rows"]) == (6, 30, 10, 0)
    assert facts["classes"] == ["even", "odd"]
    assert study["created_at"].endswith("Z")
    assert admin.get(answer.headers["location"]).json() == study


def test_progress_best_and_trend_follow_the_trials(admin: TestClient, trainer: Trainer, post_study: PostStudy) -> None:
    post_study()
    for value in (0.5, 0.8, 0.7):
        trainer.complete(value)
    study = admin.get("/api/v1/studies/parity").json()
    assert (study["best"]["number"], study["best"]["value"]) == (1, 0.8)
    assert (study["progress"], study["trend"]) == (0.6, [0.5, 0.8, 0.8])
    assert study["eta_seconds"] >= 0
    for value in (0.5, 0.5):
        trainer.complete(value)
    done = admin.get("/api/v1/studies/parity").json()
    assert (done["state"], done["progress"], done["eta_seconds"]) == ("completed", 1.0, None)
    assert done["finished_at"] is not None


def test_a_dry_run_answers_what_would_run_and_stores_nothing(admin: TestClient, spec: Json) -> None:
    more = {"frozen_layers": {"min": 0, "max": "all"}, "momentum": {"value": 0.5, "when": {"optimizer": "sgd"}}}
    answer = admin.post("/api/v1/studies?dry_run=true", json=spec | {"parameters": spec["parameters"] | more})
    assert answer.status_code == 200
    found = answer.json()
    assert found["valid"] is True
    assert found["spec"]["name"] == "parity"
    assert found["parameters"]["frozen_layers"] == {"min": 0, "max": 6, "step": 1}
    assert found["parameters"]["learning_rate"] == {"min": 1e-5, "max": 1e-2, "log": True}
    assert found["parameters"]["momentum"] == {"value": 0.5, "when": {"optimizer": ["sgd"]}}
    assert found["facts"]["train_rows"] == 30
    assert found["first_trial"] == {"learning_rate": 5e-5, "epochs": 3, "optimizer": "adamw", "frozen_layers": 0}
    assert admin.get("/api/v1/studies").json()["total"] == 0


def change(spec: Json, path: str, value: object) -> Json:
    """A copy of `spec` with the value at a dotted path replaced."""
    copy: Json = json.loads(json.dumps(spec))
    *parents, last = path.split(".")
    inner: Any = copy
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "field", "hint"),
    [
        ("task", "poetry", "task", "text-classification"),
        ("model", "builtin:none", "model", "builtin:minilm"),
        ("model", "no such folder/x/y", "model", "builtin:minilm"),
        ("parameters.speed", {"min": 0, "max": 1}, "parameters.speed", "learning_rate"),
        ("sampler.name", "magic", "sampler.name", "random"),
        ("pruner.name", "magic", "pruner.name", "asha"),
        ("data.train", "missing.csv", "data.train", "no file"),
        ("data.train", "builtin:none", "data.train", "builtin:trec"),
        ("data.columns", {"label": "klass"}, "data.columns.label", "it has: text, label"),
        ("data.columns", {"labels": "label"}, "data.columns.labels", "known: label, text"),
        ("parameters.learning_rate", {"min": 1, "max": 0.1}, "parameters.learning_rate.min", "above max"),
        ("parameters.learning_rate", {"min": 0, "max": 0.1, "log": True}, "parameters.learning_rate.min", "above 0"),
        ("parameters.learning_rate", {"min": 0.1}, "parameters.learning_rate.max", "missing"),
        ("parameters.learning_rate", {"min": 0.1, "max": 10**400}, "parameters.learning_rate.max", "finite"),
        ("parameters.epochs", {"values": [1, 2**63]}, "parameters.epochs.values[1]", "finite"),
        ("data.limit", 10**400, "data.limit", "less than"),
        ("objective", {"metric": "fame"}, "objective.metric", "known: accuracy, loss, macro_f1"),
        ("budget", {"trials": 0}, "budget.trials", "greater than or equal to 1"),
        ("budget", {"trials": None}, "budget", "at least one of"),
        ("budget", {"trails": 3}, "budget.trails", "known: gpu_hours"),
        ("parallelism", 0, "parallelism", "greater than or equal to 1"),
        ("seed", -1, "seed", "greater than or equal to 0"),
        ("seed", 2**64, "seed", "less than"),
        ("name", "x" * 201, "name", "200 characters"),
        ("colour", "blue", "colour", "known: budget"),
    ],
)
def test_a_wrong_study_is_refused_and_its_field_named(
    admin: TestClient, spec: Json, path: str, value: object, field: str, hint: str
) -> None:
    answer = admin.post("/api/v1/studies", json=change(spec, path, value))
    assert wrong_fields(answer) == [field]
    assert hint in answer.json()["errors"][0]["message"]
    assert admin.get("/api/v1/studies").json()["total"] == 0


@pytest.mark.parametrize(
    ("rows", "field"),
    [
        ("text,label\n", "data.train"),
        ("text,label\na,x\nb,x\nc,x\n", "data.columns.label"),
        ("text,label\na,x\nb,\nc,y\n", "data.columns.label"),
        ("text,label\n,x\nb,y\nc,y\n", "data.columns.text"),
    ],
    ids=["empty", "one class", "no label", "no text"],
)
def test_wrong_data_are_refused_and_the_field_named(admin: TestClient, spec: Json, tmp_path: Path, rows: str, field: str) -> None:
    (tmp_path / "wrong.csv").write_text(rows)
    answer = admin.post("/api/v1/studies", json=change(spec, "data.train", str(tmp_path / "wrong.csv")))
    assert wrong_fields(answer) == [field]


def test_every_wrong_field_is_named_at_once(admin: TestClient, spec: Json) -> None:
    wrong = change(change(spec, "model", "builtin:none"), "data.train", "missing.csv")
    assert wrong_fields(admin.post("/api/v1/studies", json=wrong)) == ["model", "data.train"]


@pytest.mark.parametrize("body", ["null", "[]", '"study"', "3"])
def test_a_study_is_an_object(admin: TestClient, body: str) -> None:
    answer = admin.post("/api/v1/studies", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert "object" in answer.json()["detail"] or "missing" in answer.json()["detail"]


def test_a_live_name_is_taken(admin: TestClient, spec: Json, post_study: PostStudy) -> None:
    post_study()
    answer = admin.post("/api/v1/studies", json=spec)
    assert answer.status_code == 409
    assert "'parity' is running or paused" in answer.json()["detail"]


@both_databases
def test_the_same_request_sent_again_makes_one_study(admin: TestClient, spec: Json) -> None:
    key = {"Idempotency-Key": "once"}
    first, second = (admin.post("/api/v1/studies", json=spec, headers=key) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert admin.get("/api/v1/studies").json()["total"] == 1
    other = admin.post("/api/v1/studies", json=spec | {"name": "another"}, headers=key)
    assert other.status_code == 409
    assert wrong_fields(admin.post("/api/v1/studies", json=spec, headers={"Idempotency-Key": "x" * 151})) == ["idempotency-key"]


@both_databases
def test_the_list_is_filtered_and_paged(admin: TestClient, post_study: PostStudy) -> None:
    named = [("Alpha", {"team": "a"}), ("beta", {"team": "b:c"}), ("gamma", {})]
    ids = [post_study(name=name, tags=tags)["id"] for name, tags in named]
    admin.post(f"/api/v1/studies/{ids[0]}/stop")

    def found(query: str) -> list[str]:
        return [study["name"] for study in admin.get(f"/api/v1/studies?{query}").json()["items"]]

    assert found("") == ["gamma", "beta", "Alpha"]
    assert found("state=stopped") == ["Alpha"]
    assert found("state=stopped,running") == found("state=stopped&state=running") == ["gamma", "beta", "Alpha"]
    assert found("q=ALPH") == ["Alpha"]
    assert found("q=%25") == []
    assert found("tag=team") == ["beta", "Alpha"]
    assert found("tag=team:b:c") == ["beta"]
    first = admin.get("/api/v1/studies?limit=2").json()
    assert (len(first["items"]), first["total"]) == (2, 3)
    second = admin.get("/api/v1/studies", params={"limit": 2, "cursor": first["next"]}).json()
    assert [study["name"] for study in second["items"]] == ["Alpha"]
    assert second["next"] is None


@both_databases
@pytest.mark.parametrize("tag", ['a"b', "a.b", "a'b", "a\\b", "$", "é", "0"])
def test_any_text_can_be_a_tag(admin: TestClient, post_study: PostStudy, tag: str) -> None:
    post_study(tags={tag: "1"})
    post_study(name="other", tags={"other": "1"})
    answer = admin.get("/api/v1/studies", params={"tag": tag})
    assert answer.status_code == 200, answer.text
    assert [study["name"] for study in answer.json()["items"]] == ["parity"]


def test_what_may_change_is_changed(admin: TestClient, post_study: PostStudy) -> None:
    post_study()
    changes = {"budget": {"trials": 9}, "notes": "longer", "pruner": {"name": "median"}}
    answer = admin.patch("/api/v1/studies/parity", json=changes)
    assert answer.status_code == 200
    study = answer.json()
    assert (study["budget"]["trials"], study["notes"], study["pruner"]["name"]) == (9, "longer", "median")
    assert answer.headers["etag"] == '"2"'


def test_a_change_of_something_older_is_refused(admin: TestClient, post_study: PostStudy) -> None:
    post_study()

    def change_if(etag: str | bytes, notes: str) -> int:
        headers = {b"If-Match": etag.encode() if isinstance(etag, str) else etag}
        return admin.patch("/api/v1/studies/parity", json={"notes": notes}, headers=headers).status_code

    assert change_if('"1"', "first") == 200
    for etag in ('"1"', '"0"', "1", 'W/"2"', '"x"', '"99999999999999999999"', '"\u00b2"'.encode("latin-1")):
        assert change_if(etag, "lost") == 412
    assert admin.get("/api/v1/studies/parity").json()["notes"] == "first"
    assert change_if('"2"', "second") == 200
    assert change_if("*", "third") == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"task": "x"}, "task"),
        ({"budget": {"trials": "many"}}, "budget.trials"),
        ({"parallelism": 0}, "parallelism"),
        ({"notes": "\0"}, "notes"),
        ({"tags": {"a": 1}}, "tags.a"),
    ],
)
def test_a_wrong_change_is_refused_and_named(admin: TestClient, post_study: PostStudy, body: Json, field: str) -> None:
    post_study()
    assert wrong_fields(admin.patch("/api/v1/studies/parity", json=body)) == [field]
    assert admin.get("/api/v1/studies/parity").headers["etag"] == '"1"'


def test_the_states_a_study_goes_through(admin: TestClient, post_study: PostStudy) -> None:
    post_study()

    def told(verb: str) -> Any:
        answer = admin.post(f"/api/v1/studies/parity/{verb}")
        return answer.json()["state"] if answer.status_code == 200 else answer.status_code

    assert [told(verb) for verb in ("pause", "pause", "resume", "resume", "stop", "stop")] == [
        "paused", "paused", "running", "running", "stopped", "stopped"
    ]  # fmt: skip
    assert [told(verb) for verb in ("pause", "resume")] == [409, 409]
    assert admin.patch("/api/v1/studies/parity", json={"parallelism": 1}).status_code == 409
    assert admin.patch("/api/v1/studies/parity", json={"notes": "late"}).status_code == 200


def test_a_deleted_study_takes_its_files_with_it(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, running: Service
) -> None:
    post_study()
    lease = trainer.lease()
    path = f"/api/v1/leases/{lease['id']}/artifacts/model.bin"
    trainer.client.put(path, content=b"x", headers={"Content-Type": "application/octet-stream"})
    assert admin.delete("/api/v1/studies/parity").status_code == 409
    assert len([file for file in running.artifacts.folder.rglob("*") if file.is_file()]) == 1
    admin.post("/api/v1/studies/parity/stop")
    assert admin.delete("/api/v1/studies/parity").status_code == 204
    assert [file for file in running.artifacts.folder.rglob("*") if file.is_file()] == []
    assert admin.get("/api/v1/studies/parity").status_code == 404


def test_the_audit_log_tells_who_changed_what(admin: TestClient, post_study: PostStudy) -> None:
    study = post_study()
    admin.post("/api/v1/studies/parity/pause")
    entries = admin.get("/api/v1/audit").json()["items"]
    told = [(entry["action"], entry["subject"], entry["role"], entry["address"]) for entry in entries[:2]]
    assert told == [
        ("study.paused", study["id"], "admin", "testclient"),
        ("study.create", study["id"], "admin", "testclient"),
    ]


def test_a_study_is_controlled_only_if_it_is_as_it_was_read(admin: TestClient, post_study: PostStudy) -> None:
    post_study()

    def control(action: str, etag: str) -> int:
        return admin.post(f"/api/v1/studies/parity/{action}", headers={"If-Match": etag}).status_code

    assert control("pause", '"7"') == 412
    assert control("pause", '"1"') == 200
    for action in ("resume", "stop"):
        assert control(action, '"1"') == 412
    assert admin.get("/api/v1/studies/parity").json()["version"] == 2
    assert control("resume", '"2"') == 200
    assert control("stop", '"3"') == 200


@both_databases
def test_a_completed_study_goes_on_under_a_larger_budget(admin: TestClient, post_study: PostStudy, trainer: Trainer) -> None:
    post_study(budget={"trials": 1})
    trainer.complete(0.5)
    study = admin.get("/api/v1/studies/parity").json()
    assert (study["state"], study["progress"]) == ("completed", 1.0)
    answer = admin.patch("/api/v1/studies/parity", json={"budget": {"trials": 2}})
    assert (answer.json()["state"], answer.json()["finished_at"]) == ("running", None)
    trainer.complete(0.6)
    assert admin.get("/api/v1/studies/parity").json()["state"] == "completed"
    assert "budget.trials 1 → 2" in admin.get("/api/v1/audit").json()["items"][0]["detail"]


def test_a_study_goes_out_to_optuna_and_comes_back(
    admin: TestClient, trainer: Trainer, post_study: PostStudy, tmp_path: Path
) -> None:
    study = post_study(budget={"trials": 3})
    for value in (0.5, 0.75, 0.25):
        trainer.complete(value)
    file = tmp_path / "study.db"
    file.write_bytes(admin.get("/api/v1/studies/parity/export?format=optuna").content)
    found = read_study(f"sqlite:///{file}")
    answer = admin.post("/api/v1/studies/import", json={"study": found["spec"], "trials": found["trials"], "source": "a file"})
    assert answer.status_code == 201, answer.text
    back = answer.json()
    best = admin.get(f"/api/v1/studies/{study['id']}").json()["best"]
    assert (back["state"], back["reason"], back["best"]) == ("completed", "imported from a file", best)
    compared = ("number", "state", "params", "value", "values", "epoch", "step")
    one, other = (admin.get(f"/api/v1/studies/{id_}/trials").json()["items"] for id_ in (study["id"], back["id"]))
    assert [[trial[key] for key in compared] for trial in one] == [[trial[key] for key in compared] for trial in other]
    assert [trial["seconds"] for trial in one] == pytest.approx([trial["seconds"] for trial in other], abs=0.01)
    assert all(trial["seconds"] > 0 for trial in other)
    later = post_study(name="later", warm_start=[back["id"]])
    first = admin.get(f"/api/v1/studies/{later['id']}/trials/1").json()["params"]
    assert first["learning_rate"] == best["params"]["learning_rate"]


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"parameters": {"learning_rate": {"value": 1e-4}}}, "parameters", "every parameter is fixed"),
        ({"constraints": ["epochs > 4"]}, "constraints", "loosen"),
        ({"constraints": ["epochs ** 2 > 4"]}, "constraints[0]", "not understood"),
        ({"sampler": {"name": "cmaes"}}, "sampler.name", "use tpe or gp"),
        ({"sampler": {"name": "grid"}}, "sampler.name", "`step` or `values`"),
        ({"sampler": {"name": "tpes"}}, "sampler.name", "cmaes, gp, grid"),
        ({"start_with": [{"epochs": 9}]}, "start_with[0].epochs", "not in the study's space"),
        ({"warm_start": "nothing"}, "warm_start[0]", "there is no study"),
    ],
)
@pytest.mark.parametrize("dry_run", [True, False])
def test_what_cannot_work_is_refused_at_the_start(
    admin: TestClient, spec: Json, changes: Json, field: str, words: str, dry_run: bool
) -> None:
    answer = admin.post("/api/v1/studies", json=spec | changes, params={"dry_run": dry_run})
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert [error["field"] for error in errors] == [field]
    assert words in errors[0]["message"]


def test_a_dry_run_says_what_would_run(admin: TestClient, spec: Json) -> None:
    parameters = {"learning_rate": {"values": [1e-5, 1e-4, 1e-3]}, "epochs": {"min": 1, "max": 4}}
    changes = {"parameters": parameters, "constraints": ["epochs * learning_rate < 0.003"], "start_with": [{"epochs": 1}]}
    answer = admin.post("/api/v1/studies", json=spec | changes, params={"dry_run": True}).json()
    assert answer["size"] == 10
    assert answer["first_trials"] == [
        {"origin": "default", "params": {"learning_rate": 1e-5, "epochs": 3}},
        {"origin": "enqueued", "params": {"epochs": 1}},
    ]
    assert admin.post("/api/v1/studies", json=spec, params={"dry_run": True}).json()["size"] is None

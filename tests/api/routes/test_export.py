from __future__ import annotations

import csv
import io
from collections.abc import Callable

from starlette.testclient import TestClient

from tests.api.conftest import Json, Trainer
from tests.api.helpers import both_databases, wrong_fields

WHERE = "/api/v1/studies/parity/export"


@both_databases
def test_csv_has_a_line_for_each_trial(admin: TestClient, trainer: Trainer, post_study: Callable[..., Json]) -> None:
    post_study(name="parity")
    trainer.complete(0.5)
    failure = {"kind": "code", "message": '=HYPERLINK("x")\nTraceback, "quoted"'}
    trainer.post(trainer.lease(), "finish", {"state": "failed", "failure": failure})
    answer = admin.get(WHERE, params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="parity.csv"'
    first, second = csv.DictReader(io.StringIO(answer.text, newline=""))
    assert (first["number"], first["state"], first["value"], first["values.accuracy"]) == ("0", "completed", "0.5", "0.5")
    assert (first["params.learning_rate"], first["params.optimizer"]) == ("5e-05", "adamw")
    assert first["finished_at"].endswith("+00:00")
    assert (second["failure_kind"], second["failure_message"]) == ("code", "'" + failure["message"])


def test_json_holds_the_study_too(admin: TestClient, trainer: Trainer, post_study: Callable[..., Json]) -> None:
    study = post_study()
    trainer.complete(0.5)
    content = admin.get(WHERE, params={"format": "json"}).json()
    assert content["study"]["id"] == study["id"]
    assert [trial["value"] for trial in content["trials"]] == [0.5]


def test_a_name_does_no_harm_in_the_header(admin: TestClient, post_study: Callable[..., Json]) -> None:
    post_study(name='a"b/c\r\nX: é')
    (study,) = admin.get("/api/v1/studies").json()["items"]
    answer = admin.get(f"/api/v1/studies/{study['id']}/export?format=json")
    assert answer.headers["content-disposition"] == 'attachment; filename="a_b_c__X___.json"'


def test_an_unknown_format_is_refused(admin: TestClient, post_study: Callable[..., Json]) -> None:
    post_study()
    assert wrong_fields(admin.get(WHERE, params={"format": "xml"})) == ["format"]
    assert wrong_fields(admin.get(WHERE)) == ["format"]

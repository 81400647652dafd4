"""Hostile and odd input in every field of every write: taken as a typed value, or refused with the field's name.

Never a 500, and never another answer from SQLite than from PostgreSQL: both get every request side by side.
Every field gets four values of the list, drawn by a seed; with TUNER_TEST_FAULT_SECONDS set (`make faults`) it gets all.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from api.app import create_app
from api.security import LoginThrottle
from tests.api.conftest import ADDRESS
from tests.simulation import study_body
from tuner.service import Service, utc_now
from tuner.settings import Settings

Json = dict[str, Any]
# As they stand in a JSON text, which can say more than Python's own JSON would write.
NUMBERS = """NaN Infinity -Infinity -0.0 5e-324 1.8e308 1e999 -1e999 2147483648 9007199254740993 9223372036854775808
 1000000000000000000000000000000 -1 0 1.5 true false null "1" "nan" "inf" "1e5" """.split()
TEXTS = [
    json.dumps(text)
    for text in (
        *(
            "",
            "x" * 201,
            "x" * 100_001,
            "a\0b",
            "a\ud800b",
            "👩\u200d👩\u200d👧",
            "\u202egnp.exe",
            "e\u0301",
            "line\nfeed",
            "\x1b[31m",
        ),
        *(
            "=cmd()",
            "'; DROP TABLE trials; --",
            "<script>alert(1)</script>",
            "%00",
            "../../etc/passwd",
            "{{7*7}}",
            "\\",
            '"',
            "\u2028",
        ),
    )
]
SHAPES = ["[]", "{}", "[[]]", '{"a": 1, "a": 2}', "[" * 30 + "]" * 30, '{"\\u0000": 1}', '{"\\ud800": 1}', '{"": 1}']
HOSTILE = [*NUMBERS, *TEXTS, *SHAPES]
_HERE = "\x01here\x01"
_SAMPLE = None if os.environ.get("TUNER_TEST_FAULT_SECONDS") else 4
_FINE = (200, 201, 204)

STUDY = study_body(
    name=None,  # made up: a name can be used once
    tags={"a": "b"},
    notes="",
    seed=0,
    retries=1,
    parallelism=100,
    objective={"metric": "accuracy"},
    constraints=["batch_size * 2 <= 64"],
    sampler={"name": "random"},
    pruner={"name": "median", "min_epochs": 1, "startup_trials": 5},
    budget={"trials": 9, "hours": 5, "target": 2, "no_gain_in": 100},
    resources={"gpus": 0},
)
METRIC = {"name": "accuracy", "value": 0.5, "step": 1, "epoch": 1, "split": "validation"}
IMPORTED = {
    "state": "failed",
    "params": {"learning_rate": 1e-4, "epochs": 2, "optimizer": "adamw"},
    "value": None,
    "values": {"accuracy": 0.5},
    "metrics": [METRIC],
    "reason": "r",
    "failure_kind": "oom",
    "failure_message": "m",
    "started_at": "2026-01-01T00:00:00Z",
    "finished_at": "2026-01-01T00:01:00Z",
}
DRY_RUN = "POST /studies?dry_run=true"
# A write: its verb, its path, and a body that is fine. {lease}, {worker} and so on are what the side has of its own.
WRITES: Mapping[str, tuple[str, Json]] = {
    DRY_RUN: ("", STUDY),
    "POST /studies/import": ("", {"study": STUDY, "source": "elsewhere", "trials": [IMPORTED]}),
    "POST /study-files": ("", {"text": "task: text-classification"}),
    "PATCH /studies/target": ("", {key: STUDY[key] for key in ("budget", "parallelism", "pruner", "notes", "tags")}),
    "POST /studies/target/trials": ("", {"params": {"learning_rate": 1e-4, "epochs": 2, "optimizer": "adamw"}}),
    "POST /studies/target/trials/0/clone": ("", {"params": {"learning_rate": 1e-4}}),
    "POST /studies/target/trials/0/extend": ("", {"epochs": 1}),
    "POST /workers": ("", {"host": "n", "pid": 1, "gpus": [{"name": "g", "memory": 1}], "versions": {"python": "3"}}),
    "POST /leases": ("", {"worker_id": "w", "studies": ["target"], "wait_seconds": 0}),
    "POST /leases/{lease}/metrics": ("", {"metrics": [METRIC]}),
    "POST /leases/{lease}/heartbeat": ("", {"gpus": ["0"]}),
    "POST /leases/{lease}/logs": ("", {"text": "a line"}),
    "POST /leases/{lease}/finish": ("", {"state": "completed", "values": {"accuracy": 0.5}, "details": {"a": 1}}),
    "POST /leases/{lease}/finish failed": ("", {"state": "failed", "failure": {"kind": "oom", "message": "m"}}),
    "POST /tokens": ("", {"role": "viewer", "name": "t", "expires_at": "2099-01-01T00:00:00Z"}),
    "POST /login": ("", {"token": "t"}),
}


@dataclass
class Side:
    """One database's application, with a study at work."""

    client: TestClient
    service: Service
    worker: str = ""
    lease: str = ""
    ids: set[str] = field(default_factory=set)

    def send(self, verb: str, path: str, text: str) -> Any:
        path = path.replace("{lease}", self.lease)
        content = text.encode("utf-8", "surrogatepass")
        place = path if path == "/login" else f"/api/v1{path}"
        return self.client.request(verb, place, content=content, headers={"Content-Type": "application/json"})

    def renew(self) -> None:
        """A fresh lease, after one that a request has ended."""
        if not self.worker:
            answer = self.client.post("/api/v1/workers", json={"host": "n", "pid": 1})
            self.worker = answer.json()["worker_id"]
        # An odd but legal value may have used up the budget, or paused the study.
        roomy = {"budget": {"trials": 100_000, "hours": None, "target": None, "no_gain_in": None}, "parallelism": 1000}
        self.client.patch("/api/v1/studies/target", json=roomy)
        self.client.post("/api/v1/studies/target/resume")
        self.lease = self.client.post("/api/v1/leases", json={"worker_id": self.worker, "studies": ["target"]}).json()["id"]


@pytest.fixture
def sides(tmp_path: Path, postgres_url: str) -> Iterator[list[Side]]:
    with ExitStack() as opened:
        found = []
        for name, url in (("sqlite", f"sqlite:///{tmp_path / 'tuner.db'}"), ("postgres", postgres_url)):
            app = create_app(Settings(home=tmp_path / name, database_url=url, check_data=False))
            client = opened.enter_context(TestClient(app, base_url=ADDRESS, raise_server_exceptions=True))
            app.state.throttle = LoginThrottle(limit=10**9)
            service: Service = app.state.service
            client.headers["Authorization"] = f"Bearer {service.access.create_token('admin', 'all', now=utc_now())[1]}"
            many = {"trials": 100_000}
            body = STUDY | {"name": "target", "budget": many, "parallelism": 10_000, "pruner": {"name": "none"}}
            answer = client.post("/api/v1/studies", json=body)
            assert answer.status_code == 201, answer.text
            found.append(Side(client, service))
            found[-1].renew()
        yield found


def fields(body: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a body, the body itself first, inner ones too."""
    yield path
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in inner:
        yield from fields(value, (*path, key))


def spoilt(body: Json, path: tuple[str | int, ...], hostile: str) -> str:
    """The body's JSON text with something else at one place."""
    if not path:
        return hostile
    copy = json.loads(json.dumps(body))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = _HERE
    return json.dumps(copy).replace(json.dumps(_HERE), hostile)


def both(sides: list[Side], verb: str, path: str, text: str) -> list[Any]:
    """Send to both; returns their answers, if they have the same good status."""
    answers = [side.send(verb, path, text) for side in sides]
    shown = f"{verb} {path} {text[:300]!r}: {[(answer.status_code, answer.text[:300]) for answer in answers]}"
    status = answers[0].status_code
    assert [answer.status_code for answer in answers] == [status] * 2, shown
    assert status in (*_FINE, 400, 404, 409, 413, 422) or (status, path) == (401, "/login"), shown
    if status >= 400:
        assert all(answer.headers["content-type"] == "application/problem+json" for answer in answers), shown
    if status == 422:
        named = [[error["field"] for error in answer.json()["errors"]] for answer in answers]
        assert named[0] == named[1], shown
        assert all(named[0]), shown
    return answers


def judged(sides: list[Side], verb: str, path: str, text: str) -> int:
    """The status that both answer."""
    return int(both(sides, verb, path, text)[0].status_code)


def test_odd_values_in_every_field(sides: list[Side]) -> None:
    for write in WRITES:
        try_every_field(sides, write)
    assert_alike(sides)


def try_every_field(sides: list[Side], write: str) -> None:
    verb, path = write.split(" ")[:2]
    body, rng = WRITES[write][1], random.Random(write)
    accepted = refused = 0
    for place in fields(body):
        for hostile in HOSTILE if _SAMPLE is None else rng.sample(HOSTILE, _SAMPLE):
            status = judged(sides, verb, path, spoilt(body, place, hostile))
            accepted, refused = accepted + (status in _FINE), refused + (status == 422)
            if status in _FINE and path.startswith("/leases/{lease}"):
                for side in sides:
                    side.renew()
            if status in _FINE and write == DRY_RUN:
                live_through(sides, spoilt(body, place, hostile))
    assert refused > 0 or not body, write


def live_through(sides: list[Side], text: str) -> None:
    """A study that may be started is: a trial of it is trained, and both databases give back the same; then it goes."""
    studies = [answer.json()["id"] for answer in both(sides, "POST", "/studies", text)]
    lives = [_live(side, study) for side, study in zip(sides, studies, strict=True)]
    assert lives[0] == lives[1], text[:300]


def _live(side: Side, study: str) -> list[Any]:
    told: list[Any] = []

    def call(verb: str, path: str, body: Json | None = None) -> Any:
        answer = side.client.request(verb, f"/api/v1{path}", json=body)
        told.append((verb, answer.status_code))
        assert answer.status_code in _FINE, answer.text
        return answer.json() if answer.content else None

    lease = call("POST", "/leases", {"worker_id": side.worker, "studies": [study]})
    if lease is not None:  # a budget of no hours, say, leaves nothing to do
        told.append([lease[key] for key in ("trial", "params", "seed", "legs")])
        call("POST", f"/leases/{lease['id']}/metrics", {"metrics": [METRIC]})
        call("POST", f"/leases/{lease['id']}/finish", {"state": "completed", "values": {"accuracy": 0.5}})
    found = call("GET", f"/studies/{study}")
    told.append([found[key] for key in STUDY if key != "name"] + [found["state"], found["counts"], found["best"]])
    call("GET", f"/studies/{study}/export?format=json")
    call("GET", f"/studies/{study}/figures/history")
    if found["state"] in ("running", "paused"):
        call("POST", f"/studies/{study}/stop")
    call("DELETE", f"/studies/{study}")
    return told


def test_bodies_that_are_no_bodies(sides: list[Side]) -> None:
    read = [write for write in WRITES if not write.endswith("/heartbeat")]  # which may go without
    many = json.dumps({f"key {number}": number for number in range(20_000)})
    for write in read[:: 1 if _SAMPLE is None else 4]:
        verb, path = write.split(" ")[:2]
        for text in ("", "{", "[" * 100_000 + "]" * 100_000, '{"a":' * 100_000 + "1" + "}" * 100_000, "nul", '"\ud800"'):
            assert judged(sides, verb, path, text) in (400, 422)
        assert judged(sides, verb, path, "\ufeff{}") == judged(sides, verb, path, "{}"), "a byte order mark says nothing"
        assert judged(sides, verb, path, '{"name": "' + "x" * 10_000_000 + '"}') == 413
        assert judged(sides, verb, path, many) == 422


def test_odd_values_in_queries_and_paths(sides: list[Side]) -> None:
    sent = {"Content-Type": "application/octet-stream"}
    for number in ["nan", "inf", "-inf", "1e999", "-1", "true", "", "9223372036854775808", "1.5", "a\0", "٣"]:
        value = quote(number)
        for path in (
            f"/leases/{{lease}}/checkpoint?epoch={value}&step=1",
            f"/leases/{{lease}}/checkpoint?epoch=1&step={value}",
            f"/leases/{{lease}}/artifacts/{value}",
            f"/leases/{value}/artifacts/a",
        ):
            answers = [s.client.put("/api/v1" + path.replace("{lease}", s.lease), content=b"x", headers=sent) for s in sides]
            assert len({answer.status_code for answer in answers}) == 1, (path, [answer.text for answer in answers])
            assert answers[0].status_code in (200, 404, 409, 422), (path, answers[0].text)
        for path in (f"/leases/{value}/heartbeat", f"/studies/{value}/stop", f"/studies/target/trials/{value}/stop"):
            judged(sides, "POST", path, "{}")


def test_steps_that_repeat_or_go_back(sides: list[Side]) -> None:
    """Of a step told twice the first number stands; one that comes late takes its place in the order of steps."""
    lease_first = [side.lease for side in sides]
    for step, value in ((10, 0.5), (10, 0.6), (5, 0.1), (0, 0.0), (2**53, 0.9), (10, "nan"), (7, "nan"), (8, "inf"), (9, 5e-324)):
        point = METRIC | {"step": step, "epoch": step / 10, "value": value}
        assert judged(sides, "POST", "/leases/{lease}/metrics", json.dumps({"metrics": [point, point]})) == 200
    for side in sides:
        items = side.client.get("/api/v1/studies/target/trials/0/metrics").json()["items"]
        kept = [(item["step"], item["value"]) for item in items]
        assert kept == [(0, 0.0), (5, 0.1), (7, "nan"), (8, "inf"), (9, 5e-324), (10, 0.5), (2**53, 0.9)]
    assert lease_first == [side.lease for side in sides]


def test_no_worker_sends_a_time(sides: list[Side]) -> None:
    """What a worker's clock says can do no harm: no call under a lease carries a time, leases live by the service's clock."""
    document = sides[0].client.get("/openapi.json").json()
    bodies = {
        name
        for path, verbs in document["paths"].items()
        for operation in verbs.values()
        if path.startswith(("/api/v1/leases", "/api/v1/workers"))
        for name in re.findall(r"schemas/(\w+)", json.dumps(operation.get("requestBody", {})))
    }
    assert len(bodies) >= 6
    described = json.dumps([document["components"]["schemas"][name] for name in [*bodies, "MetricBody", "FailureBody"]])
    assert "date-time" not in described
    assert not {"time", "at", "timestamp", "clock", "now"} & {
        name for schema in json.loads(described) for name in schema.get("properties", ())
    }


def assert_alike(sides: list[Side]) -> None:
    """Both databases hold the same numbers and texts."""
    first, second = (_held(side) for side in sides)
    assert first == second


def _held(side: Side) -> list[Any]:
    study, trials, points = (
        side.client.get(f"/api/v1/studies/target{path}").json() for path in ("", "/trials?limit=1000", "/trials/0/metrics")
    )
    settings = [study[key] for key in ("notes", "tags", "budget", "parallelism", "pruner", "counts")]
    ended = [[trial[key] for key in ("number", "state", "value", "values", "failure", "details")] for trial in trials["items"]]
    return [settings, ended, points]

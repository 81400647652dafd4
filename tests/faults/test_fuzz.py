"""A fuzzer reads the API's description and looks for a 5xx, or for an answer that the description does not know.

In short it walks along the edges of every parameter of the workers' calls; with TUNER_TEST_FAULT_SECONDS (`make faults`) of all
calls, and then draws requests and sequences of them for so long, on both databases.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.faults.swarm import ServiceProcess
from tests.simulation import study_body

pytestmark = [pytest.mark.walk, pytest.mark.timeout(900)]
SECONDS = float(os.environ.get("TUNER_TEST_FAULT_SECONDS", "0"))
SEED = os.environ.get("TUNER_TEST_FAULT_SEED", "1")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
_ENDLESS = "/(events|leases)$"  # streams, and a call that waits for work for up to a minute (test_hostile.py makes that one)


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"] if SECONDS else ["SQLite"])
def test_no_request_gets_an_answer_that_the_description_does_not_know(
    request: pytest.FixtureRequest, database: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'tuner.db'}" if database == "SQLite" else request.getfixturevalue("postgres_url")
    service = ServiceProcess(tmp_path / "home", url)
    service.start()
    try:
        service.wait_ready()
        with service.api() as api:
            given = what_there_is(api)
        config = tmp_path / "schemathesis.toml"
        config.write_text(settings(given))
        extent = (
            ["--phases", "coverage,fuzzing,stateful", "--max-time", str(int(SECONDS))]
            if SECONDS
            else ["--phases", "coverage", "--include-path-regex", "/(leases/|workers)"]
        )
        fuzzed = fuzz(service, config, extent)
    finally:
        service.kill()
    assert fuzzed.returncode == 0, fuzzed.stdout[-10_000:]


def what_there_is(api: httpx2.Client) -> dict[str, Any]:
    """A study at work, so that requests are not all about nothing."""
    study = api.post("/studies", json=study_body(name="target", budget={"trials": 10_000}, pruner={"name": "none"}))
    worker = api.post("/workers", json={"host": "n", "pid": 1}).json()["worker_id"]
    lease = api.post("/leases", json={"worker_id": worker}).json()["id"]
    point = {"name": "accuracy", "value": 0.5, "step": 1, "epoch": 1}
    assert api.post(f"/leases/{lease}/metrics", json={"metrics": [point]}).status_code == 200
    return {"study_id": study.json()["id"], "number": 0, "lease_id": lease}


def settings(given: dict[str, Any]) -> str:
    """Paths name what there is; only what ends it goes on naming anything."""
    named = ", ".join(f'"path.{name}" = {json.dumps(value)}' for name, value in given.items())
    return f"parameters = {{ {named} }}\n"


def fuzz(service: ServiceProcess, config: Path, extent: list[str]) -> subprocess.CompletedProcess[str]:
    token = (service.home / "token").read_text().strip()
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "--no-color", "--config-file", str(config), "run"),
            *(f"http://127.0.0.1:{service.port}/openapi.json", "--header", f"Authorization: Bearer {token}"),
            *("--checks", CHECKS, "--seed", SEED, "--continue-on-failure", "--warnings", "off"),
            *("--exclude-path-regex", _ENDLESS, *extent),
        ],
        cwd=config.parent,  # it leaves files where it runs
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from tests.api.conftest import Json, Trainer
from tests.api.helpers import both_databases

MONITORING = Path(__file__).parents[2] / "docs" / "monitoring"
GPUS = [
    {"id": "0", "name": "H200", "memory": 100, "memory_used": 40, "utilisation": 90},
    {"id": "1", "name": "H200", "memory": 100, "set_aside": "vanished"},
]


def samples(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


@both_databases
def test_what_the_rows_say_is_counted(anonymous: TestClient, trainer: Trainer, post_study: Callable[..., Json]) -> None:
    post_study(parallelism=2, budget={"trials": 5})
    trainer.complete(0.5)
    lease = trainer.lease()
    trainer.post(lease, "finish", {"state": "failed", "failure": {"kind": "oom", "message": "no room"}})
    trainer.lease()
    trainer.client.patch(f"/api/v1/workers/{trainer.worker_id}", json={"gpus": GPUS})
    found = samples(anonymous)
    assert value(found, "tuner_studies", state="running") == 1 and value(found, "tuner_studies", state="paused") == 0
    assert [value(found, "tuner_trials", state=state) for state in ("completed", "failed", "running", "pruned")] == [1, 1, 1, 0]
    assert value(found, "tuner_trials_failed", kind="oom") == 1
    assert (value(found, "tuner_trials_demanded"), value(found, "tuner_workers"), value(found, "tuner_ready")) == (2, 1, 1)
    assert [value(found, "tuner_gpus", state=state) for state in ("usable", "set_aside")] == [1, 1]
    assert (value(found, "tuner_gpu_memory_used_bytes"), value(found, "tuner_gpu_utilisation_percent_sum")) == (40, 90)
    assert value(found, "tuner_home_free_bytes") > 0 and value(found, "process_resident_memory_bytes") > 0


def test_requests_are_counted_by_route_not_by_address(anonymous: TestClient, admin: TestClient) -> None:
    for path in ("/api/v1/studies/one", "/api/v1/studies/two", "/no-such-page", "/no-other"):
        admin.get(path)
    anonymous.get("/api/v1/studies/one")
    found = samples(anonymous)

    def count(route: str, status: int) -> float:
        return value(found, "tuner_http_request_seconds_count", method="GET", route=route, status=str(status))

    assert count("/api/v1/studies/{study_id}", 404) == 2
    assert count("/api/v1/studies/{study_id}", 401) == 1
    assert count("none", 404) == 2


def test_no_name_is_told(anonymous: TestClient, trainer: Trainer, post_study: Callable[..., Json]) -> None:
    study = post_study(name="secret-plan")
    trainer.lease()
    text = anonymous.get("/metrics").text
    assert "secret-plan" not in text and study["id"] not in text and "node" not in text.replace("nodename", "")


def queries(dashboard: Any) -> list[str]:
    """Every query of a Grafana dashboard."""
    if isinstance(dashboard, dict):
        own = [dashboard["expr"]] if "expr" in dashboard else []
        return own + [query for entry in dashboard.values() for query in queries(entry)]
    return [query for entry in dashboard for query in queries(entry)] if isinstance(dashboard, list) else []


def test_the_grafana_dashboard_asks_for_metrics_that_exist(
    anonymous: TestClient, trainer: Trainer, post_study: Callable[..., Json]
) -> None:
    post_study()
    trainer.client.post("/api/v1/workers", json={"host": "n", "pid": 1, "gpus": GPUS})
    found = samples(anonymous)
    there = {name for name, _ in found}
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    asked = [name for query in queries(dashboard) for name in re.findall(r"\b(?:tuner|process)_[a-z_]+\b", query)]
    assert len(asked) >= 12 and set(asked) <= there
    labels = {name: {key for series, names in found if series == name for key, _ in names} for name in set(asked)}
    for query in queries(dashboard):
        for name, matched in re.findall(r"\b((?:tuner|process)_[a-z_]+)\{([a-z_]+)", query):
            assert matched in labels[name], query
        (_, *grouped) = re.split(r"by \(", query)
        assert all(set(part.partition(")")[0].split(", ")) <= {"state", "kind", "route", "le", "status"} for part in grouped)
    for panel in dashboard["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"} and panel["title"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def test_the_alerts_ask_for_metrics_that_exist(anonymous: TestClient) -> None:
    there = {name for name, _ in samples(anonymous)}
    rules = [rule for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"] for rule in group["rules"]]
    assert rules
    for rule in rules:
        asked = set(re.findall(r"\b(?:tuner|process)_[a-z_]+\b", rule["expr"]))
        assert asked <= there, rule["alert"]
        assert rule["annotations"]["summary"]


@pytest.mark.parametrize("job", ["tuner"])
def test_prometheus_is_told_where_to_look(job: str) -> None:
    (scrape,) = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["scrape_configs"]
    assert scrape["job_name"] == job and "metrics_path" not in scrape, "/metrics is what Prometheus asks for"

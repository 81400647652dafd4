from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.testclient import TestClient

from tests.api.conftest import Trainer


def test_what_a_study_has_cost(admin: TestClient, post_study: Callable[..., Any], trainer: Trainer) -> None:
    study = post_study()
    trainer.complete(0.5)
    trainer.post(trainer.lease(), "finish", {"state": "failed", "failure": {"kind": "oom", "message": "full"}})
    spent = admin.get(f"/api/v1/studies/{study['id']}/usage").json()
    assert spent["worker_hours"] > 0
    assert (spent["gpu_hours"], spent["pruning_saved_hours"], spent["failures"]) == (0, None, {"oom": 1})

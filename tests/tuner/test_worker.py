from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from studies.piped import Trained
from tests.simulation import study_body
from tests.tuner.something_else import something_else
from tuner.client import Client
from tuner.errors import Unreachable
from tuner.gpus import FakeGpus, UnwatchedGpus
from tuner.leased_trial import LeasedTrial
from tuner.places import Places, Slot
from tuner.spec import parse
from tuner.worker import Worker, environment_of, job_of, versions

GPUS = FakeGpus("4x24GB").gpus


def test_a_trial_sees_its_own_gpus_only() -> None:
    slot = Slot(index=3, gpus=(GPUS[1], GPUS[3]), threads=4)
    assert environment_of(slot) == {"CUDA_VISIBLE_DEVICES": "1,3", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_NUM_THREADS": "4"}
    assert environment_of(Slot(index=0, gpus=(), threads=2))["CUDA_VISIBLE_DEVICES"] == ""


def lease_of(**changes: object) -> dict[str, object]:
    spec = parse(study_body(**changes))
    return {
        "id": "l1",
        "attempt": 2,
        "expires_in": 60.0,
        "study_id": "s1",
        "trial": 7,
        "params": {"epochs": 2},
        "spec": spec.model_dump(mode="json"),
        "seed": 99,
        "fingerprint": "f",
        "resume": None,
    }


def test_a_job_holds_all_that_the_lease_says(tmp_path: Path) -> None:
    lease = lease_of(seed=5, objective={"metric": "loss"}, data={"train": "x.csv", "columns": {"label": "answer"}})
    with Client("http://127.0.0.1:9", "none") as client:
        job = job_of(LeasedTrial(client, lease), Slot(index=0, gpus=(), threads=2), tmp_path, "cpu")
        of_two = job_of(LeasedTrial(client, lease), Slot(index=0, gpus=tuple(GPUS[:2]), threads=2), tmp_path, "cuda")
    assert (job.metric, job.direction, job.params, job.data_seed, job.seed) == ("loss", "minimize", {"epochs": 2}, 5, 99)
    assert (job.fingerprint, job.device, job.threads, job.folder) == ("f", "cpu", 2, tmp_path)
    assert job.data.columns == {"text": "text", "label": "answer"}
    assert (job.ranks, of_two.ranks) == (1, 2), "a process for each GPU"


def test_a_worker_waits_for_an_answer_that_makes_sense(tmp_path: Path) -> None:
    answers = [(502, b"<html>"), (200, b"<html>"), (500, b"[]"), (200, b'{"worker_id": "w1"}')]
    with something_else(*answers) as url, Client(url, "token") as client:
        full = Places([], slots=1)
        full.take(0, "study", 1)
        worker = Worker(client, full, UnwatchedGpus([]), folder=tmp_path, most_idle_seconds=0)
        worker.run()
    assert worker.worker_id == "w1"


def test_heartbeats_survive_what_makes_no_sense(tmp_path: Path) -> None:
    answers = [(200, b"<html>"), (200, b'{"verdict": "stop"}'), (500, b"[]"), (200, b'{"verdict": "stop", "reason": "stopped"}')]
    with something_else(*answers) as url, Client(url, "token") as client:
        with LeasedTrial(client, lease_of() | {"expires_in": 0.04}) as trial:
            deadline = time.monotonic() + 10
            while not trial.verdict.stop and time.monotonic() < deadline:
                time.sleep(0.01)
            assert trial.verdict.reason == "stopped"


def test_a_model_is_saved_unless_the_service_would_not_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[float, Any] = {0.4: {"model": False}, 0.9: {"model": True}, 0.5: {"what": 1}, 0.6: Unreachable("away")}

    def get(path: str, *, value: float) -> Any:
        assert path == "/leases/l1/wanted"
        if isinstance(answers[value], Exception):
            raise answers[value]
        return answers[value]

    with Client("http://127.0.0.1:9", "none") as client:
        monkeypatch.setattr(client, "get", get)
        worker = Worker(client, Places([], slots=1), UnwatchedGpus([]), folder=tmp_path, most_idle_seconds=0)
        trial = LeasedTrial(client, lease_of())
        assert {value: worker._wants_model(trial, Trained({"accuracy": value})) for value in answers} == {
            0.4: False,
            0.9: True,
            0.5: True,
            0.6: True,
        }
        assert worker._wants_model(trial, Trained({"loss": 0.1}))


def test_versions_name_what_decides_the_numbers() -> None:
    assert {"python", "tuner", "torch", "transformers"} <= set(versions())

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.simulation import study_body
from tests.tuner.something_else import something_else
from tuner.client import Client
from tuner.leased_trial import LeasedTrial
from tuner.spec import parse
from tuner.worker import Slot, Worker, environment_of, job_of, make_slots, versions


@pytest.mark.parametrize(
    ("gpus", "wanted", "expected"),
    [(2, None, [0, 1]), (2, 1, [0]), (2, 4, [0, 1, 0, 1]), (0, 3, [None, None, None])],
)
def test_a_slot_for_each_gpu_unless_told_otherwise(gpus: int, wanted: int | None, expected: list[int | None]) -> None:
    slots = make_slots(gpus, wanted)
    assert [slot.gpu for slot in slots] == expected
    assert [slot.index for slot in slots] == list(range(len(expected)))
    assert all(slot.threads >= 1 for slot in slots)
    cores = os.cpu_count() or 1
    assert sum(slot.threads for slot in slots) <= max(cores, len(slots))


def test_a_machine_without_gpu_has_at_least_one_slot() -> None:
    assert len(make_slots(0, None)) == max(1, (os.cpu_count() or 1) // 4)


def test_a_trial_sees_its_own_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    slot = Slot(index=3, gpu=1, threads=4)
    assert environment_of(slot, "cuda") == {"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "4"}
    assert environment_of(slot, "cpu")["CUDA_VISIBLE_DEVICES"] == ""
    assert environment_of(Slot(index=0, gpu=None, threads=2), "cpu")["CUDA_VISIBLE_DEVICES"] == ""


def test_gpus_count_among_those_that_the_worker_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-8d5f")
    seen = [environment_of(Slot(index=gpu, gpu=gpu, threads=1), "cuda")["CUDA_VISIBLE_DEVICES"] for gpu in (0, 1)]
    assert seen == ["2", "GPU-8d5f"]


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
        job = job_of(LeasedTrial(client, lease), Slot(index=0, gpu=None, threads=2), tmp_path)
    assert (job.metric, job.direction, job.params, job.data_seed, job.seed) == ("loss", "minimize", {"epochs": 2}, 5, 99)
    assert (job.fingerprint, job.device, job.threads, job.folder) == ("f", "cpu", 2, tmp_path)
    assert job.data.columns == {"text": "text", "label": "answer"}


@pytest.mark.parametrize(("gpus", "gpu", "device"), [("auto", 0, "cuda"), (0, 0, "cpu"), (1, 0, "cuda"), ("auto", None, "cpu")])
def test_a_study_without_gpus_trains_on_the_cpu_everywhere(tmp_path: Path, gpus: object, gpu: int | None, device: str) -> None:
    with Client("http://127.0.0.1:9", "none") as client:
        trial = LeasedTrial(client, lease_of(resources={"gpus": gpus}))
        assert job_of(trial, Slot(index=0, gpu=gpu, threads=2), tmp_path).device == device


def test_a_worker_waits_for_an_answer_that_makes_sense(tmp_path: Path) -> None:
    answers = [(502, b"<html>"), (200, b"<html>"), (500, b"[]"), (200, b'{"worker_id": "w1"}')]
    with something_else(*answers) as url, Client(url, "token") as client:
        worker = Worker(client, [], folder=tmp_path)
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


def test_versions_name_what_decides_the_numbers() -> None:
    assert {"python", "tuner", "torch", "transformers"} <= set(versions())

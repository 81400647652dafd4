from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.simulation import study_body
from tuner.client import Client
from tuner.leased_trial import LeasedTrial
from tuner.spec import parse
from tuner.worker import Slot, environment_of, job_of, make_slots, versions


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


def test_a_trial_sees_its_own_gpu_only() -> None:
    assert environment_of(Slot(index=3, gpu=1, threads=4)) == {"CUDA_VISIBLE_DEVICES": "1", "OMP_NUM_THREADS": "4"}
    assert environment_of(Slot(index=0, gpu=None, threads=2))["CUDA_VISIBLE_DEVICES"] == ""


def test_a_job_holds_all_that_the_lease_says(tmp_path: Path) -> None:
    spec = parse(study_body(seed=5, objective={"metric": "loss"}, data={"train": "x.csv", "columns": {"label": "answer"}}))
    lease = {
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
    with Client("http://127.0.0.1:9", "none") as client:
        job = job_of(LeasedTrial(client, lease), Slot(index=0, gpu=None, threads=2), tmp_path)
    assert (job.metric, job.direction, job.params, job.data_seed, job.seed) == ("loss", "minimize", {"epochs": 2}, 5, 99)
    assert (job.fingerprint, job.device, job.threads, job.folder) == ("f", "cpu", 2, tmp_path)
    assert job.data.columns == {"text": "text", "label": "answer"}


def test_versions_name_what_decides_the_numbers() -> None:
    assert {"python", "tuner", "torch", "transformers"} <= set(versions())

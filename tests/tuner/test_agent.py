"""A worker on a node of several GPUs, against a real service: 200 trials of mixed sizes whose training is a stub."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

import tuner.worker
from studies.definition import Job, Metric, Outcome, Verdict
from studies.errors import TrialFailure
from studies.piped import Trained
from tests.api.conftest import Live, serving
from tests.simulation import start_study
from tuner.client import Client
from tuner.errors import Refused, TunerError
from tuner.gpus import FakeGpus
from tuner.leased_trial import LeasedTrial
from tuner.places import Places
from tuner.service import Service, utc_now
from tuner.settings import Settings
from tuner.trial_process import Message
from tuner.worker import Worker


class Node:
    """What the stubs of trials' processes did: who held which GPU when."""

    def __init__(self, inventory: FakeGpus) -> None:
        self.inventory = inventory
        self.rng = random.Random(3)
        self.lock = threading.Lock()
        self.held: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.began: list[tuple[int, float]] = []  # (GPUs, when)
        self.seconds = 0.02
        self.at_least = 0  # no trial ends before so many have begun
        self.peak = 0
        self.ending: Outcome | TrialFailure | None = None
        self.vanishes: str | None = None  # under the trial that has this device

    def begin(self, gpus: list[str]) -> None:
        with self.lock:
            self.held.update(gpus)
            self.most |= self.held
            self.began.append((len(gpus), time.monotonic()))
            if self.vanishes in gpus:
                self.inventory.lost.add(str(self.vanishes))

    def end(self, gpus: list[str]) -> None:
        with self.lock:
            self.held.subtract(gpus)


class StubProcess:
    """In place of `TrialProcess`: ends after some milliseconds with a score."""

    node: Node

    def __init__(self, job: Job, environment: dict[str, str]) -> None:
        shown = environment["CUDA_VISIBLE_DEVICES"]
        self.gpus = shown.split(",") if shown else []
        self.folder = job.folder
        self.replied = threading.Event()
        self.reported = False
        self.answer: Verdict | bool | None = None
        self.values: dict[str, float] = {}
        self.node.begin(self.gpus)

    def receive(self, timeout: float) -> Message | None:
        if not self.reported:
            self.reported = True
            return [Metric(name="accuracy", value=0.5, step=1, epoch=1.0)]
        if len(self.node.began) < self.node.at_least:
            time.sleep(0.005)
            return None
        time.sleep(self.node.seconds * self.node.rng.random())
        details = {"memory": {"peak": self.node.peak, "limit": 24 * 10**9}}
        return self.node.ending or Outcome(values={"accuracy": 0.5}, epoch=1.0, details=details)

    def reply(self, answer: Verdict | bool) -> None:
        self.answer = answer
        self.replied.set()

    def end(self, grace: float = 0.0) -> None:
        self.node.end(self.gpus)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serving(Settings(home=tmp_path / "home")) as server:
        server.server.app.state.service.manager.reservations.patience = timedelta(seconds=0.3)
        yield server


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Node:
    made = StubProcess.node = Node(FakeGpus("4x24GB"))
    monkeypatch.setattr(tuner.worker, "TrialProcess", StubProcess)
    monkeypatch.setattr(tuner.worker, "_WAIT_SECONDS", 0.2)
    return made


def service_of(live: Live) -> Service:
    service: Service = live.server.app.state.service
    return service


def a_study(live: Live, name: str, trials: int, gpus: Any, **changes: Any) -> str:
    more = {"sampler": {"name": "random"}, "pruner": {"name": "none"}, "parallelism": 100, "resources": {"gpus": gpus}}
    return start_study(service_of(live), utc_now(), name=name, budget={"trials": trials}, **(more | changes)).id


Agents = Callable[..., Worker]


@pytest.fixture
def an_agent(live: Live, node: Node, tmp_path: Path) -> Iterator[Agents]:
    """A worker with the node's GPUs; ends when there is nothing left to do."""
    with Client(live.url, live.worker_token) as client:

        def make(*, slots: int | None = None, pack: bool = False) -> Worker:
            places = Places(node.inventory.gpus, slots=slots, pack=pack)
            return Worker(client, places, node.inventory, folder=tmp_path, most_idle_seconds=0.1)

        yield make


def work_off(agent: Worker) -> None:
    thread = threading.Thread(target=agent.run)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()


def counts(live: Live, study: str) -> dict[str, int]:
    with live.client() as client:
        found: dict[str, int] = client.get(f"/api/v1/studies/{study}").json()["counts"]
    return found


def test_200_trials_of_mixed_sizes_overbook_no_gpu_and_starve_nobody(live: Live, node: Node, an_agent: Agents) -> None:
    # The small ones come first in line, and there are always more of them.
    studies = [a_study(live, "small", 150, 1), a_study(live, "pairs", 30, 2), a_study(live, "whole", 10, 4)]
    studies.append(a_study(live, "none", 10, 0))
    work_off(an_agent())
    assert [counts(live, study)["completed"] for study in studies] == [150, 30, 10, 10]
    assert node.most == Counter({"0": 1, "1": 1, "2": 1, "3": 1})
    assert +node.held == Counter()
    sizes = [gpus for gpus, _ in node.began]
    assert Counter(sizes) == {1: 150, 2: 30, 4: 10, 0: 10}
    last_small = max(index for index, gpus in enumerate(sizes) if gpus == 1)
    assert sizes.index(4) < last_small and sizes.index(2) < last_small, "they had to wait until all small ones were done"


def test_every_line_about_a_trial_names_study_trial_and_attempt(live: Live, node: Node, an_agent: Agents) -> None:
    node.ending = TrialFailure("hardware", "it is broken")
    study = a_study(live, "watched", 2, 1, retries=1)
    with capture_logs(processors=[merge_contextvars]) as lines:
        work_off(an_agent())
    about = [line for line in lines if "study" in line]
    assert len(about) == 8, "each of two trials begins and ends twice"
    assert {line["study"] for line in about} == {study}
    assert {(line["trial"], line["attempt"]) for line in about} == {(0, 1), (0, 2), (1, 1), (1, 2)}
    assert not [line for line in lines if "trial" in line["event"] and "study" not in line]


def test_gpus_may_be_shared_by_a_fixed_number(live: Live, node: Node, an_agent: Agents) -> None:
    node.at_least = 8
    study = a_study(live, "small", 24, "auto")
    work_off(an_agent(slots=8))
    assert counts(live, study)["completed"] == 24
    assert max(node.most.values()) == 2


def test_packed_trials_never_take_more_memory_than_a_gpu_has(live: Live, node: Node, an_agent: Agents) -> None:
    node.at_least, node.peak = 8, 8 * 10**9
    study = a_study(live, "small", 30, 1)
    agent = an_agent(pack=True)
    agent.places.measured(study, node.peak)
    work_off(agent)
    assert counts(live, study)["completed"] == 30
    assert max(node.most.values()) == 2, "2 × (1.2 × 8 + 0.7) GB of 24"


def test_a_model_that_would_not_be_kept_is_not_sent(
    live: Live, node: Node, an_agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter((0.5, 0.4, 0.6))
    sent: list[tuple[int, str]] = []
    upload = LeasedTrial.upload

    def uploaded(self: LeasedTrial, name: str, file: Path) -> None:
        sent.append((self.number, name))
        upload(self, name, file)

    def received(self: StubProcess, timeout: float) -> Message:
        if self.answer is None:
            self.values = {"accuracy": next(scores)}
            return Trained(self.values)
        (self.folder / "model").mkdir()
        for name in ("model.safetensors", "evaluation.json") if self.answer else ("evaluation.json",):
            (self.folder / "model" / name).write_text("{}")
        return Outcome(values=self.values, epoch=1.0)

    monkeypatch.setattr(LeasedTrial, "upload", uploaded)
    monkeypatch.setattr(StubProcess, "receive", received)
    a_study(live, "falling", 3, 1)
    work_off(an_agent(slots=1))
    both = ["evaluation.json", "model.safetensors"]
    assert sent == [*((0, name) for name in both), (1, "evaluation.json"), *((2, name) for name in both)]


def test_who_runs_out_of_memory_beside_others_is_tried_again_alone(live: Live, node: Node, an_agent: Agents) -> None:
    node.seconds, node.ending = 0.1, TrialFailure("oom", "out of memory")
    study = a_study(live, "hungry", 4, 1)
    agent = an_agent(pack=True)
    agent.places.measured(study, 4 * 10**9)  # of an earlier trial
    work_off(agent)
    assert counts(live, study)["failed"] == 4
    with live.client() as client:
        trials = client.get(f"/api/v1/studies/{study}/trials").json()["items"]
        attempts = [client.get(f"/api/v1/studies/{study}/trials/{trial['number']}").json()["attempts"] for trial in trials]
    assert all([attempt["outcome"] for attempt in found] == ["released", "failed"] for found in attempts)


def test_a_gpu_that_vanishes_fails_no_trial_but_is_set_aside(live: Live, node: Node, an_agent: Agents) -> None:
    node.vanishes = "2"
    node.ending = None
    study = a_study(live, "unlucky", 12, 1)
    agent = an_agent()
    failing = TrialFailure("code", "CUDA error: unspecified launch failure")
    receive = StubProcess.receive

    def received(self: StubProcess, timeout: float) -> Message | None:
        return failing if "2" in self.gpus else receive(self, timeout)

    StubProcess.receive = received  # type: ignore[method-assign]
    try:
        work_off(agent)
    finally:
        StubProcess.receive = receive  # type: ignore[method-assign]
    assert counts(live, study)["completed"] == 12
    assert [gpus for gpus, _ in node.began] == [1] * 13, "one was tried again elsewhere"
    with live.client() as client:
        trials = client.get(f"/api/v1/studies/{study}/trials").json()["items"]
        (again,) = [trial for trial in trials if trial["attempt"] == 2]
        first = client.get(f"/api/v1/studies/{study}/trials/{again['number']}").json()["attempts"][0]
        agent.client.tell_gpus(agent.worker_id, agent.gpus.seen())
        gpus = client.get("/api/v1/workers").json()["items"][0]["gpus"]
    assert first["outcome"] == "failed" and "hardware: GPU 2 (fake GPU)" in first["message"]
    assert ["set_aside" in gpu for gpu in gpus] == [False, False, True, False]
    assert gpus[0] == {"id": "0", "name": "fake GPU", "memory": 24 * 10**9, "memory_used": 0, "utilisation": 0}


def test_a_worker_whose_last_gpu_vanishes_ends_and_says_so(live: Live, node: Node, an_agent: Agents) -> None:
    a_study(live, "unlucky", 3, 1)
    node.inventory.lost |= {"0", "1", "2", "3"}
    with pytest.raises(TunerError, match="no GPU of this worker is left: GPU 0"):
        an_agent().run()


def test_a_worker_of_another_release_is_told_what_to_do(
    live: Live, node: Node, an_agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner.worker, "versions", lambda: {"tuner": "99.1.2"})
    with pytest.raises(Refused, match=r"this worker is Tuner 99\.1\.2, the service is .*: install release") as refused:
        an_agent().run()
    assert refused.value.status == 409

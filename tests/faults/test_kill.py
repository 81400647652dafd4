"""Processes die without a word; nothing is lost or counted twice."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.faults.checker import broken_promises, gather, wrong_files
from tests.faults.history import Record, read_history
from tests.walk.conftest import Spawn, Started, connect, quick_study, wait_until
from tuner.client import Client
from tuner.db.checkpoint_rows import checkpoint_of
from tuner.db.engine import make_engine
from tuner.db.tables import metrics as table
from tuner.errors import Unreachable
from tuner.process_tree import members

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk"), pytest.mark.timeout(900)]
_SLACK = timedelta(seconds=3)  # two calls read the clock before either waits for its turn to write


def one_long_trial(name: str) -> dict[str, Any]:
    """A study whose only trial, the default, runs for four epochs."""
    parameters = {
        "learning_rate": {"min": 1e-5, "max": 1e-3, "log": True},
        "epochs": {"value": 4},
        "frozen_layers": {"value": 5},
    }
    return quick_study(name=name, parameters=parameters, budget={"trials": 1})


def ended(client: Client, study: str) -> dict[str, Any]:
    found: dict[str, Any] = wait_until(
        lambda: found if (found := client.get(f"/studies/{study}"))["state"] != "running" else None, seconds=200
    )
    return found


def metrics(client: Client, study: str) -> list[Any]:
    return [
        (point["split"], point["name"], point["step"], point["epoch"], point["value"])
        for point in client.get(f"/studies/{study}/trials/0/metrics", limit=1000)["items"]
    ]


class RecordedWorkers:
    """Real workers whose every call is written down, one after the other."""

    def __init__(self, spawn: Spawn, folder: Path) -> None:
        self.spawn, self.folder, self.number = spawn, folder, 0

    def start(self) -> Started:
        self.number += 1
        file = self.folder / f"worker-{self.number}.jsonl"
        return self.spawn(str(file), "worker", "--slots", "1", "--gpus", "0", module="tests.faults.history")

    def calls(self) -> list[Record]:
        histories = [read_history(file) for file in self.folder.glob("worker-*.jsonl")]
        return sorted(chain(*histories), key=lambda record: record.ended)


def test_a_worker_that_dies_or_sleeps_costs_no_result_and_changes_no_number(spawn: Spawn, home: Path, tmp_path: Path) -> None:
    """I7: taken up again from its checkpoint, a trial ends bit for bit as one that was never interrupted.

    I2: what slept past its lease and wakes while another one trains its trial is believed nothing.
    """
    spawn("serve", "--port", "0", TUNER_LEASE_SECONDS="4")
    workers = RecordedWorkers(spawn, tmp_path)
    with connect(home) as client:
        first = workers.start()
        client.post("/studies", one_long_trial("undisturbed"))
        assert ended(client, "undisturbed")["state"] == "completed"

        client.post("/studies", one_long_trial("killed"))
        wait_until(lambda: checkpointed_epoch(home, trial_id=2) == 2.0)
        os.kill(first.pid, signal.SIGKILL)
        second = workers.start()
        assert_as_undisturbed(client, "killed", home, trial_id=2)

        client.post("/studies", one_long_trial("asleep"))
        wait_until(lambda: checkpointed_epoch(home, trial_id=3) == 2.0)
        asleep = [second.pid, *members(second.pid)]
        for pid in asleep:
            os.kill(pid, signal.SIGSTOP)
        workers.start()
        wait_until(lambda: (trial := client.get("/studies/asleep/trials/0"))["attempt"] == 2 and trial["state"] == "running")
        for pid in asleep:
            os.kill(pid, signal.SIGCONT)
        assert_as_undisturbed(client, "asleep", home, trial_id=3)
        assert second.poll() is None
        # The service knows of the end before the worker has written down the answer.
        wait_until(lambda: sum(call.accepted and call.path.endswith("/finish") for call in workers.calls()) >= 3)
    evidence = gather(f"sqlite:///{home / 'tuner.db'}", workers.calls(), slack=_SLACK, simulated=False)
    lost, current = (evidence.under_lease[lease["id"]] for lease in evidence.attempts[3])
    assert any(call.status == 409 for _, call in lost), "the sleeper said nothing under its lease after it woke"
    assert [call.accepted for what, call in current if what == "finish"] == [True]
    assert broken_promises(evidence) + wrong_files(evidence, home / "artifacts") == []


def assert_as_undisturbed(client: Client, study: str, home: Path, *, trial_id: int) -> None:
    assert ended(client, study)["state"] == "completed"
    trial = client.get(f"/studies/{study}/trials/0")
    assert [attempt["outcome"] for attempt in trial["attempts"]] == ["lost", "completed"]
    assert trial["retries"] == 1
    assert metrics(client, study) == metrics(client, "undisturbed")
    assert trial["value"] == client.get("/studies/undisturbed/trials/0")["value"]
    # Trained from the start again the numbers would be the same: the rows tell which attempt each epoch is of.
    epochs = epochs_by_attempt(home, trial_id=trial_id)
    assert epochs[1][:2] == [1.0, 2.0]
    assert epochs[1] + epochs[2] == [1.0, 2.0, 3.0, 4.0]


def test_no_trial_process_is_alive_ten_seconds_after_a_stop_or_its_workers_death(spawn: Spawn, home: Path, scratch: Path) -> None:
    """I8: the stop of one trial, that of a study, and kill -9 of the worker."""
    spawn("serve", "--port", "0")
    with connect(home) as client:
        worker = spawn("worker", "--slots", "2", "--gpus", "0", TMPDIR=str(scratch))
        endless = {"epochs": {"value": 1000}, "frozen_layers": {"value": 5}, "learning_rate": {"min": 1e-5, "max": 1e-3}}

        def training() -> set[int]:
            """Each trial leads a session of its own; all that it started is in it, or a child of what is."""
            return {session for _, session in processes_with(f"TMPDIR={scratch}") if session != os.getsid(worker.pid)}

        client.post("/studies", quick_study(name="stopped", parameters=endless, pruner={"name": "none"}, budget={"trials": 9}))
        wait_until(lambda: len(reporting(client, "stopped")) == 2, seconds=200)
        two = training()
        assert len(two) == 2
        client.post("/studies/stopped/trials/0/stop")
        wait_until(lambda: len(two & training()) == 1, seconds=10)
        client.post("/studies/stopped/stop")
        wait_until(lambda: not training(), seconds=10)

        client.post("/studies", quick_study(name="orphaned", parameters=endless, pruner={"name": "none"}, budget={"trials": 9}))
        wait_until(lambda: len(reporting(client, "orphaned")) == 2, seconds=200)
        worker.kill()
        wait_until(lambda: not processes_with(f"TMPDIR={scratch}"), seconds=10)


def processes_with(variable: str) -> list[tuple[int, int]]:
    """(process, session) of all that live with this in the environment that they were started in."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append((int(folder.name), os.getsid(int(folder.name))))
    return found


def reporting(client: Client, study: str) -> list[int]:
    """The trials of which something has been heard."""
    return [trial["number"] for trial in client.get(f"/studies/{study}/trials", state="running")["items"] if trial["epoch"]]


def test_a_killed_service_is_back_and_its_worker_goes_on(spawn: Spawn, home: Path) -> None:
    port = "18733"
    service = spawn("serve", "--port", port)
    with connect(home) as client:
        spawn("worker", "--slots", "1", "--gpus", "0")
        client.post("/studies", one_long_trial("ridden-through"))
        wait_until(lambda: (client.get("/studies/ridden-through/trials/0")["epoch"] or 0) >= 1)
        before = metrics(client, "ridden-through")
        os.kill(service.pid, signal.SIGKILL)
        service.wait()
        spawn("serve", "--port", port)
        wait_until(lambda: answers(client))
        assert metrics(client, "ridden-through")[: len(before)] == before
        assert ended(client, "ridden-through")["state"] == "completed"
        trial = client.get("/studies/ridden-through/trials/0")
        assert [attempt["outcome"] for attempt in trial["attempts"]] == ["completed"], "the outage cost the trial its lease"
        assert {point[3] for point in metrics(client, "ridden-through")} == {1.0, 2.0, 3.0, 4.0}


def test_a_second_service_stands_by_and_takes_over(spawn: Spawn, home: Path, tmp_path: Path, database_url: str) -> None:
    first = spawn("serve", "--port", "0", "--database", database_url)
    with connect(home) as client:
        token = client.post("/tokens", {"role": "admin", "name": "for both"})["token"]
    heir = tmp_path / "heir"
    second = spawn("serve", "--port", "0", "--database", database_url, TUNER_HOME=str(heir))
    time.sleep(3)
    assert second.poll() is None
    assert not (heir / "service.json").exists(), "it serves although another service owns the database"
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    killed_at = time.monotonic()
    with connect(heir) as client:
        assert time.monotonic() - killed_at < 15
        with Client(client.server, token) as same_token:
            assert same_token.get("/studies")["total"] == 0


def epochs_by_attempt(home: Path, *, trial_id: int) -> dict[int, list[float]]:
    engine = make_engine(f"sqlite:///{home / 'tuner.db'}")
    counts = (table.c.trial_id == trial_id) & table.c.superseded.is_(False) & (table.c.name == "accuracy")
    with engine.connect() as connection:
        rows = list(connection.execute(select(table.c.attempt, table.c.epoch).where(counts).order_by(table.c.step)))
    engine.dispose()
    return {attempt: [epoch for other, epoch in rows if other == attempt] for attempt, _ in rows}


def checkpointed_epoch(home: Path, *, trial_id: int) -> float | None:
    engine = make_engine(f"sqlite:///{home / 'tuner.db'}")
    with engine.connect() as connection:
        found = checkpoint_of(connection, trial_id)
    engine.dispose()
    return None if found is None else found.epoch


def answers(client: Client) -> bool:
    try:
        client.get("/studies", limit=1)
    except Unreachable:
        return False
    return True

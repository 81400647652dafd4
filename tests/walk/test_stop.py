"""What is left of a worker that is told to stop: nothing."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.walk.conftest import Spawn, connect, quick_study, wait_until

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk")]


def test_no_process_is_left_ten_seconds_after_a_stop(spawn: Spawn, home: Path, scratch: Path) -> None:
    spawn("serve", "--port", "0")
    with connect(home) as client:
        agent = spawn("worker", TMPDIR=str(scratch), TUNER_FAKE_GPUS="2x24GB")
        client.post("/studies", quick_study(name="busy", budget={"trials": 50}))
        wait_until(lambda: client.get("/studies/busy")["counts"]["running"] == 2)
        gpus = client.get("/workers")["items"][0]["gpus"]
        assert [gpu["memory"] for gpu in gpus] == [24 * 10**9] * 2
        wait_until(lambda: len(descendants(agent.pid)) >= 4, seconds=60)  # a server that forks, a tracker, two trials at least
        below = descendants(agent.pid)
        agent.send_signal(signal.SIGTERM)
        wait_until(lambda: not any(alive(pid) for pid in below), seconds=10)
        assert agent.wait(5) == 0
        trials = client.get("/studies/busy/trials")["items"]
        assert all(trial["retries"] == 0 for trial in trials)


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid: int) -> set[int]:
    """All processes below one, found through /proc while it lives."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                children.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(int(entry.name))
            except (OSError, ValueError):
                continue
    found, new = set[int](), {pid}
    while new:
        new = {child for parent in new for child in children.get(parent, ())} - found
        found |= new
    return found

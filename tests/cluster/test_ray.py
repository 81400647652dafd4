"""The whole system on a Ray cluster of several nodes on this machine: one is killed, its trial goes on elsewhere."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.walk.conftest import Spawn, connect, quick_study, wait_until
from tuner.process_tree import kill_tree

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head that runs nothing, and two nodes with room for one worker each."""
    os.environ.update({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"})
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    yield made
    made.shutdown()


def children(pid: int) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [found for found in pids if parent(found) == pid]


def parent(pid: int) -> int:
    """0 for a process that is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def below(pid: int) -> set[int]:
    return {pid} | {found for child in children(pid) for found in below(child)}


def test_a_node_is_killed_and_its_trial_goes_on_elsewhere(cluster: Any, spawn: Spawn, home: Path, scratch: Path) -> None:
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
    spawn("serve", "--port", "0", TUNER_LEASE_SECONDS="5")
    with connect(home) as client:
        assert client.demand() == 0
        pool = spawn(
            *("pool", "ray", "--address", cluster.address, "--max-workers", "2", "--gpus-per-worker", "0", "--idle-seconds", "5"),
            TMPDIR=str(scratch),
        )
        # Scaled to zero: nothing to do, nobody there.
        wait_until(lambda: "pool ready" in pool.output, seconds=60)
        assert client.get("/workers")["items"] == []
        parameters = {"epochs": {"value": 6}, "frozen_layers": {"value": 6}, "learning_rate": {"min": 1e-4, "max": 1e-3}}
        client.post("/studies", quick_study(name="moved", parameters=parameters, budget={"trials": 4}, pruner={"name": "none"}))
        wait_until(lambda: len(client.get("/workers")["items"]) == 2, seconds=120)

        def under_way() -> tuple[int, int] | None:
            """A trial that has left a checkpoint, and the process of its worker."""
            for worker in client.get("/workers")["items"]:
                for running in worker["running"]:
                    trial = client.get(f"/studies/moved/trials/{running['number']}")
                    if 1 <= (trial["epoch"] or 0) <= 4:
                        return trial["number"], worker["pid"]
            return None

        number, pid = wait_until(under_way, seconds=200)
        (node,) = [node for node in nodes if pid in below(raylet_of(node))]
        os.kill(pid, signal.SIGSTOP)  # a machine that is gone says no more: the worker must not give its trial back
        actor = parent(pid)
        cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: parent(pid) != actor, seconds=60)
        kill_tree(pid)
        done = wait_until(lambda: found if (found := client.get("/studies/moved"))["state"] != "running" else None, seconds=300)
        assert done["counts"]["completed"] == 4, done
        trial = client.get(f"/studies/moved/trials/{number}")
        assert [attempt["outcome"] for attempt in trial["attempts"]] == ["lost", "completed"]
        items = client.get(f"/studies/moved/trials/{number}/metrics")["items"]
        points = [point for point in items if point["name"] == "accuracy"]
        assert [point["epoch"] for point in points] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        with closing(sqlite3.connect(home / "tuner.db")) as rows:
            query = (
                "SELECT metrics.attempt FROM metrics JOIN trials ON trials.id = trial_id WHERE number = ? AND name = 'accuracy' "
                "AND NOT superseded ORDER BY metrics.step"
            )
            attempts = [attempt for (attempt,) in rows.execute(query, (number,))]
        assert attempts[0] == 1 and attempts[-1] == 2, "it did not go on from its checkpoint"
        wait_until(lambda: '"a worker ended"' in pool.output, seconds=60)
        # Idle again: the worker that is left ends, and none is started.
        wait_until(lambda: "nothing to do" in pool.output or not workers_alive(client), seconds=60)
        pool.send_signal(signal.SIGTERM)
        assert pool.wait(60) == 0


def raylet_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def workers_alive(client: Any) -> list[int]:
    return [worker["pid"] for worker in client.get("/workers")["items"] if Path(f"/proc/{worker['pid']}").exists()]

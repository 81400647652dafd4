"""Wherever workers come from: they are started, end by themselves, are told of when they end badly, and leave nothing."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.walk.conftest import wait_until
from tuner.errors import TunerError
from tuner.pool.base import Pool, keep
from tuner.pool.inline import InlinePool
from tuner.pool.processes import ProcessPool
from tuner.pool.ray import RayPool, connect

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk"), pytest.mark.filterwarnings("ignore::ResourceWarning")]
# In place of a worker: says that it is there, and ends as the file that it watches says.
STUB = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["STUB_FOLDER"])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
(folder / f"{os.getpid()}.pid").touch()
while not (folder / "end").exists():
    time.sleep(0.02)
sys.exit(int((folder / "end").read_text() or 0))
"""


class StubWorker:
    """The same as a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stopping = threading.Event()

    def run(self) -> None:
        (self.folder / f"{id(self)}.pid").touch()
        while not (self.folder / "end").exists():
            if self.stopping.wait(0.02):
                return
        if status := int((self.folder / "end").read_text() or 0):
            raise TunerError(f"exit status {status}")


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """One node without GPUs; connected, because this process can be connected to one cluster only."""
    os.environ.update({"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"})
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "object_store_memory": 80 * 2**20})
    yield cluster
    cluster.shutdown()


@pytest.fixture(params=["inline", "processes", "ray"])
def pool(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pool]:
    environment = {"STUB_FOLDER": str(tmp_path)}
    made: Pool
    if request.param == "inline":
        made = InlinePool(lambda: StubWorker(tmp_path))  # type: ignore[arg-type,return-value]
    elif request.param == "processes":
        made = ProcessPool(["-c", STUB], environment, folder=tmp_path / "logs")
    else:
        cluster = request.getfixturevalue("ray_cluster")
        made = RayPool(cluster.address, ["-c", STUB], environment, gpus=0, cpus=1)
    yield made
    made.stop()


def there(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.pid"))


def test_workers_are_started_and_end_by_themselves(pool: Pool, tmp_path: Path) -> None:
    assert (pool.alive(), pool.faults()) == (0, [])
    pool.start(2)
    assert pool.alive() == 2, "those included that wait for a place"
    wait_until(lambda: len(there(tmp_path)) == 2, seconds=60)
    (tmp_path / "end").touch()
    wait_until(lambda: pool.alive() == 0, seconds=30)
    assert pool.faults() == []


def test_one_that_ends_badly_is_told_once_and_replaced(pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "end").write_text("3")
    pool.start(1)
    wait_until(lambda: pool.alive() == 0, seconds=60)
    (fault,) = pool.faults()
    assert "exit status 3" in fault and pool.faults() == []
    (tmp_path / "end").unlink()
    stopping = threading.Event()
    keeper = threading.Thread(target=keep, args=(pool, lambda: 1, stopping), kwargs={"every": 0.05})
    keeper.start()
    wait_until(lambda: len(there(tmp_path)) == 2, seconds=60)
    stopping.set()
    keeper.join()
    assert pool.alive() == 1


def test_when_it_stops_all_workers_are_gone(pool: Pool, tmp_path: Path) -> None:
    pool.start(2)
    wait_until(lambda: len(there(tmp_path)) == 2, seconds=60)
    began = time.monotonic()
    pool.stop()
    assert pool.alive() == 0 and time.monotonic() - began < 20
    if not isinstance(pool, InlinePool):
        pids = [path.stem for path in there(tmp_path)]
        wait_until(lambda: not any(runs(pid) for pid in pids), seconds=10)


def runs(pid: str) -> bool:
    try:
        return (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_where_ray_is_not_installed_it_is_said_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TunerError, match=r"pip install 'tuner\[ray\]'"):
        connect("auto")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_where_no_cluster_answers_it_is_said_what_to_look_at(address: str) -> None:
    with pytest.raises(TunerError, match=r"nothing answers at .*127\.0\.0\.1:1 .*ray start --head"):
        connect(address)

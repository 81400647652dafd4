"""Services, databases, disks and networks fail under load; every promise is kept.

In short: one run a database, in which everything fails once. With TUNER_TEST_FAULT_SECONDS (`make faults`) every kind of fault
has a run of its own, for so long; TUNER_TEST_FAULT_SEED chooses another seed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.nemesis import (
    CrashPostgres,
    FillTheDisk,
    Run,
    Strike,
    cut_the_network,
    kill_the_owner,
    kill_the_service,
    send_the_owner_to_sleep,
)
from tests.faults.places import own_postgres, small_disk
from tests.faults.swarm import ServiceProcess
from tuner.settings import Settings

pytestmark = [pytest.mark.walk, pytest.mark.timeout(900)]
SECONDS = float(os.environ.get("TUNER_TEST_FAULT_SECONDS", "0"))
SEED = int(os.environ.get("TUNER_TEST_FAULT_SEED", "1"))
_BOTH = ("SQLite", "PostgreSQL")
KINDS: Mapping[str, Sequence[str]] = {
    "service: kill -9": _BOTH,
    "network: one-way cut": _BOTH,
    "PostgreSQL: immediate": ("PostgreSQL",),
    "disk: full": ("SQLite",),
    "two services: owner is killed": _BOTH,
    "two services: owner sleeps": _BOTH,
}
PLANS: list[tuple[str, list[str]]]
if SECONDS:
    PLANS = [(database, [kind]) for kind, databases in KINDS.items() for database in databases]
else:
    PLANS = [(database, [kind for kind in KINDS if database in KINDS[kind]]) for database in _BOTH]


NAMES = [f"{database} {kinds[0] if SECONDS else 'all in turn'}" for database, kinds in PLANS]


@pytest.mark.parametrize(("database", "kinds"), PLANS, ids=NAMES)
def test_every_promise_is_kept(database: str, kinds: list[str], tmp_path: Path) -> None:
    with ExitStack() as place:
        folder, server = tmp_path, None
        if "disk: full" in kinds:
            disk = place.enter_context(small_disk(tmp_path))
            folder, kinds = disk or tmp_path, [kind for kind in kinds if disk or kind != "disk: full"]
            if not kinds:
                pytest.skip("mounting a small disk needs root")
        url = f"sqlite:///{folder / 'tuner.db'}"
        if database == "PostgreSQL":
            server = place.enter_context(own_postgres())
            url = Settings(database_url=server.get_uri()).url
        service, heir = ServiceProcess(folder / "home", url), ServiceProcess(folder / "heir", url)
        (service.home / "artifacts").mkdir()
        (heir.home / "artifacts").symlink_to(service.home / "artifacts")
        strikes: Mapping[str, Strike] = {
            "service: kill -9": kill_the_service,
            "network: one-way cut": cut_the_network,
            "PostgreSQL: immediate": CrashPostgres(server),
            "disk: full": FillTheDisk(folder),
            "two services: owner is killed": kill_the_owner,
            "two services: owner sleeps": send_the_owner_to_sleep,
        }
        run = Run(" and ".join(kinds), SEED, tmp_path, service, heir, trials_each=10 if SECONDS else 4)
        assert run.work([strikes[kind] for kind in kinds], seconds=SECONDS) == [], f"seed {SEED}"

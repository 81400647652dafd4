"""Where a worker keeps files of the trials it trains: a folder that goes with it, or when the next worker starts here."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "tuner-worker-"
_LOCK = "lock"  # held by the folder's worker for as long as it lives


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder of this process. Those of workers that were killed go first: each may hold a model and its checkpoints."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_if_left(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name, (Path(name) / "new-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Path(lock.name).rename(Path(name) / _LOCK)  # never there without being held
        yield Path(name)


def _remove_if_left(folder: Path) -> None:
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # it is in use, has just been made, or is another user's
        return

"""Files that the trials of one machine share: each made once, by whoever needs it first, and the oldest thrown away for new ones.

What is made is found by its key alone, so a key has to name everything that the content depends on. Files are mapped into
memory by those who read them: on Linux and macOS a file that is thrown away stays readable for whoever has it mapped.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Left free on the disk whatever the limit says: checkpoints and models are worth more than what can be computed again.
_LEFT_FREE = 2**30
_PART, _LOCK = ".part", ".lock"


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder of shared files that together take at most `limit` bytes."""

    folder: Path
    limit: int

    def find(self, key: str) -> Path | None:
        """The file of `key`, now the most recently used one; None if nobody has made it."""
        file = self.folder / key
        try:
            os.utime(file)
        except FileNotFoundError:
            return None
        return file

    def obtain(self, key: str, size: int, make: Callable[[Path], None]) -> tuple[Path, bool] | None:
        """The file of `key`, and whether `make` was called to write it (to the path it is given, `size` bytes).

        Of several processes that want the same file at the same time one makes it and the others wait: a file that is
        there is whole. None where `size` bytes are more than the limit or than the disk has to spare.
        """
        found = self.find(key)
        if found is not None:
            return found, False
        if size > self.limit:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(f"{key}{_LOCK}"):
            found = self.find(key)
            if found is not None:
                return found, False
            part = self.folder / f"{key}{_PART}"
            if not self._reserve(part, size):
                return None
            try:
                make(part)
                part.replace(self.folder / key)
            finally:
                part.unlink(missing_ok=True)
        return self.folder / key, True

    def _reserve(self, part: Path, size: int) -> bool:
        """Claim `size` bytes for `part`, throwing the least recently used files away for it; whether they are to be had."""
        with self._locked(f"room{_LOCK}"):
            there = sorted(self._files(), key=lambda entry: entry[1].st_mtime_ns)
            used = sum(status.st_size for _, status in there)
            free = shutil.disk_usage(self.folder).free - _LEFT_FREE
            for file, status in there:
                if used + size <= self.limit and size <= free:
                    break
                if file.suffix == _PART and not self._abandoned(file):
                    continue
                file.unlink(missing_ok=True)
                used -= status.st_size
                free += status.st_size
            if used + size > self.limit or size > free:
                return False
            with part.open("wb") as handle:
                handle.truncate(size)
            return True

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for file in self.folder.iterdir():
            if file.suffix != _LOCK:
                try:
                    yield file, file.stat()
                except FileNotFoundError:
                    continue  # its maker has just finished it

    def _abandoned(self, part: Path) -> bool:
        """Whether the process that was writing `part` is gone: it held the lock of the file until then."""
        with part.with_suffix(_LOCK).open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold a lock among all processes of this machine. The system lets go of it when its holder dies."""
        with (self.folder / name).open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

"""Where the bytes of artifacts lie: a folder of this machine, or any place that fsspec has a URL for (`s3://bucket/tuner`).

A file is whole or not there; once `write` returns it stays, and once `remove` returns it stays away.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import fsspec
from fsspec.spec import AbstractBufferedFile

from studies.errors import InvalidInput
from tuner.errors import Unavailable


class Files(Protocol):
    """Files under names of ours, `ab/0123…`."""

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        """Keep a new file. Raises Unavailable for an OSError (no room, say), and whatever else `chunks` raises."""

    def open(self, name: str) -> IO[bytes]:
        """Raises FileNotFoundError, or Unavailable."""

    def remove(self, name: str) -> None:
        """For good. Also one that is gone already, and what came in of one that never became whole. Raises Unavailable."""


@dataclass(frozen=True)
class StoredFile:
    """One file, wherever it lies."""

    files: Files
    name: str

    def open(self) -> IO[bytes]:
        return self.files.open(self.name)

    def read_bytes(self) -> bytes:
        with self.open() as handle:
            return handle.read()


def files_at(place: str | Path) -> Files:
    """For a folder or a URL. Raises InvalidInput for a URL that nothing here can reach."""
    text = str(place)
    if "://" not in text or text.startswith("file://"):
        return LocalFiles(Path(text.removeprefix("file://")))
    try:
        return RemoteFiles(text)
    except (ImportError, ValueError) as error:
        raise InvalidInput.at("TUNER_ARTIFACTS", f"{text} can't be used: {error}") from None


class LocalFiles:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        target = self.folder / name
        unfinished = self._unfinished(name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as handle:
                for chunk in chunks:
                    handle.write(chunk)
                handle.flush()
                os.fsync(handle.fileno())
            unfinished.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise _unavailable("written to", error) from error
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def open(self, name: str) -> IO[bytes]:
        with _reaching("read", missing=FileNotFoundError):
            return (self.folder / name).open("rb")

    def remove(self, name: str) -> None:
        with _reaching("written to"):
            file = self.folder / name
            for path in (file, self._unfinished(name)):
                path.unlink(missing_ok=True)
            if file.parent.exists():
                _sync_folder(file.parent)

    def _unfinished(self, name: str) -> Path:
        return (self.folder / name).with_suffix(".part")


class RemoteFiles:
    """A place that fsspec reaches. What was written in part is never seen there."""

    def __init__(self, url: str) -> None:
        self._system, root = fsspec.core.url_to_fs(url)
        self._root = root.rstrip("/")

    def write(self, name: str, chunks: Iterable[bytes]) -> None:
        path = self._path(name)
        handle: Any = None
        try:
            with _reaching("written to"):
                self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
                handle = self._system.open(path, "wb", autocommit=False)
            for chunk in chunks:
                with _reaching("written to"):
                    handle.write(chunk)
            with _reaching("written to"):
                handle.close()
                handle.commit()
        except BaseException:
            if handle is not None:
                with suppress(Unavailable), _reaching("written to"):
                    handle.discard()
                    if isinstance(handle, AbstractBufferedFile):
                        handle.closed = True  # or it would begin to upload again when it is thrown away
                    self.remove(name)  # some systems show a file from its first byte on
            raise

    def open(self, name: str) -> IO[bytes]:
        with _reaching("read", missing=FileNotFoundError):
            handle: IO[bytes] = self._system.open(self._path(name), "rb")
            return handle

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), _reaching("written to", missing=FileNotFoundError):
            self._system.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


@contextmanager
def _reaching(what: str, *, missing: type[Exception] = Unavailable) -> Iterator[None]:
    """Whatever goes wrong in it is the store's doing: raised as Unavailable, but for `missing`."""
    try:
        yield
    except (missing, Unavailable):
        raise
    except Exception as error:
        # Each library behind fsspec has errors of its own, without a common base.
        raise _unavailable(what, error) from error


def _unavailable(what: str, error: Exception) -> Unavailable:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return Unavailable(f"the artifact store can't be {what} just now: {reason}")


def _sync_folder(folder: Path) -> None:
    """Make a rename or a removal in it survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

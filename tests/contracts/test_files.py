"""Wherever artifacts are kept, a file is whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from studies.errors import InvalidInput
from tuner.errors import Unavailable
from tuner.files import Files, LocalFiles, RemoteFiles, StoredFile, files_at

CHUNKS = [b"one ", b"two ", b"three"]


@pytest.fixture(params=["folder", "file", "memory", "remote"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    folder = tmp_path / "artifacts"
    places = {"folder": str(folder), "file": f"file://{folder}", "memory": f"memory://{tmp_path.name}/artifacts"}
    # "remote": fsspec's own way of writing whole files, on a disk.
    yield files_at(places[request.param]) if request.param in places else RemoteFiles(f"file://{folder}")
    if request.param == "memory":
        fsspec.filesystem("memory").rm("/", recursive=True)


def test_what_was_written_is_read(files: Files) -> None:
    files.write("ab/0123", CHUNKS)
    assert StoredFile(files, "ab/0123").read_bytes() == b"one two three"


def test_an_empty_file_is_a_file(files: Files) -> None:
    files.write("ab/0123", [])
    assert StoredFile(files, "ab/0123").read_bytes() == b""


def test_a_file_that_breaks_off_is_not_there(files: Files) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    class Odd(Exception):
        pass

    def odd() -> Iterator[bytes]:
        yield b"half"
        raise Odd

    for chunks, error in ((broken(), Exception), (odd(), Odd)):
        with pytest.raises(error):
            files.write("ab/0123", chunks)
        with pytest.raises(FileNotFoundError):
            files.open("ab/0123")


@pytest.mark.parametrize("kind", [LocalFiles, lambda folder: RemoteFiles(f"file://{folder}")], ids=["folder", "remote"])
def test_a_place_that_takes_nothing_just_now_is_unavailable(kind: Callable[[Path], Files], tmp_path: Path) -> None:
    (tmp_path / "artifacts").write_text("a file where a folder should be")
    with pytest.raises(Unavailable, match="can't be written to just now"):
        kind(tmp_path / "artifacts").write("ab/0123", CHUNKS)
    with pytest.raises(Unavailable, match="can't be read just now"):
        kind(tmp_path / "artifacts").open("ab/0123")


def test_what_is_removed_is_gone_and_may_be_removed_again(files: Files) -> None:
    files.write("ab/0123", CHUNKS)
    files.write("ab/4567", CHUNKS)
    for _ in range(2):
        files.remove("ab/0123")
    with pytest.raises(FileNotFoundError):
        files.open("ab/0123")
    assert StoredFile(files, "ab/4567").read_bytes() == b"one two three"


def test_what_came_in_of_a_file_that_never_became_whole_goes_with_it(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)

    def killed() -> Iterator[bytes]:
        yield b"half"
        [part] = tmp_path.rglob("*.part")
        (part.parent / "copy").write_bytes(b"half")
        raise ConnectionResetError

    with pytest.raises(Unavailable):
        files.write("ab/0123", killed())
    (tmp_path / "ab" / "copy").rename(tmp_path / "ab" / "0123.part")  # whoever is killed removes nothing
    files.remove("ab/0123")
    assert list((tmp_path / "ab").iterdir()) == []


def test_what_is_written_or_removed_outlasts_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[str, bool]] = []  # what, and whether the file was there
    folder = tmp_path / "ab"

    def fsync(descriptor: int) -> None:
        kind = "folder" if os.path.samestat(os.fstat(descriptor), folder.stat()) else "file"
        synced.append((kind, (folder / "0123").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    files = LocalFiles(tmp_path)
    files.write("ab/0123", CHUNKS)
    assert synced == [("file", False), ("folder", True)]
    files.remove("ab/0123")
    assert synced[2:] == [("folder", False)]


def test_a_folder_is_synced_by_ourselves() -> None:
    assert isinstance(files_at("/x/y"), LocalFiles) and isinstance(files_at("file:///x/y"), LocalFiles)


@pytest.mark.parametrize("url", ["nonsense://bucket"])
def test_a_place_that_nothing_can_reach_is_told_by_the_setting(url: str) -> None:
    with pytest.raises(InvalidInput, match="TUNER_ARTIFACTS"):
        files_at(url)

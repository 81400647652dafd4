from __future__ import annotations

import asyncio
from pathlib import Path
from typing import IO, Any

import pytest
from starlette.requests import ClientDisconnect

from api.files import file_answer
from tests.api.helpers import run
from tuner.errors import NotFound
from tuner.files import LocalFiles, StoredFile


def scope(version: str = "2.3") -> dict[str, Any]:
    """By its version of ASGI a server says how it tells that the client has gone: by a message, or by an error of `send`."""
    return {"type": "http", "asgi": {"spec_version": version}}


class Watched(LocalFiles):
    """Remembers what it has opened."""

    def open(self, name: str) -> IO[bytes]:
        self.opened = super().open(name)
        return self.opened


@pytest.fixture
def files(tmp_path: Path) -> Watched:
    (tmp_path / "a").write_bytes(b"weights")
    return Watched(tmp_path)


async def until_gone() -> dict[str, Any]:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_file_is_sent_whole_and_closed(files: Watched) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    run(file_answer(StoredFile(files, "a"), "model.bin", 7)(scope(), until_gone, send))
    assert b"".join(message.get("body", b"") for message in sent) == b"weights"
    assert files.opened.closed


def test_it_is_closed_also_for_who_goes_away_before_the_first_byte(files: Watched) -> None:
    async def gone(message: Any) -> None:
        raise OSError("gone")

    with pytest.raises(ClientDisconnect):
        run(file_answer(StoredFile(files, "a"), "model.bin", 7)(scope("2.4"), until_gone, gone))
    assert files.opened.closed

    async def disconnect() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def never(message: Any) -> None:
        await asyncio.Event().wait()

    run(file_answer(StoredFile(files, "a"), "model.bin", 7)(scope(), disconnect, never))
    assert files.opened.closed


def test_one_that_is_gone_is_not_found(files: Watched) -> None:
    with pytest.raises(NotFound, match="is not kept any more"):
        file_answer(StoredFile(files, "b"), "model.bin", 7)

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress

import httpx2
import pytest

from api.protocol import MOST_HEAD_BYTES
from tests.api.conftest import Live


def talk(live: Live, parts: Sequence[bytes]) -> bytes:
    """What the service says to these bytes until it closes the connection."""
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
        said = b""
        with suppress(ConnectionResetError):  # it was closed before all had been read
            while part := connection.recv(65536):
                said += part
        return said


def head(live: Live, **more: str) -> bytes:
    lines = {"Host": live.url.removeprefix("http://"), "Connection": "close"} | more
    return b"GET /healthz HTTP/1.1\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in lines.items())


@pytest.mark.parametrize("size", [1_000, MOST_HEAD_BYTES - 200])
def test_a_head_of_some_length_is_read(live: Live, size: int) -> None:
    assert talk(live, [head(live, filler="x" * size) + b"\r\n"]).startswith(b"HTTP/1.1 200 ")


def test_a_head_that_is_too_long_is_refused(live: Live) -> None:
    assert talk(live, [head(live, filler="x" * MOST_HEAD_BYTES) + b"\r\n"]).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("end", [b"x", b"x: y\r\n"])
def test_a_head_that_never_ends_is_refused_before_it_fills_the_memory(live: Live, end: bytes) -> None:
    assert talk(live, [head(live), *[end * 500] * 1_000])[:13] in (b"", b"HTTP/1.1 400 ")


@pytest.mark.parametrize("nonsense", [b"\0\1\2\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_request_is_refused(live: Live, nonsense: bytes) -> None:
    assert talk(live, [nonsense]).startswith(b"HTTP/1.1 400 ")


def test_a_body_may_be_longer_than_a_head(live: Live) -> None:
    with live.client() as client:
        for _ in range(3):  # on one connection
            answer = client.post("/api/v1/studies?dry_run=true", json={"notes": "x" * 300_000})
            assert answer.status_code == 422 and "parameters" in answer.text


def test_two_requests_may_come_in_one_piece(live: Live) -> None:
    first = head(live).replace(b"Connection: close", b"Connection: keep-alive") + b"\r\n"
    assert talk(live, [first + head(live) + b"\r\n"]).count(b"HTTP/1.1 200 ") == 2


def test_an_answer_names_no_server(live: Live) -> None:
    assert "server" not in httpx2.get(f"{live.url}/healthz").headers

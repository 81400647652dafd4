from __future__ import annotations

import socket
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from api.standby import standing_by
from tuner.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Settings(home=tmp_path, port=probe.getsockname()[1])


def test_who_stands_by_says_so_until_it_takes_over(settings: Settings) -> None:
    url = f"http://127.0.0.1:{settings.port}"
    with standing_by(settings, "node7 12/34"):
        assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
        for answer in (httpx2.get(f"{url}/readyz"), httpx2.post(f"{url}/api/v1/leases", json={})):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
            assert answer.headers["content-type"] == "application/problem+json"
            (wrong,) = answer.json()["errors"]
            assert wrong["field"] == "leadership" and "on node7, owns the database; this one stands by" in wrong["message"]
    with socket.create_server(("127.0.0.1", settings.port)):
        pass  # the address is free for the service itself


def test_who_finds_the_address_taken_stands_by_in_silence(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.port)), capture_logs() as said, standing_by(settings, "here 1/1"):
        pass
    assert [line["event"] for line in said] == ["standing by without answering"]

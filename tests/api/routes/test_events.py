from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.api.conftest import Json, Live

Event = dict[str, str]


def parsed(lines: Iterator[str]) -> Iterator[Event]:
    """Events as a browser would see them, and the bare ids that it would remember."""
    event: Event = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield event
            event = {}


@pytest.fixture
def client(live: Live) -> Iterator[httpx2.Client]:
    with live.client() as client:
        yield client


def start(client: httpx2.Client, spec: Json) -> str:
    answer = client.post("/api/v1/studies", json=spec)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def kinds(events: Iterator[Event], count: int) -> list[str]:
    return [next(events)["event"] for _ in range(count)]


def test_changes_arrive_as_they_happen(client: httpx2.Client, spec: Json) -> None:
    with client.stream("GET", "/api/v1/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = parsed(answer.iter_lines())
        assert "event" not in next(events)
        study_id = start(client, spec)
        first = next(events)
    assert study_id in first["data"]


def test_a_study_tells_only_of_itself(client: httpx2.Client, spec: Json) -> None:
    mine, other = start(client, spec), start(client, spec | {"name": "other"})
    with client.stream("GET", f"/api/v1/studies/{mine}/events") as answer:
        events = parsed(answer.iter_lines())
        next(events)
        client.post(f"/api/v1/studies/{other}/pause")
        client.post(f"/api/v1/studies/{mine}/pause")
        told = next(events)
    assert (told["event"], mine in told["data"]) == ("study", True)


def test_a_stream_goes_on_where_it_was_cut(client: httpx2.Client, spec: Json) -> None:
    study_id = start(client, spec)
    with client.stream("GET", "/api/v1/events") as answer:
        last = next(parsed(answer.iter_lines()))["id"]
    for verb in ("pause", "resume"):
        client.post(f"/api/v1/studies/{study_id}/{verb}")
    with client.stream("GET", "/api/v1/events", headers={"Last-Event-ID": last}) as answer:
        events = parsed(answer.iter_lines())
        assert next(events)["id"] == last
        assert kinds(events, 2) == ["study", "study"]


def test_a_first_request_can_say_what_it_has_seen_and_the_header_of_a_later_one_counts_more(
    client: httpx2.Client, spec: Json
) -> None:
    study_id = start(client, spec)
    with client.stream("GET", "/api/v1/events") as answer:
        made = next(parsed(answer.iter_lines()))["id"]
    client.post(f"/api/v1/studies/{study_id}/pause")
    with client.stream("GET", f"/api/v1/events?after={made}") as answer:
        events = parsed(answer.iter_lines())
        assert next(events)["id"] == made
        paused = next(events)
        assert paused["event"] == "study"
    with client.stream("GET", f"/api/v1/events?after={made}", headers={"Last-Event-ID": paused["id"]}) as answer:
        assert next(parsed(answer.iter_lines()))["id"] == paused["id"]


@pytest.mark.parametrize("last", ["before-3", "x", "-", "²-²"])
def test_what_cannot_be_resumed_is_reset(client: httpx2.Client, last: str) -> None:
    with client.stream("GET", "/api/v1/events", headers={b"Last-Event-ID": last.encode("latin-1")}) as answer:
        events = parsed(answer.iter_lines())
        next(events)
        assert next(events)["event"] == "reset"


def test_an_unknown_study_is_told_so(client: httpx2.Client) -> None:
    assert client.get("/api/v1/studies/nothing/events").status_code == 404


def test_streams_and_long_polls_end_with_the_server(live: Live) -> None:
    ended: list[Any] = []

    def listen() -> None:
        with live.client() as client, client.stream("GET", "/api/v1/events") as answer:
            ended.append([line for line in answer.iter_lines() if line.startswith("event")])

    with live.client(live.worker_token) as worker:
        worker_id = worker.post("/api/v1/workers", json={"host": "h", "pid": 1}).json()["worker_id"]

    def ask() -> None:
        with live.client(live.worker_token) as client:
            ended.append(client.post("/api/v1/leases", json={"worker_id": worker_id, "wait_seconds": 60}).status_code)

    threads = [threading.Thread(target=work) for work in (listen, ask)]
    for thread in threads:
        thread.start()
    while len(live.server.server_state.tasks) < 2:
        time.sleep(0.01)
    started = time.monotonic()
    live.server.should_exit = True
    for thread in threads:
        thread.join(10)
    assert sorted(map(str, ended)) == ["204", "[]"]
    assert time.monotonic() - started < 2

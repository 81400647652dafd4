from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tuner.events import EventLog


def test_since_gives_what_came_after_in_order() -> None:
    log = EventLog()
    log.publish("study", study_id="a")
    seen = log.last_id()
    assert log.since(seen) == []
    log.publish("trial", study_id="a", number=1)
    log.publish("metric", study_id="a", number=1)
    news = log.since(seen)
    assert [(event.kind, event.data) for event in news] == [
        ("trial", {"study_id": "a", "number": 1}),
        ("metric", {"study_id": "a", "number": 1}),
    ]
    assert log.since(news[0].id) == news[1:]
    assert news[-1].id == log.last_id()


@pytest.mark.parametrize("seen", ["", "-", "x-1", "{run}", "{run}-", "{run}-x", "{run}-²", "{run}--1", "{run}-4"])
def test_an_id_that_is_not_one_of_ours_means_read_everything_again(seen: str) -> None:
    log = EventLog()
    for _ in range(3):
        log.publish("study")
    news = log.since(seen.format(run=log.last_id().partition("-")[0]))
    assert [(event.kind, event.id) for event in news] == [("reset", log.last_id())]


def test_an_id_from_before_a_restart_means_read_everything_again() -> None:
    before, after = EventLog(), EventLog()
    before.publish("study")
    after.publish("study")
    assert [event.kind for event in after.since(before.last_id())] == ["reset"]


def test_only_a_window_is_kept() -> None:
    log = EventLog()
    first = log.last_id()
    for number in range(10_000):
        log.publish("metric", number=number)
    assert len(log.since(first)) == 10_000
    log.publish("metric")
    assert [event.kind for event in log.since(first)] == ["reset"]


def test_listeners_are_woken_until_they_leave() -> None:
    log = EventLog()
    woken: list[str] = []
    leave = log.listen(lambda: woken.append(log.last_id()))
    log.publish("study")
    log.publish("study")
    assert woken == [log.since("")[0].id.partition("-")[0] + "-1", log.last_id()]
    leave()
    leave()
    log.publish("study")
    assert len(woken) == 2


def test_events_from_many_threads_are_all_there_once_and_wake_a_waiting_one() -> None:
    log = EventLog()
    start = log.last_id()
    news = threading.Event()
    log.listen(news.set)

    def publish(thread: int) -> None:
        for number in range(100):
            log.publish("metric", thread=thread, number=number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(8)))
    assert news.is_set()
    events = log.since(start)
    assert len({event.id for event in events}) == 800
    for thread in range(8):
        assert [event.data["number"] for event in events if event.data["thread"] == thread] == list(range(100))

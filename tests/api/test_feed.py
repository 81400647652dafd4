from __future__ import annotations

import asyncio
import threading

from api.feed import Feed
from tests.api.helpers import run
from tuner.events import EventLog


def test_news_that_are_there_come_at_once() -> None:
    async def walk() -> list[str]:
        events = EventLog()
        feed, start = Feed(events), events.last_id()
        events.publish("study", study_id="a")
        events.publish("trial", study_id="a")
        return [event.kind for event in await feed.after(start, seconds=None)]

    assert run(walk()) == ["study", "trial"]


def test_an_event_of_another_thread_wakes_all_who_wait() -> None:
    async def walk() -> list[list[str]]:
        events = EventLog()
        feed, start = Feed(events), events.last_id()
        waiting = [asyncio.create_task(feed.after(start, seconds=10)) for _ in range(3)]
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: events.publish("metric", study_id="a"))
        thread.start()
        news = await asyncio.gather(*waiting)
        thread.join()
        return [[event.kind for event in part] for part in news]

    assert run(walk()) == [["metric"]] * 3


def test_waiting_ends_with_its_time() -> None:
    async def walk() -> tuple[int, int]:
        events = EventLog()
        feed = Feed(events)
        return len(await feed.after(events.last_id(), seconds=0.01)), len(await feed.after(events.last_id(), seconds=-1))

    assert run(walk()) == (0, 0)


def test_waiting_ends_when_the_feed_closes() -> None:
    async def walk() -> bool:
        events = EventLog()
        feed = Feed(events)
        waiting = asyncio.create_task(feed.after(events.last_id(), seconds=None))
        await asyncio.sleep(0)
        feed.close()
        events.publish("study", study_id="a")
        return list(await waiting) == [] and list(await feed.after("x-1", seconds=None)) == []

    assert run(walk())


def test_what_was_missed_is_a_reset() -> None:
    async def walk() -> list[str]:
        feed = Feed(EventLog())
        return [event.kind for event in await feed.after("of-7", seconds=None)]

    assert run(walk()) == ["reset"]

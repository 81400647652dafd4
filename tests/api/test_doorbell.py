from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from api.doorbell import Doorbell
from tests.api.helpers import run


def test_calls_of_other_threads_come_in_order_and_at_few_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def walk() -> tuple[list[int], int]:
        bell, heard, wakes = Doorbell(), list[int](), list[object]()
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        wake = loop.call_soon_threadsafe

        def counted(*call: Any) -> Any:
            wakes.append(call)
            return wake(*call)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)

        def ring() -> None:
            for number in range(100):
                bell.call(lambda number=number: heard.append(number))  # type: ignore[misc]
            bell.call(done.set)

        thread = threading.Thread(target=ring)
        thread.start()
        thread.join()  # the loop is held meanwhile
        await asyncio.wait_for(done.wait(), 10)
        return heard, len(wakes)

    assert run(walk()) == (list(range(100)), 1)


def test_a_call_that_is_made_while_others_are_answered_is_answered_too() -> None:
    async def walk() -> list[str]:
        bell, heard, done = Doorbell(), list[str](), asyncio.Event()

        def second() -> None:
            heard.append("second")
            done.set()

        def first() -> None:
            heard.append("first")
            bell.call(second)

        bell.call(first)
        await asyncio.wait_for(done.wait(), 10)
        return heard

    assert run(walk()) == ["first", "second"]


def test_a_result_is_what_the_future_returns_or_raises() -> None:
    async def walk() -> int:
        bell, good, bad = Doorbell(), Future[int](), Future[int]()
        threading.Timer(0.01, good.set_result, (3,)).start()
        threading.Timer(0.01, bad.set_exception, (LookupError("no"),)).start()
        with pytest.raises(LookupError, match="no"):
            await bell.result(bad)
        return await bell.result(good)

    assert run(walk()) == 3


def test_nobody_is_told_who_has_gone() -> None:
    async def walk() -> bool:
        bell, future = Doorbell(), Future[int]()
        waiting = asyncio.create_task(bell.result(future))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        future.set_result(3)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return waiting.cancelled()

    assert run(walk())

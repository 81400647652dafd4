from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tuner.errors import Refused, ServiceError, Unreachable
from tuner.outbox import Entry, Outbox, passes

SOON = 20.0  # seconds that no test needs


class Line:
    """A connection that is there or not, and what went over it."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.tried = threading.Semaphore(0)
        self.problem: ServiceError | None = None

    def call(self, text: str) -> Callable[[], None]:
        def send() -> None:
            self.tried.release()
            if self.problem is not None:
                raise self.problem
            self.sent.append(text)

        return send


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def give_up() -> threading.Event:
    return threading.Event()


@pytest.fixture
def outbox(give_up: threading.Event) -> Iterator[Outbox]:
    opened = Outbox({"trial": 0}, lambda: give_up)
    yield opened
    give_up.set()
    opened.close()


def test_what_is_put_in_arrives_in_order(outbox: Outbox, line: Line) -> None:
    for text in "abc":
        outbox.put(Entry(line.call(text)))
    outbox.deliver(line.call("d"))
    assert line.sent == list("abcd")


def test_a_question_is_answered_while_the_service_is_there(outbox: Outbox, line: Line) -> None:
    assert outbox.ask(line.call("a"), seconds=SOON) is True
    assert line.sent == ["a"]


def test_nobody_waits_for_a_service_that_is_away_and_nothing_is_lost(outbox: Outbox, line: Line) -> None:
    line.problem = Unreachable("away")
    began = time.monotonic()
    assert [outbox.ask(line.call(text), seconds=SOON) for text in "abc"] == [False] * 3
    assert time.monotonic() - began < SOON
    line.problem = None
    outbox.deliver(line.call("d"))
    assert line.sent == list("abcd")
    assert outbox.offline is False


def test_nobody_waits_long_for_a_service_that_does_not_answer(outbox: Outbox, line: Line) -> None:
    answer = threading.Event()
    assert outbox.ask(lambda: answer.wait(SOON), seconds=0.01) is False
    answer.set()
    outbox.deliver(line.call("a"), seconds=SOON)


def test_of_waiting_checkpoints_only_the_newest_is_sent(outbox: Outbox, line: Line) -> None:
    forgotten: list[str] = []
    line.problem = Unreachable("away")
    outbox.ask(line.call("report"), seconds=SOON)
    for text in ("first", "second"):
        outbox.put(Entry(line.call(text), kind="checkpoint", forget=lambda text=text: forgotten.append(text)))  # type: ignore[misc]
    assert forgotten == ["first"]
    line.problem = None
    outbox.deliver(line.call("end"))
    assert (line.sent, forgotten) == (["report", "second", "end"], ["first", "second"])


def test_a_refusal_reaches_who_waits_for_the_answer_and_holds_up_nothing(outbox: Outbox, line: Line) -> None:
    line.problem = Refused(422, "no such metric")
    outbox.put(Entry(line.call("a")))
    with pytest.raises(Refused, match="no such metric"):
        outbox.ask(line.call("b"), seconds=SOON)
    line.problem = None
    outbox.deliver(line.call("c"))
    assert line.sent == ["c"]


def test_once_given_up_each_call_is_tried_no_more_than_once(outbox: Outbox, line: Line, give_up: threading.Event) -> None:
    line.problem = Unreachable("away")
    outbox.ask(line.call("a"), seconds=SOON)
    give_up.set()
    with pytest.raises(Unreachable, match="away"):
        outbox.deliver(line.call("b"), seconds=SOON)


def test_a_file_that_is_gone_holds_up_nothing(outbox: Outbox, line: Line) -> None:
    def send() -> None:
        raise FileNotFoundError("checkpoint")

    outbox.put(Entry(send))
    outbox.deliver(line.call("a"), seconds=SOON)
    assert line.sent == ["a"]


def test_a_closed_outbox_says_so(outbox: Outbox, line: Line) -> None:
    outbox.close()
    with pytest.raises(Unreachable, match="over"):
        outbox.deliver(line.call("a"))


def test_whoever_waits_for_delivery_waits_no_longer_than_wanted(outbox: Outbox, line: Line) -> None:
    line.problem = Unreachable("away")
    with pytest.raises(Unreachable, match="no answer from the service in 0.01 s"):
        outbox.deliver(line.call("a"), seconds=0.01)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unreachable("x"), True),
        (Refused(503, "x"), True),
        (Refused(429, "x"), True),
        (Refused(409, "x"), False),
        (ServiceError("x"), False),
    ],
)
def test_what_may_work_later(error: ServiceError, expected: bool) -> None:
    assert passes(error) is expected

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from api.paging import number_cursor, read_number, read_study_cursor
from studies.errors import InvalidInput

NEW_YEAR = "2026-01-01T00:00:00+00:00"


def made_up(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def test_a_number_comes_back() -> None:
    assert read_number(number_cursor(7)) == 7
    assert read_number(None) is None
    assert read_study_cursor(None) is None


def test_a_place_among_studies_comes_back() -> None:
    assert read_study_cursor(made_up([NEW_YEAR, "ab"])) == (datetime(2026, 1, 1, tzinfo=UTC), "ab")


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAA", *map(made_up, ["x", -1, 2**31, True, 1.5, [1]])])
def test_a_made_up_number_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="^cursor: "):
        read_number(cursor)


@pytest.mark.parametrize("value", [7, [], [NEW_YEAR], ["yesterday", "a"], ["2026-01-01T00:00:00", "a"], [NEW_YEAR, "\0"], [1, 2]])
def test_a_made_up_place_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="^cursor: "):
        read_study_cursor(made_up(value))


@pytest.mark.parametrize("read", [read_number, read_study_cursor])
def test_a_deep_cursor_is_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(InvalidInput):
        read(base64.urlsafe_b64encode(b"[" * 100_000).decode())

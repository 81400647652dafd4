"""Cursors: where a list goes on, in a form that clients pass back but need not understand."""

from __future__ import annotations

import base64
import json
from datetime import datetime

from studies.errors import InvalidInput
from tuner.records import Study

_BIGGEST = 2**31 - 1


def number_cursor(number: int) -> str:
    """For lists that go on at an offset or below an id."""
    return _encode(number)


def read_number(cursor: str | None) -> int | None:
    """Raises InvalidInput."""
    if cursor is None:
        return None
    number = _decode(cursor)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _BIGGEST:
        raise _unknown()
    return number


def study_cursor(last: Study) -> str:
    """For lists of studies, which grow at their beginning."""
    return _encode([last.created_at.isoformat(), last.id])


def read_study_cursor(cursor: str | None) -> tuple[datetime, str] | None:
    """Raises InvalidInput."""
    if cursor is None:
        return None
    parts = _decode(cursor)
    if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(part, str) and part.isprintable() for part in parts):
        raise _unknown()
    try:
        created_at = datetime.fromisoformat(parts[0])
    except ValueError:
        raise _unknown() from None
    if created_at.tzinfo is None:
        raise _unknown()
    return created_at, parts[1]


def _encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _decode(cursor: str) -> object:
    try:
        decoded: object = json.loads(base64.urlsafe_b64decode(cursor.encode()))
    except (ValueError, RecursionError):
        raise _unknown() from None
    return decoded


def _unknown() -> InvalidInput:
    return InvalidInput.at("cursor", "is not the `next` of an earlier page; leave it out to start at the beginning")

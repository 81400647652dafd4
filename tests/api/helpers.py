"""What several tests of the HTTP layer say."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

Result = TypeVar("Result")
both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)


def wrong_fields(answer: Any) -> list[str]:
    """The fields that a 422 names."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a thread of its own: browser tests leave a running event loop in pytest's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()  # noqa: TID251 - on a thread, as the rule asks

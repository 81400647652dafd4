from __future__ import annotations

from collections.abc import Iterator

import pytest

from tuner.db.engine import Database


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with our schema and nothing in it."""
    opened = Database(database_url)
    yield opened
    opened.close()

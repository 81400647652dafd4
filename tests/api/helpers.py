"""What several tests of the HTTP layer say."""

from __future__ import annotations

from typing import Any

import pytest

both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgres"], indirect=True)


def wrong_fields(answer: Any) -> list[str]:
    """The fields that a 422 names."""
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [error["field"] for error in answer.json()["errors"]]

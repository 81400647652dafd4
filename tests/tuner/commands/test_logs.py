"""Where log lines go, and that nothing depends on their getting there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from tuner.commands.serve import configure_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def test_a_line_is_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs()
    with structlog.contextvars.bound_contextvars(study="topics", trial=3):
        structlog.get_logger().info("trial started", attempt=1)
    line = json.loads(capsys.readouterr().err)
    assert {"event": "trial started", "study": "topics", "trial": 3, "attempt": 1, "level": "info"}.items() <= line.items()


def after(write: str, full: TextIO) -> str:
    """What a process prints once it has written to a log on a full disk."""
    code = f"import structlog, sys; from tuner.commands.serve import configure_logs; configure_logs(); {write}; print('went on')"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, text=True).stdout.strip()


def test_a_full_disk_under_the_log_stops_nothing() -> None:
    with open("/dev/full", "w") as full:
        assert after("structlog.get_logger().warning('x')", full) == "went on"
        assert after("print('x', file=sys.stderr, flush=True)", full) == "", "this disk is not full"

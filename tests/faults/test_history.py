"""What a killed worker asked for is known, though it never wrote down an answer."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.faults.history import read_history
from tests.walk.conftest import wait_until


def test_a_call_whose_caller_dies_before_the_answer_is_in_the_history(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        words = [str(history), "studies", "pause", "topics", "--server", address]
        caller = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.history", *words],
            env=os.environ | {"TUNER_HOME": str(tmp_path), "TUNER_TOKEN": "t"},
        )
        try:
            wait_until(lambda: history.is_file() and history.read_text().endswith("\n"), seconds=60)
        finally:
            caller.kill()
            caller.wait()
    (call,) = read_history(history)
    assert (call.verb, call.status, call.ended) == ("GET", None, math.inf)
    assert "topics" in call.path

"""The product as its users run it: real processes, a real model, real text, over a real port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuner.client import Client
from tuner.settings import Settings


class Started(subprocess.Popen[bytes]):
    """A process whose output goes to a file: a pipe that nobody reads fills up, and then its writer stands still."""

    def __init__(self, command: list[str], log: Path, **options: Any) -> None:
        self.log = log
        with log.open("wb") as file:
            super().__init__(command, stdout=file, stderr=subprocess.STDOUT, **options)

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", errors="replace")

    def ended(self, seconds: float) -> str:
        """All that it printed, once it has ended."""
        self.wait(seconds)
        return self.output


Spawn = Callable[..., Started]


def quick_study(**changes: Any) -> dict[str, Any]:
    """A search on a real model and real text that takes seconds."""
    return {
        "task": "text-classification",
        "model": "builtin:minilm",
        "data": {"train": "builtin:sms-spam", "validation": 0.25, "limit": 160},
        "parameters": {
            "learning_rate": {"min": 1e-5, "max": 1e-3, "log": True},
            "batch_size": {"values": [8, 16]},
            "epochs": {"min": 1, "max": 2},
            "frozen_layers": {"min": 4, "max": "all"},
        },
        "budget": {"trials": 3},
        "parallelism": 2,
    } | changes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """For TMPDIR: a path short enough for sockets below it, which pytest's own folders are not."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def spawn(tmp_path: Path, home: Path) -> Iterator[Spawn]:
    """Start `tuner …` as a process of its own; whatever still runs at the end of the test is killed, and what it said shown."""
    started: list[Started] = []

    def start(*arguments: str, module: str = "tuner", **environment: str) -> Started:
        process = Started(
            [sys.executable, "-m", module, *arguments],
            tmp_path / f"process-{len(started)}.log",
            cwd=tmp_path,
            env=os.environ | {"TUNER_HOME": str(home), "COLUMNS": "200"} | environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
        sys.stdout.write(f"--- {process.args!r}: {process.returncode}\n{process.output[-5000:]}\n")  # shown if the test failed


@pytest.fixture
def tuner(spawn: Spawn) -> Callable[..., tuple[int, str]]:
    """Run `tuner …` to its end; returns its exit status and all that it printed."""

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        process = spawn(*arguments, **environment)
        output = process.ended(280)
        return process.returncode, output

    return run


@pytest.fixture
def study_file(tmp_path: Path) -> Callable[..., str]:
    """Write a study file; returns its name."""

    def write(name: str = "quick", **changes: Any) -> str:
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(quick_study(**changes)))
        return f"{name}.yaml"

    return write


def wait_until(what: Callable[[], Any], *, seconds: float = 120.0) -> Any:
    """What `what` returns once that is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := what():
            return found
        time.sleep(0.1)
    raise AssertionError(f"still waiting after {seconds} s")


def connect(home: Path) -> Client:
    """A client of the service that runs in `home`, as soon as it answers."""
    file = Settings(home=home).service_file
    wait_until(file.exists, seconds=60)
    return Client(json.loads(file.read_text())["url"], settings=Settings(home=home))

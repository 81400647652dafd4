"""One place decides what happens next: what workers ask and report, and what they are answered.

Every method is one transaction. A call under a lease counts only while that lease is its trial's current one; the
statements that change a row carry the lease in their WHERE clause, and a late call raises StaleLease and changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from studies.definition import Verdict
from studies.errors import FailureKind
from tuner.budget import good_enough
from tuner.db import lease_rows, metric_rows, study_rows, trial_rows, worker_rows
from tuner.errors import Conflict, NotFound, StaleLease
from tuner.extensions import ended_anew, go_back, known_until
from tuner.granting import Lease, grant, lease_of
from tuner.ledger import Change, Ledger
from tuner.objectives import final_values, validation_scores
from tuner.promotion import PROMOTED_LATER, SET_ASIDE, set_aside
from tuner.records import MetricPoint, Study, Trial, Worker
from tuner.reservations import Reservations
from tuner.search import resource
from tuner.settling import pause_if_hopeless, settle
from tuner.spec import epochs_of, objective_of, pruning_metric
from tuner.timeouts import log_lost, overdue_trials

RETRIED: tuple[FailureKind, ...] = ("lost", "preempted", "hardware")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a worker says a trial ended."""

    state: Literal["completed", "failed", "released"]
    values: Mapping[str, float] = field(default_factory=dict)
    failure: tuple[FailureKind, str] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


class Manager:
    """What workers can do."""

    def __init__(self, ledger: Ledger, *, lease_seconds: float) -> None:
        self.ledger = ledger
        self.lease_time = timedelta(seconds=lease_seconds)
        self.tick = min(timedelta(seconds=5), self.lease_time / 4)  # how often `expire` is to be called
        self.reservations = Reservations(patience=self.lease_time / 2, silence=self.lease_time)

    def lease(
        self,
        worker_id: str,
        *,
        studies: Sequence[str] | None = None,
        gpus: int | None = None,
        request: str | None = None,
        now: datetime,
    ) -> Lease | None:
        """A trial for the worker, which has so many `gpus` free (None: all), or None if there is nothing to do for it just now.

        `request` is the worker's own name for what it asks: said again, it gets the same lease as long as that is open, and
        never another one. `studies`: names or ids; None: any. Raises NotFound for an unknown worker or study.
        """
        return self.ledger.change(self.leasing(worker_id, studies=studies, gpus=gpus, request=request, now=now))

    def leasing(
        self,
        worker_id: str,
        *,
        studies: Sequence[str] | None = None,
        gpus: int | None = None,
        request: str | None = None,
        now: datetime,
    ) -> Callable[[Change], Lease | None]:
        """What `lease` does, for who begins it and waits without holding a thread."""

        def work(change: Change) -> Lease | None:
            at = now + change.waited
            lease_id = lease_rows.new_lease_id(worker_id, request)
            ids = None if studies is None else [_found(change, named).id for named in studies]
            worker = worker_rows.get_worker(change.connection, worker_id)
            if worker is None:
                raise NotFound(f"no worker {worker_id!r}; register with POST /workers first")
            if request is not None and lease_rows.get_lease(change.connection, lease_id) is not None:
                lease = self._granted_before(change, lease_id, at)
            else:
                lease = self._granted(change, worker, ids, gpus, lease_id, at)
            # Not before: a draw that has to be made first is missed while nothing is changed.
            worker_rows.see_worker(change.connection, worker_id, at)
            return lease

        return work

    def heartbeat(self, lease_id: str, *, gpus: Sequence[str] | None = None, now: datetime) -> Verdict:
        """The worker is alive: its lease runs on. `gpus`: ids of those that it trains on. Raises StaleLease."""
        return self.ledger.change(self.beating(lease_id, gpus=gpus, now=now))

    def beating(self, lease_id: str, *, gpus: Sequence[str] | None = None, now: datetime) -> Callable[[Change], Verdict]:
        """What `heartbeat` does, for who begins it and waits without holding a thread."""

        def work(change: Change) -> Verdict:
            trial, study = self._held(change, lease_id)
            if trial.state in ("completed", "failed"):
                raise StaleLease(lease_id)
            if not trial.finished:
                self._extend(change, lease_id, now)
            if gpus is not None:
                lease_rows.note_gpus(change.connection, lease_id, gpus)
            return verdict(trial, study)

        return work

    def report(self, lease_id: str, points: Sequence[MetricPoint], *, now: datetime) -> Verdict:
        """Store what a trial measured and judge it. A number reported twice is stored once. Raises StaleLease."""
        return self.ledger.change(self.reporting(lease_id, points, now=now))

    def reporting(self, lease_id: str, points: Sequence[MetricPoint], *, now: datetime) -> Callable[[Change], Verdict]:
        """What `report` does, for who begins it and waits without holding a thread."""

        def work(change: Change) -> Verdict:
            trial, study = self._held(change, lease_id)
            if trial.finished:
                self._only_known_points(change, trial, points, lease_id)
                return verdict(trial, study)
            self._extend(change, lease_id, now)
            if trial.set_aside_at is not None:
                return verdict(trial, study)
            unheard = [point for point in points if point.step > known_until(trial)]
            new = metric_rows.insert_metrics(
                change.connection,
                trial_id=trial.id,
                attempt=trial.attempt,
                points=unheard,
                now=now,
                reported_until=-1 if trial.step is None else trial.step,
            )
            if not new:
                return verdict(trial, study)
            change.tell("metric", study_id=study.id, number=trial.number)
            self._note_progress(change, lease_id, trial, new, validation_scores(new, objective_of(study.spec).metric), now)
            return self._judge(change, study, trial, lease_id, new, now)

        return work

    def finish(self, lease_id: str, ending: Ending, *, now: datetime) -> str:
        """End an attempt; returns its outcome: completed, pruned, stopped, failed or released.

        Said again, it gets the same answer and changes nothing. Raises StaleLease, or InvalidInput if a completed
        trial has no value of the objective.
        """
        return self.ledger.change(self.finishing(lease_id, ending, now=now))

    def finishing(self, lease_id: str, ending: Ending, *, now: datetime) -> Callable[[Change], str]:
        """What `finish` does, for who begins it and waits without holding a thread."""

        def work(change: Change) -> str:
            repeated = self._repeated_finish(change, lease_id, ending)
            if repeated is not None:
                return repeated
            trial, study = self._held(change, lease_id)
            meant = _meant(study, ending)
            if trial.finished:
                return _outcome_of_finished(change, trial, meant)
            return self._end(change, study, trial, lease_id, meant, now)

        return work

    def log(self, lease_id: str, lines: Sequence[str], *, after: int | None = None, now: datetime) -> None:
        """Append to the trial's log; `after` so many of this lease, no line is added twice. Raises StaleLease."""

        def work(change: Change) -> None:
            trial, _ = self._held(change, lease_id)
            if trial.finished:
                raise StaleLease(lease_id)
            metric_rows.append_logs(
                change.connection, trial_id=trial.id, attempt=trial.attempt, lines=lines, after=after, now=now
            )

        self.ledger.change(work)

    def holder(self, lease_id: str) -> Trial:
        """The trial that the lease is, or was last, in charge of. Raises StaleLease."""
        with self.ledger.read() as connection:
            trial = trial_rows.trial_of_lease(connection, lease_id)
        if trial is None:
            raise StaleLease(lease_id)
        return trial

    def expire(self, *, now: datetime) -> int:
        """Take back trials whose workers have been silent for too long; how many were taken.

        Only of use once the service has been there for as long as a lease lasts (`tuner/service.py`).
        """

        def work(change: Change) -> int:
            expired = lease_rows.expired_leases(change.connection, now=now)
            for lease in expired:
                trial = trial_rows.trial_of_lease(change.connection, lease.id)
                if trial is not None and trial.state == "running":
                    study = _study_of(change, trial)
                    lost: tuple[FailureKind, str] = ("lost", f"worker {lease.worker_id} was silent for too long")
                    self._fail(change, study, trial, lease.id, lost, {}, now, outcome="lost")
                    log_lost(trial, lease.worker_id)
                else:
                    lease_rows.end_lease(change.connection, lease.id, outcome="lost", message=None, now=now)
            return len(expired)

        return self.ledger.change(work)

    def time_out(self, *, since: datetime, now: datetime) -> int:
        """Fail trials that are over their study's timeouts although their workers say nothing of it; how many there were.

        Silence counts from `since` on, when the service was there again.
        """

        def work(change: Change) -> int:
            overdue = overdue_trials(change.connection, since=since, slack=self.lease_time, now=now)
            for study, trial, why in overdue:
                self._fail(change, study, trial, trial.lease_id or "", ("timeout", why), {}, now)
            return len(overdue)

        return self.ledger.change(work)

    def _granted(
        self, change: Change, worker: Worker, ids: Sequence[str] | None, gpus: int | None, lease_id: str, now: datetime
    ) -> Lease | None:
        running = study_rows.running_studies(change.connection, ids)
        for study in self.reservations.order(change.connection, running, worker, gpus, all_of_them=ids is None, now=now):
            trial = grant(change, study, worker.id, lease_id, expires_at=now + self.lease_time, now=now)
            if trial is not None:
                self.reservations.granted(study.id)
                return lease_of(change, study, trial, self.lease_time)
        return None

    def _granted_before(self, change: Change, lease_id: str, now: datetime) -> Lease | None:
        trial = trial_rows.trial_of_lease(change.connection, lease_id)
        if trial is None or trial.state != "running":
            return None
        self._extend(change, lease_id, now)
        return lease_of(change, _study_of(change, trial), trial, self.lease_time)

    def _held(self, change: Change, lease_id: str) -> tuple[Trial, Study]:
        trial = trial_rows.trial_of_lease(change.connection, lease_id)
        if trial is None:
            raise StaleLease(lease_id)
        return trial, _study_of(change, trial)

    def _extend(self, change: Change, lease_id: str, now: datetime) -> None:
        """The lease runs on; of calls that come at the same time, this statement decides which one still holds the trial."""
        if not lease_rows.extend_lease(change.connection, lease_id, expires_at=now + self.lease_time, now=now):
            raise StaleLease(lease_id)

    def _only_known_points(self, change: Change, trial: Trial, points: Sequence[MetricPoint], lease_id: str) -> None:
        """A batch said again after the end is fine; a new one from a trial that the service has not stopped is not."""
        if trial.state in ("pruned", "stopped"):
            return
        stored = {(p.split, p.name, p.step) for p in metric_rows.metrics_of(change.connection, trial.id)}
        if any((point.split, point.name, point.step) not in stored for point in points):
            raise StaleLease(lease_id)

    def _note_progress(
        self,
        change: Change,
        lease_id: str,
        trial: Trial,
        new: Sequence[MetricPoint],
        scores: Sequence[MetricPoint],
        now: datetime,
    ) -> None:
        last = max(new, key=lambda point: point.step)
        if last.step < (trial.step or 0):
            return
        score = scores[-1].value if scores and not math.isnan(scores[-1].value) else None
        if not trial_rows.note_progress(change.connection, lease_id, step=last.step, epoch=last.epoch, value=score, now=now):
            raise StaleLease(lease_id)

    def _judge(
        self, change: Change, study: Study, trial: Trial, lease_id: str, new: Sequence[MetricPoint], now: datetime
    ) -> Verdict:
        if trial.extension is not None:  # a person asked for it: it is not judged, and the search knows nothing of it
            return verdict(trial, study)
        judged = validation_scores(new, pruning_metric(study.spec))
        if judged and judged[0].step <= (trial.step or -1):
            change.forget_search(study.id)  # a report that comes late: the rows have the right order
        search = change.search(study)
        for point in judged:
            search.report(trial.number, resource(point), point.value)
        if not judged or study.state == "paused":
            return verdict(trial, study)
        # The untuned default is what the winner is compared with: no other trial ends it. And stopping a trial at its end, or
        # at the target, where it ends by itself, would save nothing and cost its model.
        exempt = trial.origin == "default" or _at_its_end(study, trial, judged[-1]) or good_enough(study, new)
        if trial.origin == "default":
            search.race.leave_outside(trial.number)
        # Judged once a batch, when all of it is known: so a search rebuilt from rows, which hold all of it, judges alike.
        ruling = search.race.judge(trial.number, exempt=exempt)
        memory = dict(trial.search_attrs) | search.race.memory(trial.number)
        if memory != trial.search_attrs:
            trial_rows.set_search_attrs(change.connection, trial.id, memory)
        if ruling.action == "set aside":
            return set_aside(change, study, trial, ruling.reason or "", now)
        if ruling.action == "stop":
            self._close(change, study, lease_id, "pruned", now, reason=ruling.reason)
            return Verdict(stop=True, reason="pruned")
        return verdict(trial, study)

    def _repeated_finish(self, change: Change, lease_id: str, ending: Ending) -> str | None:
        """The outcome of an attempt whose trial has gone on to wait again, if the worker said just that before.

        A lease that was taken back stays the last one of its trial where there is no retry left; nothing is ended by it either.
        """
        if lease_rows.is_open(change.connection, lease_id):
            return None
        lease = lease_rows.get_lease(change.connection, lease_id)
        if lease is None or lease.outcome is None:
            return None
        if lease.outcome == "lost":
            raise StaleLease(lease_id)
        if lease.outcome == "released" and ending.state == "completed" and lease.message == SET_ASIDE:
            return "released"
        return lease.outcome if lease.outcome == ending.state and lease.outcome in ("released", "failed") else None

    def _end(self, change: Change, study: Study, trial: Trial, lease_id: str, ending: Ending, now: datetime) -> str:
        if ending.state == "released" or (ending.state == "completed" and trial.set_aside_at is not None):
            # A program that knows no promotion and takes any stop for the end has not come to the end all the same.
            message = None if trial.set_aside_at is None else SET_ASIDE
            return self._put_back(change, study, lease_id, "released", message, lost=False, now=now)
        if ending.state == "failed":
            failure = ending.failure or ("code", "the worker gave no reason")
            return self._fail(change, study, trial, lease_id, failure, ending.details, now)
        values = final_values(study.spec, trial, ending.values, ending.details, now)
        value = values[objective_of(study.spec).metric]
        return self._close(change, study, lease_id, "completed", now, value=value, values=values, details=ending.details)

    def _fail(
        self,
        change: Change,
        study: Study,
        trial: Trial,
        lease_id: str,
        failure: tuple[FailureKind, str],
        details: Mapping[str, Any],
        now: datetime,
        *,
        outcome: str = "failed",
    ) -> str:
        kind, message = failure
        # A trial set aside had done its work: with its worker it lost no more than its last checkpoint.
        costs_a_retry = kind != "preempted" and trial.set_aside_at is None
        again = kind in RETRIED and (trial.retries < study.spec.retries or not costs_a_retry)
        if again and study.state in ("running", "paused"):
            return self._put_back(change, study, lease_id, outcome, f"{kind}: {message}", lost=costs_a_retry, now=now)
        self._close(change, study, lease_id, "failed", now, failure=failure, details=details, outcome=outcome)
        pause_if_hopeless(change, study, now)
        return outcome

    def _put_back(
        self, change: Change, study: Study, lease_id: str, outcome: str, message: str | None, *, lost: bool, now: datetime
    ) -> str:
        waiting = trial_rows.put_back(change.connection, lease_id, lost=lost, now=now)
        if waiting is None:
            raise StaleLease(lease_id)
        lease_rows.end_lease(change.connection, lease_id, outcome=outcome, message=message, now=now)
        change.tell_trial(waiting)
        if waiting.set_aside_at is not None:
            settle(change, study, now)
        return outcome

    def _close(
        self,
        change: Change,
        study: Study,
        lease_id: str,
        state: Literal["completed", "pruned", "failed"],
        now: datetime,
        *,
        outcome: str | None = None,
        **ending: Any,
    ) -> str:
        ended = trial_rows.end_trial(change.connection, lease_id, state, now=now, **ending)
        if ended is None:
            raise StaleLease(lease_id)
        message = ended.failure_message or ended.reason
        lease_rows.end_lease(change.connection, lease_id, outcome=outcome or state, message=message, now=now)
        if ended.extension is None:
            change.tell_search(ended)
        elif state == "failed":
            ended = go_back(change, ended, ended.failure_message or "", now)
        else:
            ended = ended_anew(change, ended)
        change.tell_trial(ended)
        settle(change, study, now)
        return state


def verdict(trial: Trial, study: Study) -> Verdict:
    """What a worker is told about a trial as things stand."""
    if trial.state in ("pruned", "stopped"):
        return Verdict(stop=True, reason=trial.state)
    if trial.state == "running" and trial.set_aside_at is not None:
        return PROMOTED_LATER
    if trial.state == "running" and study.state != "running":
        return Verdict(stop=True, reason="paused" if study.state == "paused" else "stopped")
    return Verdict()


def _outcome_of_finished(change: Change, trial: Trial, ending: Ending) -> str:
    """A finish that comes after the end: the worker's last word on a trial that the service stopped, or a repetition."""
    if trial.state in ("pruned", "stopped"):
        if ending.details and not trial.details:
            trial_rows.add_details(change.connection, trial.id, ending.details, ending.values or trial.values)
        return trial.state
    # Compared as text, because a value that is not a number does not equal itself.
    if trial.state == ending.state and all(repr(trial.values.get(name)) == repr(float(v)) for name, v in ending.values.items()):
        return trial.state
    raise Conflict(f"trial {trial.number} has already ended as {trial.state} with other values; the first word stands")


def _meant(study: Study, ending: Ending) -> Ending:
    """A trial that completed with a score that is not a number has failed."""
    metric = objective_of(study.spec).metric
    if ending.state != "completed" or not math.isnan(ending.values.get(metric, 0.0)):
        return ending
    return Ending(state="failed", failure=("nan", f"{metric} is not a number"), details=ending.details)


def _at_its_end(study: Study, trial: Trial, score: MetricPoint) -> bool:
    epochs = epochs_of(study.spec, trial.params)
    return epochs is not None and score.epoch is not None and score.epoch >= epochs


def _found(change: Change, name_or_id: str) -> Study:
    """A worker's token can't look studies up, so it may name them as people do."""
    study = study_rows.find_study(change.connection, name_or_id)
    if study is None:
        raise NotFound(f"no study {name_or_id!r}")
    return study


def _study_of(change: Change, trial: Trial) -> Study:
    study = study_rows.get_study(change.connection, trial.study_id)
    if study is None:
        raise NotFound(f"no study {trial.study_id!r}")
    return study

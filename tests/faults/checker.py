"""The one checker: reads a database and the history of calls, and says which promise is broken and where.

The promises I1 to I9 are written down in docs/reliability.md. I7 for real training and I8 need processes to look at:
`test_kill.py` and `tests/tuner/test_trial_process.py` hold them to that; everything else is
proved here, from rows and answers alone.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select

from studies.space import Fixed
from tests.faults.history import Record
from tests.faults.script import STEPS_AN_EPOCH
from tests.simulation import accuracy
from tuner.db import study_rows, tables
from tuner.db.engine import make_engine
from tuner.records import FINISHED_TRIAL_STATES
from tuner.search import Search

Row = Mapping[str, Any]
Point = tuple[str, str, int]  # split, name, step
_LEASED = re.compile(r"/leases/(\w+)/([a-z]+)")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known after a run. `slack` is how far a service's own readings of its clock may be out of order."""

    studies: Sequence[Row]
    trials: Sequence[Row]
    leases: Sequence[Row]
    metrics: Sequence[Row]
    checkpoints: Sequence[Row]
    files: frozenset[str]  # that rows name, of whichever study
    calls: Sequence[Record]
    slack: timedelta
    simulated: bool  # the workers were those of `script.py`, whose numbers are known beforehand

    @cached_property
    def trial(self) -> dict[int, Row]:
        return {row["id"]: row for row in self.trials}

    @cached_property
    def study(self) -> dict[str, Row]:
        return {row["id"]: row for row in self.studies}

    @cached_property
    def lease(self) -> dict[str, Row]:
        return {row["id"]: row for row in self.leases}

    @cached_property
    def attempts(self) -> dict[int, list[Row]]:
        """trial id → its leases by attempt."""
        found: dict[int, list[Row]] = defaultdict(list)
        for row in sorted(self.leases, key=lambda row: row["attempt"]):
            found[row["trial_id"]].append(row)
        return found

    @cached_property
    def points(self) -> dict[int, list[Row]]:
        found: dict[int, list[Row]] = defaultdict(list)
        for row in self.metrics:
            found[row["trial_id"]].append(row)
        return found

    @cached_property
    def under_lease(self) -> dict[str, list[tuple[str, Record]]]:
        """lease id → (what was called, the call), in the order in which the calls ended."""
        found: dict[str, list[tuple[str, Record]]] = defaultdict(list)
        for call in self.calls:
            if match := _LEASED.fullmatch(call.path):
                found[match[1]].append((match[2], call))
        return found

    @cached_property
    def granted(self) -> dict[str, Record]:
        """lease id → the first call that was answered with it; one that is said again is too."""
        return {c.answer["id"]: c for c in reversed(self.calls) if c.path == "/leases" and c.status == 200}

    def named(self, trial_id: int) -> str:
        trial = self.trial[trial_id]
        return f"trial {trial['number']} of {self.study[trial['study_id']]['name']}"


def gather(
    url: str,
    calls: Sequence[Record],
    *,
    slack: timedelta = timedelta(),
    simulated: bool = True,
    study_ids: Sequence[str] | None = None,
) -> Evidence:
    """Read everything; with `study_ids` only what belongs to these studies."""
    engine = make_engine(url)
    try:
        with engine.connect() as connection:

            def rows(table: Table) -> list[Row]:
                return [dict(row) for row in connection.execute(select(table)).mappings()]

            studies = [row for row in rows(tables.studies) if study_ids is None or row["id"] in study_ids]
            chosen = {row["id"] for row in studies}
            trials = [row for row in rows(tables.trials) if row["study_id"] in chosen]
            ids = {row["id"] for row in trials}
            of_trials = [
                [row for row in rows(t) if row["trial_id"] in ids] for t in (tables.leases, tables.metrics, tables.checkpoints)
            ]
            files = {row["path"] for t in (tables.artifacts, tables.checkpoints, tables.loose_files) for row in rows(t)}
    finally:
        engine.dispose()
    leases, metrics, checkpoints = of_trials
    return Evidence(
        studies=studies,
        trials=trials,
        leases=leases,
        metrics=metrics,
        checkpoints=checkpoints,
        files=frozenset(files),
        calls=calls,
        slack=slack,
        simulated=simulated,
    )


def broken_promises(evidence: Evidence, *, ended: bool = True) -> list[str]:
    """What is wrong, each with the promise it breaks; `ended`: every study was worked on until it should have been over."""
    checks = [_answers, _metrics, _results, _checkpoints, _leases, _fencing, _numbers, _budgets]
    checks += [_one_curve] if evidence.simulated else []
    checks += [_ends] if ended else []
    return [message for check in checks for message in check(evidence)]


def wrong_files(evidence: Evidence, folder: Path) -> list[str]:
    """I1 and I9 for what lies outside the database: checkpoints whose file is gone, files that no row names."""
    gone = [row for row in evidence.checkpoints if not (folder / row["path"]).is_file()]
    there = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*") if path.is_file()}
    return [
        *(f"I1: the checkpoint file of {evidence.named(row['trial_id'])} (epoch {row['epoch']}) is not there" for row in gone),
        *(f"I9: no row names the file {path}" for path in sorted(there - evidence.files)),
    ]


def _answers(evidence: Evidence) -> Iterator[str]:
    """A correct worker is never told that the service failed (5xx but 503), nor that it is wrong (4xx but 404, 409, 429)."""
    for call in evidence.calls:
        if call.status is not None and call.status >= 400 and call.status not in (404, 409, 429, 503):
            yield f"I1: {call.verb} {call.path} was answered {call.status}: {call.answer}"


def _metrics(evidence: Evidence) -> Iterator[str]:
    """I1: what was acknowledged is there, once, as it was sent; and nothing is there that nobody sent."""
    sent: dict[tuple[int, int], dict[Point, list[float]]] = defaultdict(lambda: defaultdict(list))
    acknowledged: dict[tuple[int, int], dict[Point, float]] = defaultdict(dict)
    for lease_id, calls in evidence.under_lease.items():
        lease = evidence.lease.get(lease_id)
        stopped = False
        unsure: list[Any] = []  # batches that were sent without an answer: any of them may have ended the trial
        for what, call in calls:
            if what != "metrics" or lease is None:
                continue
            attempt = (lease["trial_id"], lease["attempt"])
            batch = {_key(point): float(point["value"]) for point in call.body["metrics"]}
            for point, value in batch.items():
                sent[attempt][point].append(value)
            if not call.accepted:
                unsure.append(call.body)
                continue
            # A trial that has ended takes no more numbers and answers as it did before; the batch that ended it is stored.
            ending = call.answer["reason"] in ("pruned", "stopped")
            ended_by_it = call.answer["reason"] == "pruned" and all(body == call.body for body in unsure)
            if not stopped and (not ending or ended_by_it):
                acknowledged[attempt] |= batch
            stopped = stopped or ending
    stored = Counter((row["trial_id"], row["attempt"], _key(row)) for row in evidence.metrics)
    values = {(row["trial_id"], row["attempt"], _key(row)): row["value"] for row in evidence.metrics}
    for (trial_id, number), points in acknowledged.items():
        for point, value in points.items():
            if not stored[trial_id, number, point]:
                yield f"I1: {evidence.named(trial_id)}, attempt {number}: {point} was acknowledged and is not there"
            elif not _same(values[trial_id, number, point], value):
                kept = values[trial_id, number, point]
                yield f"I1: {evidence.named(trial_id)}, attempt {number}: {point} is {kept!r}, acknowledged was {value!r}"
    for (trial_id, number, point), times in stored.items():
        if times > 1:
            yield f"I1: {evidence.named(trial_id)}, attempt {number}: {point} is there {times} times"
        if not any(_same(values[trial_id, number, point], value) for value in sent[trial_id, number][point]):
            yield f"I2: {evidence.named(trial_id)}, attempt {number}: {point} is there, but its lease never sent it"
    yield from _counted_once(evidence)


def _counted_once(evidence: Evidence) -> Iterator[str]:
    """I1: of several attempts at a trial, each step counts once, and those after the point of resuming are the last attempt's."""
    for trial_id, rows in evidence.points.items():
        counted = Counter(_key(row) for row in rows if not row["superseded"])
        for point, times in counted.items():
            if times > 1:
                yield f"I1: {evidence.named(trial_id)}: {point} counts {times} times"
        for row in rows:
            if (
                row["superseded"]
                and not counted[_key(row)]
                and evidence.trial[trial_id]["state"] == "completed"
                and evidence.simulated
            ):
                yield f"I1: {evidence.named(trial_id)} completed, but {_key(row)} of attempt {row['attempt']} counts no more"


def _results(evidence: Evidence) -> Iterator[str]:
    """I1: a result that was acknowledged stands, once, under the lease that gave it; said again, it got the same answer."""
    for lease_id, calls in evidence.under_lease.items():
        lease = evidence.lease.get(lease_id)
        first: dict[str, str] = {}
        for what, call in calls:
            if what != "finish":
                continue
            if call.accepted and lease is None:
                yield f"I1: the lease {lease_id} was finished, and is not there"
            if call.accepted and lease is not None:
                yield from _result(evidence, lease, call)
            said = repr(call.body)
            if said in first and call.status is not None and call.status < 500:
                answer = repr((call.status, call.answer)) if call.accepted else str(call.status)
                if answer != first[said]:
                    yield f"I1: {call.path} said again was answered {answer}, at first {first[said]}"
            elif call.accepted:
                first[said] = repr((call.status, call.answer))
    for trial_id, leases in evidence.attempts.items():
        endings = [lease for lease in leases if lease["outcome"] in ("completed", "pruned", "stopped")]
        if len(endings) > 1:
            yield f"I1: {evidence.named(trial_id)} ended {len(endings)} times"


def _result(evidence: Evidence, lease: Row, call: Record) -> Iterator[str]:
    trial, outcome = evidence.trial[lease["trial_id"]], call.answer["state"]
    name = evidence.named(trial["id"])
    if lease["outcome"] != outcome:
        yield f"I1: {name}, attempt {lease['attempt']}: {outcome!r} was acknowledged, its outcome is {lease['outcome']!r}"
    if outcome not in ("completed", "pruned", "stopped"):
        return
    if trial["state"] != outcome:
        yield f"I1: {name} was acknowledged as {outcome}, but is {trial['state']}"
    if trial["lease_id"] != lease["id"]:
        yield f"I2: {name} was ended by attempt {lease['attempt']}, which is not its last"
    if outcome == "completed":
        for metric, value in call.body["values"].items():
            if not _same(trial["values"].get(metric), float(value)):
                yield f"I1: {name}: {metric} is {trial['values'].get(metric)!r}, acknowledged was {value!r}"


def _checkpoints(evidence: Evidence) -> Iterator[str]:
    """I1: a trial is taken up from no earlier point than the last one acknowledged, and only from one that was sent."""
    for trial_id, leases in evidence.attempts.items():
        sent: set[tuple[float, int]] = set()
        kept: list[tuple[float, int]] = []  # (when the answer came, step)
        for lease in leases:
            granted = evidence.granted.get(lease["id"])
            if granted is not None:
                resume = granted.answer["resume"]
                at_least = max((step for when, step in kept if when < granted.began), default=0)
                if (resume["step"] if resume else 0) < at_least:
                    yield f"I1: {evidence.named(trial_id)} was taken up at {resume}, but step {at_least} had been acknowledged"
                if resume and (float(resume["epoch"]), int(resume["step"])) not in sent:
                    yield f"I2: {evidence.named(trial_id)} was taken up at {resume}, which nobody sent under a lease of it"
            for what, call in evidence.under_lease.get(lease["id"], ()):
                if what == "checkpoint" and call.verb == "PUT":
                    sent.add((float(call.body["epoch"]), int(call.body["step"])))
                    if call.accepted:
                        kept.append((call.ended, int(call.body["step"])))


def _leases(evidence: Evidence) -> Iterator[str]:
    """I2: never two live leases on one trial, and a running trial has one; a lease is taken back only when its time is over."""
    for trial_id, leases in evidence.attempts.items():
        name, trial = evidence.named(trial_id), evidence.trial[trial_id]
        if [lease["attempt"] for lease in leases] != list(range(1, trial["attempt"] + 1)):
            yield f"I2: {name} has attempts {[lease['attempt'] for lease in leases]}, its row says {trial['attempt']}"
        for before, after in zip(leases, leases[1:], strict=False):
            if before["ended_at"] is None or before["ended_at"] - after["granted_at"] > evidence.slack:
                yield f"I2: {name}: attempt {after['attempt']} began before attempt {before['attempt']} had ended"
        for lease in leases:
            if lease["outcome"] == "lost" and lease["ended_at"] < lease["expires_at"]:
                yield f"I2: {name}: attempt {lease['attempt']} was taken back before its time was over"
    for trial in evidence.trials:
        open_ones = [lease["id"] for lease in evidence.attempts.get(trial["id"], ()) if lease["ended_at"] is None]
        if open_ones != ([trial["lease_id"]] if trial["state"] == "running" else []):
            yield f"I2: {evidence.named(trial['id'])} is {trial['state']} and has {len(open_ones)} open leases"
    asked: dict[tuple[str, str], set[str]] = defaultdict(set)
    for lease_id, call in evidence.granted.items():
        asked[call.body["worker_id"], call.body.get("request") or lease_id].add(lease_id)
        if evidence.studies and lease_id not in evidence.lease and call.answer["study_id"] in evidence.study:
            yield f"I1: the lease {lease_id} of trial {call.answer['trial']} was granted, and is not there"
    for (_, request), given in asked.items():
        if len(given) > 1:
            yield f"I2: {request!r}, asked more than once, was answered with {len(given)} leases: all but one are nobody's"


def _fencing(evidence: Evidence) -> Iterator[str]:
    """I2: once a trial is leased anew, no call under an older lease is accepted; its finish said again may be, as before."""
    for leases in evidence.attempts.values():
        for before, after in zip(leases, leases[1:], strict=False):
            granted = evidence.granted.get(after["id"])
            for what, call in evidence.under_lease.get(before["id"], ()) if granted else ():
                late = granted is not None and call.began > granted.ended
                known = what == "finish" and before["outcome"] in ("released", "failed")
                if late and call.accepted and not known:
                    told = f"{call.verb} {what} under attempt {before['attempt']} was accepted"
                    yield f"I2: {evidence.named(before['trial_id'])}: {told} after attempt {after['attempt']} had begun"


def _numbers(evidence: Evidence) -> Iterator[str]:
    """I3: trials are numbered 0, 1, 2, … without holes."""
    for study in evidence.studies:
        numbers = sorted(trial["number"] for trial in evidence.trials if trial["study_id"] == study["id"])
        if numbers != list(range(study["n_created"])):
            yield f"I3: {study['name']} has created {study['n_created']} trials, their numbers are {numbers}"


def _budgets(evidence: Evidence) -> Iterator[str]:
    """I4: never more trials than the budget, never more at once than the parallelism, never more retries than allowed."""
    for study in evidence.studies:
        trials = [trial for trial in evidence.trials if trial["study_id"] == study["id"]]
        if study["max_trials"] is not None and len(trials) > study["max_trials"]:
            yield f"I4: {study['name']} has {len(trials)} trials, its budget is {study['max_trials']}"
        at_once = _most_at_once([lease for trial in trials for lease in evidence.attempts.get(trial["id"], ())], evidence.slack)
        if at_once > study["parallelism"]:
            yield f"I4: {study['name']} ran {at_once} trials at once, its parallelism is {study['parallelism']}"
        for trial in trials:
            if trial["retries"] > study["spec"]["retries"]:
                yield f"I4: {evidence.named(trial['id'])} was retried {trial['retries']} times"


def _ends(evidence: Evidence) -> Iterator[str]:
    """I5: every study is over, with all its trials; I4: if nothing else ended it, it has used up its budget."""
    for study in evidence.studies:
        trials = [trial for trial in evidence.trials if trial["study_id"] == study["id"]]
        if study["state"] in ("running", "paused"):
            yield f"I5: {study['name']} is still {study['state']} with {dict(Counter(trial['state'] for trial in trials))}"
        unfinished = [trial["number"] for trial in trials if trial["state"] not in FINISHED_TRIAL_STATES]
        if unfinished:
            yield f"I5: trials {unfinished} of {study['name']} never ended"
        others = {name: value for name, value in study["spec"]["budget"].items() if name != "trials" and value is not None}
        if study["state"] == "completed" and not others and len(trials) != study["max_trials"]:
            yield f"I4: {study['name']} completed with {len(trials)} of {study['max_trials']} trials"


def _one_curve(evidence: Evidence) -> Iterator[str]:
    """I7 for simulated training: what counts of a completed trial is one whole curve, bit for bit that of an undisturbed one."""
    for trial in evidence.trials:
        if trial["state"] != "completed":
            continue
        rows = [row for row in evidence.points[trial["id"]] if not row["superseded"] and row["name"] == "accuracy"]
        found = {row["step"]: row["value"] for row in rows}
        last = max(found, default=0) // STEPS_AN_EPOCH
        expected = {epoch * STEPS_AN_EPOCH: accuracy(trial["params"], epoch) for epoch in range(1, last + 1)}
        if {step: _bits(value) for step, value in found.items()} != {step: _bits(value) for step, value in expected.items()}:
            yield f"I7: {evidence.named(trial['id'])} completed with {found}, undisturbed it gives {expected}"
        if last != trial["params"]["epochs"] or not _same(trial["value"], accuracy(trial["params"], last)):
            wanted = trial["params"]["epochs"]
            yield f"I7: {evidence.named(trial['id'])} completed after {last} of {wanted} epochs as {trial['value']}"


def drawn_otherwise(url: str, study_id: str, *, slack: timedelta = timedelta()) -> list[str]:
    """I6 across restarts: every trial of a study that draws at random is what a search that was never interrupted draws.

    Until one of them has run out of memory: what would do so too is not handed out from then on, so when it ended counts.
    """
    engine = make_engine(url)
    with engine.connect() as connection:
        study = study_rows.get_study(connection, study_id)
        rows = list(connection.execute(select(tables.trials).where(tables.trials.c.study_id == study_id)).mappings())
    engine.dispose()
    assert study is not None
    search, wrong = Search(study, [], {}), []
    searched = {name for name, parameter in search.space.items() if not isinstance(parameter, Fixed)}
    learned = min((row["finished_at"] for row in rows if row["failure_kind"] == "oom"), default=None)
    for row in sorted(rows, key=lambda row: row["number"]):
        if learned is not None and row["created_at"] >= learned - slack:
            break
        given = {name: value for name, value in row["params"].items() if name in searched} if row["origin"] != "sampled" else None
        drawn = dict(search.ask(row["number"], given).params)
        if drawn != row["params"]:
            wrong.append(f"I6: trial {row['number']} of {study.name} is {row['params']}, never interrupted it would be {drawn}")
    return wrong


def _most_at_once(leases: Sequence[Row], slack: timedelta) -> int:
    """The largest number of leases that were open at the same moment, each ending `slack` early."""
    changes: list[tuple[datetime, int]] = []
    for lease in leases:
        if lease["ended_at"] is None or lease["ended_at"] - slack > lease["granted_at"]:
            changes.append((lease["granted_at"], 1))
            if lease["ended_at"] is not None:
                changes.append((lease["ended_at"] - slack, -1))
    open_now = most = 0
    for _, change in sorted(changes):
        open_now += change
        most = max(most, open_now)
    return most


def _key(point: Mapping[str, Any]) -> Point:
    return point.get("split", "validation"), point["name"], int(point["step"])


def _same(stored: float | None, sent: float) -> bool:
    """Bit for bit; a number that is none is stored as NULL."""
    return math.isnan(sent) if stored is None else _bits(float(stored)) == _bits(sent)


def _bits(value: float | None) -> bytes:
    return struct.pack(">d", math.nan if value is None else value)

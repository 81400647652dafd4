"""What people can do with studies and trials: start, pause, resume, stop, change, enqueue, delete.

Every method is one transaction, and leaves a line in the audit log that says who did it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from studies.definition import ParamValue
from studies.errors import FieldError, InvalidInput, known
from studies.hub import DATA_PREFIX, unpinned
from studies.space import Fixed, Space
from tuner.budget import exhausted
from tuner.db import access_rows, file_rows, study_rows, trial_rows
from tuner.db.space_rows import insert_priors, insert_space
from tuner.errors import Conflict, NotFound, StaleVersion
from tuner.extensions import EXTENDABLE, extension_of
from tuner.ledger import Change, Ledger
from tuner.promotion import change_rule
from tuner.records import LIVE_STUDY_STATES, Facts, Origin, Study, StudyState, Token, Trial
from tuner.settling import close_again, settle, stop_trials
from tuner.spec import CheckedStudy, StudySpec, check_search, constraints_of, facts_of, given_errors, parse, space_of
from tuner.starts import first_trials, learn

_MOST_DETAIL = 2000  # characters of a line of the audit log
CHANGEABLE = ("budget", "parallelism", "parameters", "constraints", "pruner", "notes", "tags")


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who asks for a change."""

    token: Token | None = None
    address: str | None = None


class Lifecycle:
    """What people can do."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def create(self, checked: CheckedStudy, *, actor: Actor, now: datetime, idempotency: tuple[str, str] | None = None) -> Study:
        """Start a study. Its first trial is the untuned default, which the winner is later compared with.

        `idempotency` is (key, hash of the body): the same request sent again answers the study it made before.
        Raises Conflict if a live study has the name, or the key came with another body.
        """
        study = new_study(checked, now)

        def work(change: Change) -> Study:
            if idempotency is not None:
                earlier = _earlier(change, *idempotency)
                if earlier is not None:
                    return earlier
                key, body_hash = idempotency
                study_rows.remember_request(change.connection, key=key, body_hash=body_hash, study_id=study.id, now=now)
            if study_rows.live_study_named(change.connection, study.name) is not None:
                raise Conflict(f"a study named {study.name!r} is running or paused; choose another name, or stop that one first")
            study_rows.insert_study(change.connection, study)
            _start(change, study, checked, now)
            note(change, actor, "study.create", study.id, now, study.name)
            return _get(change, study.id)

        return self.ledger.change(work)

    def pause(self, study_id: str, *, actor: Actor, now: datetime, version: int | None = None) -> Study:
        """Hand out no more trials; those that run are told to stop and wait to go on. `version` as in `change_study`."""
        return self._set_state(study_id, "paused", ("running",), "paused by a user", actor, now, version=version)

    def resume(self, study_id: str, *, actor: Actor, now: datetime, version: int | None = None) -> Study:
        """Go on with a paused study; one that has nothing left to do ends."""

        def work(change: Change) -> None:
            settle(change, _get(change, study_id), now)

        return self._set_state(study_id, "running", ("paused",), None, actor, now, version=version, also=work)

    def stop(self, study_id: str, *, actor: Actor, now: datetime, version: int | None = None) -> Study:
        """End the study now. Trials that run or wait end as stopped and keep their last reported value.

        One that was over already and runs for an extended trial is over again as it was.
        """

        def work(change: Change) -> None:
            stop_trials(change, study_id, "the study was stopped", now)
            change.forget_search(study_id)

        def was_over(change: Change) -> Study | None:
            study = _get(change, study_id)
            if study.reopened_from is None:
                return None
            _check_version(study, version)
            work(change)
            close_again(change, study, now)
            note(change, actor, "study.stopped", study.id, now, study.name)
            return _get(change, study_id)

        over, reason = self.ledger.change(was_over), "stopped by a user"
        return over or self._set_state(study_id, "stopped", LIVE_STUDY_STATES, reason, actor, now, version=version, also=work)

    def stop_trial(self, study_id: str, number: int, *, actor: Actor, now: datetime) -> Trial:
        """End one trial now; it keeps its last reported value. One that has ended stays as it is."""

        def work(change: Change) -> Trial:
            study = _get(change, study_id)
            stop_trials(change, study.id, "stopped by a user", now, number=number)
            note(change, actor, "trial.stop", f"{study.id}/{number}", now)
            settle(change, study, now)
            return _get_trial(change, study.id, number)

        return self.ledger.change(work)

    def change_study(
        self, study_id: str, changes: Mapping[str, Any], *, version: int | None, actor: Actor, now: datetime
    ) -> Study:
        """Change what may change of a study. `version` is what the caller read (If-Match).

        A study that has completed or failed goes on if its new budget leaves it something to do. Raises InvalidInput,
        StaleVersion if the study has changed since, Conflict if what is over would have to run again for the change to matter.
        """
        wrong = [name for name in changes if name not in CHANGEABLE]
        if wrong:
            raise InvalidInput([FieldError(name, f"can't be changed; {known(CHANGEABLE)}") for name in wrong])

        def work(change: Change) -> Study:
            study = _get(change, study_id)
            _check_version(study, version)
            _check_changeable(study, changes)
            spec = _changed_spec(study, changes)
            if {"parameters", "constraints"} & changes.keys():
                _new_space(change, study.id, study.space_version + 1, spec, now)
                # Parents of a genetic algorithm may lie outside now: they are selected again, among those that do not.
                study_rows.set_search_attrs(change.connection, study.id, {})
            if not study_rows.set_spec(change.connection, study.id, spec, version=study.version, now=now):
                raise StaleVersion()
            change.forget_search(study.id)
            if spec.pruner != study.spec.pruner:
                change_rule(change, _get(change, study.id))
            note(change, actor, "study.change", study.id, now, differences(study.spec, spec))
            change.tell("study", study_id=study.id, state=study.state)
            if "budget" in changes:
                _go_on(change, _get(change, study.id), now)
            settle(change, study, now)
            return _get(change, study.id)

        return self.ledger.change(work)

    def enqueue(self, study_id: str, params: Mapping[str, ParamValue], *, actor: Actor, now: datetime) -> Trial:
        """Add a trial with given parameters; those left out are sampled. It counts against the budget.

        Raises InvalidInput for parameters outside the space, Conflict if the budget leaves no trial.
        """

        def work(change: Change) -> Trial:
            study = _get(change, study_id)
            space = space_of(study.spec, study.facts.blocks)
            found = given_errors(space, constraints_of(study.spec, space, study.facts.blocks), params)
            errors = [FieldError(f"params.{error.field}", error.message) for error in found]
            if errors:
                raise InvalidInput(errors)
            whole = change.have_drawn(study, _searched(space, params)) if _may_grow(study) else {}
            trial = _enqueue(change, study, {**whole, **params}, origin="enqueued", now=now)
            note(change, actor, "trial.enqueue", f"{study.id}/{trial.number}", now)
            return trial

        return self.ledger.change(work)

    def extend(self, study_id: str, number: int, epochs: int, *, actor: Actor, now: datetime) -> Trial:
        """More epochs for a trial that has completed or was pruned or stopped. It costs no trial of the budget.

        A study that is over runs again for this trial only, and is then over as before. Raises Conflict if the trial has
        not ended, or has failed.
        """

        def work(change: Change) -> Trial:
            study, trial = _get(change, study_id), _get_trial(change, study_id, number)
            extension = extension_of(study, trial, epochs)
            extended = trial_rows.extend_trial(change.connection, trial, extension) if trial.state in EXTENDABLE else None
            if extended is None:
                raise Conflict(f"trial {number} is {trial.state}; one that is {' or '.join(EXTENDABLE)} can be extended")
            _reopen(change, study, for_one_trial=True, now=now)
            note(change, actor, "trial.extend", f"{study.id}/{number}", now, f"{epochs} more, to epoch {extension.until}")
            change.tell_trial(extended)
            return extended

        return self.ledger.change(work)

    def delete(self, study_id: str, *, actor: Actor, now: datetime) -> Sequence[str]:
        """Remove a study that is not running, with all its trials. Returns its files, which belong to nothing now."""

        def work(change: Change) -> Sequence[str]:
            study = _get(change, study_id)
            files = file_rows.paths_of_study(change.connection, study.id)
            if not study_rows.delete_study(change.connection, study.id):
                raise Conflict(f"study {study.name!r} is running; stop it first")
            change.forget_search(study.id)
            note(change, actor, "study.delete", study.id, now, study.name)
            file_rows.add_loose(change.connection, files, now=now)
            change.tell("study", study_id=study.id, state="deleted")
            return files

        return self.ledger.change(work)

    def _set_state(
        self,
        study_id: str,
        state: StudyState,
        allowed_from: Sequence[StudyState],
        reason: str | None,
        actor: Actor,
        now: datetime,
        *,
        version: int | None,
        also: Any = None,
    ) -> Study:
        """Change a study's state; asked for twice, the second time changes nothing."""

        def work(change: Change) -> Study:
            study = _get(change, study_id)
            _check_version(study, version)
            if study.state == state:
                return study
            if not study_rows.set_state(change.connection, study.id, state, allowed_from=allowed_from, reason=reason, now=now):
                raise Conflict(f"study {study.name!r} is {study.state}; that needs it to be {' or '.join(allowed_from)}")
            if also is not None:
                also(change)
            note(change, actor, f"study.{state}", study.id, now, study.name)
            change.tell("study", study_id=study.id, state=state)
            return _get(change, study.id)

        return self.ledger.change(work)


def _enqueue(change: Change, study: Study, params: Mapping[str, ParamValue], *, origin: Origin, now: datetime) -> Trial:
    number = study_rows.claim_enqueued_number(change.connection, study.id)
    if number is None:
        raise Conflict(
            f"study {study.name!r} is {study.state} and has started {study.n_created} trials: its budget leaves no other; "
            "change budget.trials first"
        )
    suggestion = change.ask(study, number, _searched(space_of(study.spec, study.facts.blocks), params))
    trial = trial_rows.insert_trial(
        change.connection,
        study_id=study.id,
        number=number,
        origin=origin,
        params=suggestion.params,
        search_attrs=suggestion.search_attrs,
        space_version=study.space_version,
        now=now,
    )
    change.tell_trial(trial)
    return trial


def _searched(space: Space, params: Mapping[str, ParamValue]) -> Mapping[str, ParamValue]:
    return {name: value for name, value in params.items() if not isinstance(space[name], Fixed)}


def _may_grow(study: Study) -> bool:
    """Whether a trial may be added: its number is claimed by a statement that looks again."""
    most = study.spec.budget.trials
    return study.state in LIVE_STUDY_STATES and (most is None or study.n_created < most)


def _start(change: Change, study: Study, checked: CheckedStudy, now: datetime) -> None:
    """The first version of the space, what earlier studies tell, and the first trials."""
    _new_space(change, study.id, 1, study.spec, now)
    lessons = learn(change.connection, checked)
    insert_priors(change.connection, study.id, lessons.priors)
    for first in first_trials(checked, lessons):
        _enqueue(change, study, first.params, origin=first.origin, now=now)


def _new_space(change: Change, study_id: str, version: int, spec: StudySpec, now: datetime) -> None:
    parameters = spec.model_dump(mode="json")["parameters"]
    insert_space(change.connection, study_id, version, parameters=parameters, constraints=spec.constraints, now=now)


def new_study(checked: CheckedStudy, now: datetime) -> Study:
    """The record of a study that is about to be stored."""
    study_id = secrets.token_hex(5)
    name = checked.spec.name or _made_up_name(checked.spec, study_id)
    facts = facts_of(checked)
    return Study(
        id=study_id,
        name=name,
        state="running",
        reason=None,
        spec=checked.spec.model_copy(update={"name": name}),
        facts=Facts(**facts),
        n_created=0,
        version=1,
        search_attrs={},
        created_at=now,
        updated_at=now,
        finished_at=None,
    )


def _made_up_name(spec: StudySpec, study_id: str) -> str:
    sources = (unpinned(source).rstrip("/") for source in (spec.data.train, spec.model))
    data, model = (source.rpartition("/")[2].removeprefix("builtin:").removeprefix(DATA_PREFIX) for source in sources)
    return f"{data}-{model}-{study_id[:4]}"[:200]


def _changed_spec(study: Study, changes: Mapping[str, Any]) -> StudySpec:
    before = study.spec.model_dump(mode="json")
    budget = changes.get("budget")
    merged = dict(changes) | ({"budget": before["budget"] | budget} if isinstance(budget, Mapping) else {})
    parameters = changes.get("parameters")
    if isinstance(parameters, Mapping):
        # As JSON merge patch has it: what is not named stays, null takes away.
        changed = before["parameters"] | parameters
        merged["parameters"] = {name: body for name, body in changed.items() if body is not None}
    spec = parse(before | merged)
    if {"parameters", "constraints", "pruner"} & changes.keys():
        spec = check_search(spec, study.facts.blocks)
    if spec.budget.trials is not None and spec.budget.trials < study.n_created:
        raise InvalidInput.at("budget.trials", f"{study.n_created} trials were started already; give at least that many")
    return spec


def _earlier(change: Change, key: str, body_hash: str) -> Study | None:
    remembered = study_rows.remembered_request(change.connection, key)
    if remembered is None:
        return None
    if remembered[0] != body_hash:
        raise Conflict("this Idempotency-Key came with another body before; use a new key for a new study")
    return _get(change, remembered[1])


def _get(change: Change, study_id: str) -> Study:
    study = study_rows.get_study(change.connection, study_id)
    if study is None:
        raise NotFound(f"no study {study_id!r}")
    return study


def _get_trial(change: Change, study_id: str, number: int) -> Trial:
    trial = trial_rows.get_trial(change.connection, study_id, number)
    if trial is None:
        raise NotFound(f"no trial {number} in study {study_id!r}")
    return trial


def _check_version(study: Study, version: int | None) -> None:
    if version is not None and version != study.version:
        raise StaleVersion()


def _check_changeable(study: Study, changes: Mapping[str, Any]) -> None:
    if study.state in LIVE_STUDY_STATES or set(changes) <= {"notes", "tags"}:
        return
    if study.state == "stopped":
        raise Conflict(f"study {study.name!r} was stopped by a user; only its notes and tags can be changed")
    if "budget" not in changes:
        raise Conflict(f"study {study.name!r} is {study.state}; without a larger budget only its notes and tags can be changed")


def _go_on(change: Change, study: Study, now: datetime) -> None:
    """A study that is over, or runs for extended trials only, searches on if its budget leaves it something to do."""
    if exhausted(change.connection, study, now) is not None:
        return
    if study.reopened_from is not None:
        study_rows.draw_again(change.connection, study.id)
    _reopen(change, study, for_one_trial=False, now=now)


def differences(before: StudySpec, after: StudySpec) -> str:
    """What changed from one spec to the other, for the audit log: `budget.trials 20 → 40, parallelism 4 → 8`."""
    old, new = (_flat(spec.model_dump(mode="json")) for spec in (before, after))
    changed = [name for name in old | new if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {json.dumps(old.get(name))} → {json.dumps(new.get(name))}" for name in changed)[:_MOST_DETAIL]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) and value else {f"{prefix}{name}": value}
    return found


def _reopen(change: Change, study: Study, *, for_one_trial: bool, now: datetime) -> None:
    """A study that is over runs again. Raises Conflict if another live study has its name by now."""
    if study.state in LIVE_STUDY_STATES:
        return
    if study_rows.live_study_named(change.connection, study.name) is not None:
        raise Conflict(f"another study named {study.name!r} is running or paused; stop that one first")
    study_rows.reopen(change.connection, study.id, for_one_trial=for_one_trial, now=now)
    change.tell("study", study_id=study.id, state="running")


def note(change: Change, actor: Actor, action: str, subject: str, now: datetime, detail: str | None = None) -> None:
    """A line of the audit log, in the transaction of what it tells of."""
    access_rows.insert_audit(
        change.connection,
        at=now,
        token=actor.token,
        address=actor.address,
        action=action,
        subject=subject,
        detail=detail,
    )

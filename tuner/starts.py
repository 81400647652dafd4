"""What a study starts with: the untuned default, the literature's, configurations that a user names, and earlier studies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from studies.configurations import Configuration, fits, nearest_allowed
from studies.definition import ParamValue
from studies.errors import InvalidInput
from studies.space import active, nearest
from tuner.db import metric_rows, study_rows, trial_rows
from tuner.db.engine import Connection
from tuner.records import Origin, Prior, Study, Trial
from tuner.spec import CheckedStudy, constraints_of, objective_of

_MOST_RELATED = 300  # trials of related studies that the sampler looks at in each draw, about
_MOST_TAKEN_OVER = 4  # best configurations of earlier studies that are tried first; one of each where there are more studies


@dataclass(frozen=True, kw_only=True)
class FirstTrial:
    """A trial that is not drawn; parameters left out are."""

    origin: Origin
    params: Mapping[str, ParamValue]


@dataclass(frozen=True, kw_only=True)
class Lessons:
    """What earlier studies tell a new one."""

    priors: tuple[Prior, ...] = ()  # what the sampler knows: trials of the same problem as if they were its own, and related ones
    best: tuple[Configuration, ...] = ()  # worth trying first


def first_trials(checked: CheckedStudy, lessons: Lessons) -> list[FirstTrial]:
    """In the order they run. The untuned default, if it is wanted, is the first; no configuration comes twice.

    The literature speaks only where the user left the space to us, and uses up a fifth of the budget at most.
    """
    budget = checked.spec.budget.trials
    found = [FirstTrial(origin="default", params=default_params(checked))] if checked.spec.untuned_default else []
    found += [FirstTrial(origin="enqueued", params=params) for params in checked.spec.start_with]
    found += [FirstTrial(origin="enqueued", params=params) for params in lessons.best]
    if checked.auto:
        recipes = checked.definition.recipes(checked.model)[: len(found) if budget is None else max(0, budget // 5)]
        found += [FirstTrial(origin="literature", params=_moved_in(checked, recipe.params)) for recipe in recipes]
    distinct = [one for i, one in enumerate(found) if all(one.params != earlier.params for earlier in found[:i])]
    return distinct if budget is None else distinct[:budget]


def default_params(checked: CheckedStudy) -> Configuration:
    """The untuned default: what the task's common trainer would use, moved into the space where it lies outside."""
    return _moved_in(checked, {})


def _moved_in(checked: CheckedStudy, wanted: Mapping[str, ParamValue]) -> Configuration:
    """The configuration of the space that is closest to `wanted` and, where that says nothing, to the untuned default."""
    given: Configuration = {}
    for name, parameter in checked.space.items():
        rule = checked.definition.hyperparameter(name)
        if rule is not None and active(parameter, given):
            given[name] = nearest(parameter, wanted.get(name, rule.default))
    return nearest_allowed(checked.space, constraints_of(checked.spec, checked.space, checked.model.blocks), given)


def learn(connection: Connection, checked: CheckedStudy) -> Lessons:
    """What the studies named by `warm_start` tell. Raises InvalidInput for one that does not exist or has nothing to tell.

    Values of another problem (task, model, data or metric differ) can't be compared with this one's: of such a study the best
    configurations are tried, and the sampler is told which ones were good there and which were not.
    """
    maximize = objective_of(checked.spec).direction == "maximize"
    priors: list[Prior] = []
    ranked: list[list[Configuration]] = []
    sources = checked.spec.warm_start
    for index, named in enumerate(sources):
        study = study_rows.find_study(connection, named)
        if study is None:
            raise InvalidInput.at(
                f"warm_start[{index}]", f"there is no study {named!r}; give the name or id of one on this service"
            )
        scored = _scored(connection, checked, study)
        if not scored:
            raise InvalidInput.at(
                f"warm_start[{index}]",
                f"no completed trial of {study.name!r} lies in this study's space and has a {objective_of(checked.spec).metric}",
            )
        known = [Prior(params=t.params, value=value, source=f"{study.name} {t.number}"[:300]) for t, value, _ in scored]
        if not _same_problem(checked, study):
            known = related(sorted(known, key=lambda prior: prior.value, reverse=maximize), of=len(sources))
        priors += known
        ranked.append([params for _, _, params in sorted(scored, key=lambda one: one[1], reverse=maximize)])
    return Lessons(priors=tuple(priors), best=tuple(taken_over(ranked)))


def related(best_first: Sequence[Prior], *, of: int) -> list[Prior]:
    """What the sampler is told of one of several related studies: its best tenth as good, of all others a selection.

    The selection is spread evenly over the ranks, so that of however many trials the same share is good.
    """
    count = min(len(best_first), max(10, _MOST_RELATED // of))
    chosen = [best_first[rank * len(best_first) // count] for rank in range(count)]
    return [replace(prior, good=rank < math.ceil(count / 10)) for rank, prior in enumerate(chosen)]


def taken_over(ranked: Sequence[Sequence[Configuration]]) -> list[Configuration]:
    """Which configurations of earlier studies (each best first) are worth trying first: a few, from each study alike."""
    each = max(1, _MOST_TAKEN_OVER // max(1, len(ranked)))
    return [params for rank in range(each) for several in ranked for params in several[rank : rank + 1]]


def _scored(connection: Connection, checked: CheckedStudy, study: Study) -> list[tuple[Trial, float, Configuration]]:
    """The completed trials inside the new study's space: with their value of its objective, and as it would run them."""
    metric = objective_of(checked.spec).metric
    maximize = objective_of(checked.spec).direction == "maximize"
    same = objective_of(study.spec).metric == metric
    reports = {} if same else metric_rows.scores_of_study(connection, study.id, metric)
    found = []
    for trial in trial_rows.trials_of(connection, study.id):
        points = [point.value for point in reports.get(trial.number, ()) if point.value == point.value]
        reported = (max(points) if maximize else min(points)) if points else None
        value = trial.value if same else trial.values.get(metric, reported)
        params = _effective(checked, trial.params)
        if trial.state == "completed" and value is not None and fits(checked.space, params):
            found.append((trial, value, params))
    return found


def _effective(checked: CheckedStudy, params: Mapping[str, ParamValue]) -> Configuration:
    """`params` in the new space: what it searches beyond them had its default, what does not exist under them is left out."""
    found: Configuration = {}
    for name, parameter in checked.space.items():
        if active(parameter, found):
            rule = checked.definition.hyperparameter(name)
            found[name] = params[name] if name in params else (rule.default if rule else None)
    return found


def _same_problem(checked: CheckedStudy, study: Study) -> bool:
    spec = checked.spec
    data: Sequence[object] = (checked.data.fingerprint, study.facts.fingerprint) if checked.data else (spec.data, study.spec.data)
    return spec.task == study.spec.task and spec.model == study.spec.model and data[0] == data[1]

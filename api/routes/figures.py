"""`/studies/{id}/figures`: plotly figures for the dashboard and for anyone who draws with plotly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.dashboard.figures import FIGURES, FigureInput, figure_json
from api.dashboard.figures_of_parameters import given_to_importances
from api.deps import Now, ServiceDep, StudyDep, requires
from studies.errors import InvalidInput, known
from tuner.db import lease_rows, metric_rows, worker_rows
from tuner.errors import NotFound
from tuner.records import Attempt, MetricPoint, Study, Trial, Worker
from tuner.search import importances
from tuner.sections import Text
from tuner.service import Service

router = APIRouter(prefix="/api/v1/studies/{study_id}/figures", tags=["figures"])
Choice = Annotated[Text | None, Query(max_length=300)]


@router.get(
    "/{name}",
    dependencies=[requires("viewer")],
    responses={200: {"content": {"application/json": {"schema": {"type": "object", "required": ["data", "layout"]}}}}},
)
def show_figure(
    study: StudyDep,
    name: Annotated[Text, Path(max_length=50)],
    service: ServiceDep,
    now: Now,
    metric: Choice = None,
    x: Choice = None,
    y: Choice = None,
    trials: Annotated[Text | None, Query(max_length=500, description="Numbers of trials that are drawn in any case.")] = None,
) -> Response:
    """A figure as plotly.js takes it. `metric` is e.g. `accuracy` or `train/loss`; `x` and `y` are parameters; for curves, `x`
    is epoch, step or time. A figure of many trials leaves some out and says so in its subtitle."""
    if name not in FIGURES:
        raise NotFound(f"no figure {name!r}; {known(list(FIGURES))}")
    kept = _numbers(trials)
    with service.ledger.read() as connection:
        all_trials = service.trials.trials_of(connection, study.id, now=now)
    given = FigureInput(
        study=study,
        trials=all_trials,
        metrics=_metrics(service, study),
        attempts=_attempts(service, all_trials),
        importances=lambda: importances(study, given_to_importances(all_trials)),
        now=now,
        workers=lambda: _workers(service),
        metric=metric,
        x=x,
        y=y,
        kept=kept,
    )
    return Response(figure_json(FIGURES[name](given)), media_type="application/json")


def _numbers(text: str | None) -> frozenset[int]:
    """Raises InvalidInput."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if any(not part.isdecimal() or len(part) > 9 for part in parts):
        raise InvalidInput.at("trials", f"must be trial numbers separated by commas, such as 3,7,9, not {text!r}")
    return frozenset(int(part) for part in parts)


def _metrics(service: Service, study: Study) -> Callable[[Sequence[int]], Mapping[int, Sequence[MetricPoint]]]:
    def read(numbers: Sequence[int]) -> Mapping[int, Sequence[MetricPoint]]:
        with service.ledger.read() as connection:
            return metric_rows.metrics_of_study(connection, study.id, numbers=numbers)

    return read


def _attempts(service: Service, trials: Sequence[Trial]) -> Callable[[Sequence[int]], Mapping[int, Sequence[Attempt]]]:
    def read(numbers: Sequence[int]) -> Mapping[int, Sequence[Attempt]]:
        wanted = set(numbers)
        number_of = {trial.id: trial.number for trial in trials if trial.number in wanted}
        found: dict[int, list[Attempt]] = {number: [] for number in numbers}
        with service.ledger.read() as connection:
            for attempt in lease_rows.attempts_of(connection, *number_of):
                found[number_of[attempt.trial_id]].append(attempt)
        return found

    return read


def _workers(service: Service) -> Mapping[str, Worker]:
    with service.ledger.read() as connection:
        return {worker.id: worker for worker in worker_rows.list_workers(connection)}

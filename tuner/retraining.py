"""Training a trial's job again, in this process: to get the same numbers, or to see how much they owe to the seed."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from studies.catalog import definition
from studies.definition import Keep, Metric, Outcome, Verdict
from tuner.errors import TunerError


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One configuration under several seeds."""

    metric: str
    values: Mapping[int, float]  # seed → the objective
    best_seed: int

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values.values())

    @property
    def deviation(self) -> float:
        """Standard deviation between seeds; 0 for one seed."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else 0.0


class _KeepNothing(Keep):
    """The model would be thrown away, so it is not even saved."""

    def wants_model(self, values: Mapping[str, float]) -> bool:
        return False


def job_in(trial: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial keeps of its job. Raises TunerError where it keeps none."""
    job = (trial.get("details") or {}).get("job")
    if not isinstance(job, dict):
        raise TunerError(
            f"trial {trial.get('number')} does not say how it was trained: it has not ended, or a program of yours did it"
        )
    return job


def train_again(recipe: Mapping[str, Any], output: Path | None, report: Callable[[Sequence[Metric]], None]) -> Outcome:
    """Train a job to its end; its model goes to `output` if that is given. Raises InvalidInput and TrialFailure."""
    from studies.training.provenance import job_of  # brings torch, which few commands need

    def go_on(metrics: Sequence[Metric]) -> Verdict:
        report(metrics)
        return Verdict()

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuner-")))
        job = job_of(recipe, folder)
        outcome = definition(job.task).train(job, go_on, Keep() if output is not None else _KeepNothing())
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder / "model", output)
    return outcome


def spread(
    recipe: Mapping[str, Any], seeds: Sequence[int], output: Path | None, report: Callable[[int, Outcome], None]
) -> Spread:
    """Train a job with each of `seeds`; the model of the best seed goes to `output` if that is given."""
    values: dict[int, float] = {}
    sign = 1 if recipe["direction"] == "maximize" else -1
    best: int | None = None
    with ExitStack() as stack:
        models = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tuner-")))
        for seed in seeds:
            # To its end: all that stop where a target is reached would score alike, and say nothing of luck.
            job = {**recipe, "seed": seed, "target": None}
            outcome = train_again(job, models / str(seed) if output is not None else None, lambda metrics: None)
            values[seed] = float(outcome.values[recipe["metric"]])
            report(seed, replace(outcome, details={}))
            if best is None or sign * values[seed] > sign * values[best]:
                best = seed
            for beaten in set(values) - {best}:
                shutil.rmtree(models / str(beaten), ignore_errors=True)
        if output is not None:
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(models / str(best), output)
    assert best is not None  # at least one seed is asked for
    return Spread(metric=str(recipe["metric"]), values=values, best_seed=best)

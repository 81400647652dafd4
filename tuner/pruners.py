"""The pruners that a study may name, with their options, and which of them can ever stop a trial of which study."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from studies.errors import FieldError
from tuner.sections import Name, Real, Section, Whole

Epochs = Annotated[Real, Field(ge=0.001, le=1_000_000)]  # fractions count where trials report more often than once an epoch


class NoPruner(Section):
    """Every trial runs to its end."""

    name: Literal["none"]


class _Pruner(Section):
    """What every rule that stops trials has."""

    metric: Name | None = None  # the score it looks at; None: the objective, of several the first that is reported while training
    min_epochs: Epochs = 1.0  # stops nothing before


class MedianPruner(_Pruner):
    """Stops a trial whose best score so far is worse than the median of what the others had at the same epoch.

    The others are all that got so far, running ones too (after the median stopping rule of Google Vizier, Golovin et al. 2017).
    """

    name: Literal["median"]
    startup_trials: Whole = Field(default=5, ge=1, le=10_000)  # stops nothing before so many others have come so far


class PercentilePruner(_Pruner):
    """As `median`, with another bar: a trial goes on if it is among the best `percentile` percent."""

    name: Literal["percentile"]
    percentile: Real = Field(default=25.0, gt=0, lt=100)
    startup_trials: Whole = Field(default=5, ge=1, le=10_000)


class _Halving(_Pruner):
    reduction_factor: Whole = Field(default=3, ge=2, le=1_000)  # of those that reach a rung, one in so many goes on
    promotion: bool = True  # the others wait at the rung and go on once they rank high enough; false: they are stopped for good


class AshaPruner(_Halving):
    """Asynchronous successive halving (Li et al. 2020): of those that reach a rung, the best 1/reduction_factor go on."""

    name: Literal["asha"] = "asha"


class HyperbandPruner(_Halving):
    """Asynchronous Hyperband (Li et al. 2018, 2020): successive halving in brackets whose first rungs lie at different epochs."""

    name: Literal["hyperband"]
    max_epochs: Epochs | None = None  # what the brackets are laid out for; None: the most epochs that the space allows


class ThresholdPruner(_Pruner):
    """Stops a trial whose score leaves the range from `lower` to `upper`."""

    name: Literal["threshold"]
    lower: Real | None = None
    upper: Real | None = None

    @model_validator(mode="after")
    def _some_bound(self) -> ThresholdPruner:
        if self.lower is None and self.upper is None:
            raise ValueError("sets no bound; give lower, upper or both")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower, {self.lower:g}, must be below upper, {self.upper:g}")
        return self


class PatientPruner(_Pruner):
    """Stops a trial whose best score has not risen by more than `min_delta` for `patience` epochs."""

    name: Literal["patient"]
    patience: Epochs = 2.0
    min_delta: Real = Field(default=0.0, ge=0)


Pruner = Annotated[
    NoPruner | MedianPruner | PercentilePruner | AshaPruner | HyperbandPruner | ThresholdPruner | PatientPruner,
    Field(discriminator="name"),
]
PRUNERS: tuple[type[Section], ...] = (
    NoPruner,
    MedianPruner,
    PercentilePruner,
    AshaPruner,
    HyperbandPruner,
    ThresholdPruner,
    PatientPruner,
)


def promotes(pruner: Pruner) -> bool:
    """Whether trials may wait at a rung to go on later."""
    return isinstance(pruner, AshaPruner | HyperbandPruner) and pruner.promotion


def pruner_errors(pruner: Pruner, *, most_epochs: float, eval_every: float) -> list[FieldError]:
    """What keeps the rule from ever stopping a trial: known at the start, it is better said then.

    A trial is not stopped at its last report, which is at `most_epochs` epochs at the latest.
    """
    if isinstance(pruner, NoPruner):
        return []
    if most_epochs <= eval_every:
        return [
            FieldError(
                "pruner",
                f"{pruner.name} would never stop a trial: with at most {most_epochs:g} epochs and eval_every {eval_every:g}, "
                f"each reports only once, at its end; allow more epochs, set eval_every to {most_epochs / 4:g}, "
                "or use {name: none}",
            )
        ]
    last = most_epochs - eval_every
    errors = []
    if pruner.min_epochs < eval_every:
        errors.append(
            FieldError(
                "pruner.min_epochs",
                f"{pruner.min_epochs:g} is before the first report: give at least {eval_every:g}, or set eval_every "
                f"to {pruner.min_epochs:g} so that trials report as often",
            )
        )
    elif pruner.min_epochs > last:
        errors.append(_beyond("pruner.min_epochs", pruner.min_epochs, most_epochs, last))
    if isinstance(pruner, PatientPruner) and pruner.patience > last:
        errors.append(_beyond("pruner.patience", pruner.patience, most_epochs, last))
    if isinstance(pruner, HyperbandPruner) and pruner.max_epochs is not None and pruner.max_epochs < pruner.min_epochs:
        message = f"must be at least min_epochs, {pruner.min_epochs:g}; left out, it is the {most_epochs:g} epochs of the space"
        errors.append(FieldError("pruner.max_epochs", message))
    return errors


def _beyond(field: str, value: float, most_epochs: float, last: float) -> FieldError:
    return FieldError(
        field,
        f"{value:g} epochs are never left behind by a trial of at most {most_epochs:g}, and none is stopped at its end: "
        f"give at most {last:g}, or allow more epochs",
    )

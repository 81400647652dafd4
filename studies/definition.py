"""What a task is: the record that every entry of the catalog is made of, and what a trial is given and gives back.

Nothing here imports torch: the service reads definitions to check a study before anything is started.
Only `Definition.train` does, and it runs in a trial's own process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from studies.errors import TrialFailure
from studies.models import ModelFacts, model_facts

ParamValue = bool | int | float | str | None
Direction = Literal["maximize", "minimize"]
StopReason = str
# Told so, a trial leaves a checkpoint: it will be taken up again.
RESUMED_LATER: tuple[StopReason, ...] = ("paused", "preempted", "promoted_later")
# Small files beside a trial's model, by which trials are compared: they are kept when the model is not.
RESULT_FILES = ("evaluation.json", "predictions.jsonl", "attention.json")


def reaches(value: float, target: float, direction: Direction) -> bool:
    """Whether a score is at least as good as the target."""
    return value >= target if direction == "maximize" else value <= target


@dataclass(frozen=True, kw_only=True)
class Hyperparameter:
    """One setting that a task understands, and which values make sense for it."""

    name: str
    kind: Literal["float", "int", "choice"]
    default: ParamValue  # the untuned default: what transformers' TrainingArguments would use
    help: str
    low: float | None = None  # smallest legal value
    high: float | None = None  # largest legal value; None: no limit but the model's own
    low_open: bool = False  # the smallest value itself is not legal
    high_open: bool = False
    choices: tuple[ParamValue, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where examples come from; the `data` part of a study file."""

    train: str
    validation: str | float = 0.1
    test: str | float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What reading the data showed, known before the first trial starts."""

    train_rows: int
    validation_rows: int
    test_rows: int
    fingerprint: str  # sha256 over every split's rows: trials of one study saw the same data
    classes: tuple[str, ...] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)  # metric → score without any model


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number a trial reports. `step` counts optimiser steps, `epoch` is a share of the data seen (1.0 = all once)."""

    name: str
    value: float
    step: int
    epoch: float
    split: Literal["train", "validation", "test"] = "validation"


@dataclass(frozen=True)
class Verdict:
    """The answer to a report: go on, or stop and why (`pruned`, `stopped`, `lost`, or one of RESUMED_LATER)."""

    stop: bool = False
    reason: StopReason | None = None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A file from which the trial can be taken up again after `epoch` epochs and `step` optimiser steps."""

    file: Path
    epoch: float
    step: int


Report = Callable[[Sequence[Metric]], Verdict]


class Keep:
    """What becomes of what a trial leaves behind. By this one checkpoints go at once, and every model is saved."""

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Take over its file, at once or soon."""
        checkpoint.file.unlink(missing_ok=True)

    def wants_model(self, values: Mapping[str, float]) -> bool:
        """Whether to save the model of a trial that has ended with `values`."""
        return True


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that one trial needs to know. `params` holds searched and fixed values; what it lacks has the definition's default."""

    task: str
    model: str
    data: DataSpec
    metric: str  # the objective
    direction: Direction
    params: Mapping[str, ParamValue]
    data_seed: int  # splits and the shuffle before `limit`: one for all trials of a study
    seed: int  # initial head, batch order, dropout: one for each trial
    fingerprint: str | None  # what the data must be; None: not checked
    device: str  # "cpu", "cuda", …
    threads: int  # CPU threads this trial may use
    ranks: int = 1  # processes that train together, each on a device of its own and on its share of every batch
    eval_every: float = 1.0  # epochs between two evaluations, each of them reported; the last one is at the end of training
    folder: Path  # the trial's own; what is left in `folder / "model"` is kept
    shared: Path | None = None  # where trials of this machine share what is computed once: the states of frozen prefixes
    shared_bytes: int = 0  # how much may lie there
    resume: Path | None = None  # a checkpoint of an earlier attempt to go on from
    legs: tuple[int, ...] = ()  # the epochs at which each run of the schedule ends; empty: one run of all epochs
    target: float | None = None  # a score of the objective that is good enough: training ends at the evaluation that reaches it


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a trial ended with. `values` belong to the best epoch, whose weights are in the model folder if they are wanted."""

    values: Mapping[str, float]
    stopped: StopReason | None = None  # None: ran to its end
    epoch: float = 0.0  # the epoch `values` belong to
    details: Mapping[str, Any] = field(default_factory=dict)  # trainable parameters, seconds by part, versions, …


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters that a publication recommends; values outside a study's space are moved into it."""

    source: str  # authors, year, where in the text
    params: Mapping[str, ParamValue]


def no_recipes(_: ModelFacts) -> tuple[Recipe, ...]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One entry of the catalog: a task and everything the service must know of it."""

    task: str  # "text-classification"
    title: str
    metrics: Mapping[str, Direction]  # what can be an objective
    columns: Mapping[str, str]  # role → default column name
    hyperparameters: tuple[Hyperparameter, ...]
    default_space: Mapping[str, Mapping[str, Any]]  # what `parameters: auto` stands for, where the model says nothing else
    inspect: Callable[[DataSpec, int], DataFacts]  # (data, seed) → facts, or InvalidInput; reads every row, no torch
    train: Callable[[Job, Report, Keep], Outcome]  # raises TrialFailure; imports torch only when called
    # (folder of a model that a trial left, inputs) → one answer an input, in their order; imports torch only when called
    predict: Callable[[Path, Sequence[str]], Sequence[Mapping[str, Any]]]
    # A study's `model` → its facts, or InvalidInput; other than `model_facts` where blocks are counted in another way.
    model_facts: Callable[[str], ModelFacts] = model_facts
    # What the literature recommends for such a model: the first trials of `parameters: auto`, beside the untuned default.
    recipes: Callable[[ModelFacts], tuple[Recipe, ...]] = no_recipes

    def auto_space(self, model: ModelFacts) -> Mapping[str, Mapping[str, Any]]:
        """What `parameters: auto` stands for: large models bear no learning rate above 3e-4 when all of them is trained."""
        rate = self.default_space.get("learning_rate")
        if rate is None or model.hidden_size is None or model.hidden_size <= 512:
            return self.default_space
        return {**self.default_space, "learning_rate": {**rate, "max": min(rate["max"], 3e-4)}}

    def hyperparameter(self, name: str) -> Hyperparameter | None:
        return next((known for known in self.hyperparameters if known.name == name), None)

    def completed(self, params: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
        """`params`, and the default of every hyperparameter that they do not name."""
        return {known.name: known.default for known in self.hyperparameters} | dict(params)

    def complete(self, job: Job) -> Job:
        """`job` with a value for every hyperparameter.

        Raises TrialFailure("code") where it names one that the task does not know: the study was checked by other code.
        """
        unknown = sorted(set(job.params) - {known.name for known in self.hyperparameters})
        if unknown:
            raise TrialFailure(
                "code", f"{self.task} knows no parameter {', '.join(unknown)}: the study was checked by other code"
            )
        return replace(job, params=self.completed(job.params))

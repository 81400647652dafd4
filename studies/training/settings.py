"""The hyperparameters of one trial, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from studies.definition import ParamValue
from studies.errors import TrialFailure


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `Job.params` holds once every default is filled in; the catalog says what each means."""

    learning_rate: float
    batch_size: int
    epochs: int
    frozen_layers: int
    optimizer: Literal["adamw", "adam", "sgd"]
    momentum: float
    weight_decay: float
    warmup_ratio: float
    schedule: Literal["linear", "cosine", "constant"]
    dropout: float | None
    label_smoothing: float
    max_grad_norm: float
    max_length: int


def settings_of(params: Mapping[str, ParamValue]) -> Settings:
    """`params` as settings. Raises TrialFailure("code") where one is unknown or missing: the study was checked by other code."""
    names = {entry.name for entry in fields(Settings)}
    if set(params) != names:
        different = ", ".join(sorted(names ^ set(params)))
        raise TrialFailure("code", f"this trainer knows other parameters than the study was checked with: {different}")
    # A whole number may come as 3.0: JSON does not tell the two apart.
    values: dict[str, Any] = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in params.items()}
    return Settings(**values)

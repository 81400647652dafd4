"""The hyperparameters of one trial, typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
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
    train: Literal["all", "head", "norms", "bias", "lora"]
    optimizer: Literal["adamw", "adam", "sgd"]
    momentum: float
    weight_decay: float
    warmup_ratio: float
    schedule: Literal["linear", "cosine", "constant"]
    dropout: float | None
    label_smoothing: float
    max_grad_norm: float
    precision: Literal["float32", "bfloat16"]
    accumulation: int
    patience: int
    layer_decay: float
    gradual_unfreezing: int = 0  # blocks an epoch
    lora_rank: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    lora_targets: Literal["query_value", "attention", "all"] = "query_value"
    class_weights: Literal["none", "balanced"] = "none"
    token_drop: float = 0.0
    token_swap: float = 0.0
    max_length: int = 0  # tokens; 0: the task reads no text
    own: Mapping[str, Any] = field(default_factory=dict)  # what only one task understands


def settings_of(params: Mapping[str, ParamValue]) -> Settings:
    """`params` as settings. Raises TrialFailure("code") where one is missing: the study was checked by other code."""
    names = {entry.name for entry in fields(Settings)} - {"own"}
    missing = {entry.name for entry in fields(Settings) if entry.default is MISSING and entry.name != "own"} - set(params)
    if missing:
        raise TrialFailure("code", f"this trainer wants parameters that the trial was not given: {', '.join(sorted(missing))}")
    # A whole number may come as 3.0: JSON does not tell the two apart.
    values: dict[str, Any] = {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in params.items()}
    own = {name: value for name, value in values.items() if name not in names}
    return Settings(**{name: value for name, value in values.items() if name in names}, own=own)

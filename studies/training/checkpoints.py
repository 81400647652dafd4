"""The point at which a trial can be taken up again: one safetensors file, its JSON part in the header.

Resumed from it, a trial goes on bit for bit as if it had never been interrupted (on a CPU, with the same packages). Only
what training changes is kept: trained parameters and buffers, the optimiser's state, the schedule's, every random
generator's, and the best epoch so far. Frozen parameters come from the base model again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from studies.errors import TrialFailure

_FORMAT = "tuner checkpoint 2"
# Written, sent and kept by the service it takes about a second for 100 MB: a tenth of the time at most. Small ones cost nothing.
_BYTES_A_SECOND, _FREE_BYTES = 10_000_000, 50_000_000


@dataclass(kw_only=True)
class Progress:
    """How far training is; all of the loop's own state."""

    epoch: float = 0.0  # finished ones
    step: int = 0  # optimiser steps
    best_epoch: float = 0.0
    since_best: int = 0  # evaluations
    best: dict[str, float] = field(default_factory=dict)  # scores of the best epoch
    best_weights: dict[str, Tensor] = field(default_factory=dict)  # what training had made of the model by then; on the CPU


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    """What training changes: parameters that get gradients, and buffers. The model's own tensors, not copies."""
    trained = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    return trained | dict(model.named_buffers())


def put_back(state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Give the tensors that `trained_state` gave the values of `weights`, in place: the optimiser goes on with them."""
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(weights[name])


def worth_keeping(state: Mapping[str, Tensor], seconds: float) -> bool:
    """Whether to keep one of `state` within an epoch, for the `seconds` of training since the last one."""
    size = 3 * sum(tensor.nbytes for tensor in state.values())  # the optimiser has up to two numbers for each that is trained
    return size <= _FREE_BYTES + _BYTES_A_SECOND * seconds


def save_checkpoint(
    file: Path, state: Mapping[str, Tensor], optimizer: Optimizer, schedule: LRScheduler, progress: Progress
) -> None:
    """Write `file` all at once: whoever finds it finds it whole. `state` is what `trained_state` gave."""
    tensors = dict(_prefixed("model", state))
    # While the latest epoch is the best one its weights are the model's own.
    if progress.best_epoch != progress.epoch:
        tensors |= _prefixed("best", progress.best_weights)
    memory = optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in memory["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{name}"] = value
            else:
                scalars.setdefault(str(index), {})[name] = value
    tensors["rng.torch"] = torch.get_rng_state()
    for index, generator in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []):
        tensors[f"rng.cuda.{index}"] = generator
    header = {
        "epoch": progress.epoch,
        "step": progress.step,
        "best_epoch": progress.best_epoch,
        "since_best": progress.since_best,
        "best": progress.best,
        "groups": memory["param_groups"],
        "scalars": scalars,
        "schedule": {name: value for name, value in schedule.state_dict().items() if name != "lr_lambdas"},
    }
    unfinished = file.with_suffix(".part")
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, unfinished, metadata={"format": _FORMAT, "header": json.dumps(header)})
    unfinished.replace(file)


def load_checkpoint(file: Path, state: Mapping[str, Tensor], optimizer: Optimizer, schedule: LRScheduler) -> Progress:
    """Put everything back as it was when `file` was written. `state` is what `trained_state` gave.

    Raises TrialFailure("data") if it is damaged or of another model; nothing was changed then.
    """
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = handle.metadata() or {}
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}
        if metadata.get("format") != _FORMAT:
            raise TrialFailure("data", f"the checkpoint {file.name} has the format {metadata.get('format')!r}, not {_FORMAT!r}")
        header = json.loads(metadata["header"])
        latest_is_best = header["best_epoch"] == header["epoch"]
        progress = Progress(
            epoch=header["epoch"],
            step=header["step"],
            best_epoch=header["best_epoch"],
            since_best=header["since_best"],
            best=header["best"],
            best_weights=_under("model" if latest_is_best else "best", tensors),
        )
        generator = tensors["rng.torch"]
        schedule_state = header["schedule"] | {"lr_lambdas": [None] * len(header["groups"])}
        weights = _under("model", tensors)
        _check_fit(state, weights)
        optimizer.load_state_dict(_optimizer_state(header, tensors))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise TrialFailure("data", f"the checkpoint {file.name} can't be used: {error}") from error
    schedule.load_state_dict(schedule_state)
    put_back(state, weights)
    torch.set_rng_state(generator)
    # Written on a machine with fewer GPUs, or none, it says nothing of the others.
    for index in range(torch.cuda.device_count()):
        if (of_gpu := tensors.get(f"rng.cuda.{index}")) is not None:
            torch.cuda.set_rng_state(of_gpu, index)
    return progress


def _check_fit(state: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError unless `weights` are those of this model, frozen where it is."""
    expected = {name: tensor.shape for name, tensor in state.items()}
    found = {name: tensor.shape for name, tensor in weights.items()}
    if found != expected:
        example = next(name for name in sorted(expected | found) if expected.get(name) != found.get(name))
        raise ValueError(f"it is of another model or depth: {example} is {found.get(example)}, not {expected.get(example)}")


def _optimizer_state(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in header["scalars"].items()}
    for name, tensor in _under("optimizer", tensors).items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    # JSON has no tuples, and Adam's `betas` is one.
    groups = [{key: tuple(v) if key == "betas" else v for key, v in group.items()} for group in header["groups"]]
    return {"state": state, "param_groups": groups}


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> Iterable[tuple[str, Tensor]]:
    return ((f"{prefix}.{name}", tensor) for name, tensor in tensors.items())


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}

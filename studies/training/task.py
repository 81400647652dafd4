"""What a task gives the training loop, which is the same for all of them.

A file `studies/training/<task>.py` has one function of the kind `Prepare`: it reads the data, loads the model and encodes
the examples. The loop then freezes, trains, asks for an evaluation each epoch, and saves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel

from studies.definition import Job
from studies.splits import Splits
from studies.training.data import Encoded
from studies.training.settings import Settings

EVALUATION_BATCH_SIZE = 64

Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on one split."""

    scores: Mapping[str, float]  # metric → value; the task's metrics, `loss` always among them
    predictions: Sequence[Mapping[str, Any]] = ()  # what was asked, expected and answered, in the order of the rows
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # class → precision, recall, f1, rows

    def files(self) -> dict[str, str]:
        """Name and content of the files that keep it beside the best model."""
        summary = {"scores": dict(self.scores), "classes": self.classes}
        lines = [json.dumps(prediction, ensure_ascii=False) for prediction in self.predictions]
        return {
            "evaluation.json": json.dumps(summary, indent=2, ensure_ascii=False) + "\n",
            "predictions.jsonl": "".join(line + "\n" for line in lines),
        }


class Processor(Protocol):
    """What turns examples into tensors (a tokenizer, …), and is kept with the model."""

    def save_pretrained(self, save_directory: str | Path) -> Any: ...


def unchanged(batch: Batch) -> Batch:
    return batch


@dataclass(frozen=True, kw_only=True)
class Task:
    """One trial's data, model and measure, ready to be trained."""

    splits: Splits[Any]
    model: PreTrainedModel  # on the CPU, nothing frozen
    processor: Processor
    training: Encoded
    validation: Encoded
    counts: Sequence[int] | None = None  # by how much each example of `training` counts in a mean loss; None: all alike
    loss: Callable[[Any, Batch], Tensor]  # what the model put out for a batch, and the batch's targets → mean loss
    # The model (or what stands in for it), examples of `validation`, and the device that they are computed on.
    evaluate: Callable[[Any, Encoded, str], Evaluation]
    evaluates_whole: bool = False  # `evaluate` needs the model itself, for example to generate
    augment: Callable[[Batch], Batch] = unchanged  # the inputs of a training batch, changed at random by torch's generator
    # Instead of `Evaluation.predictions`: texts that the best model (on a device) writes at the end, for people to read.
    samples: Callable[[Any, str], Sequence[Mapping[str, Any]]] | None = None


Prepare = Callable[[Job, Settings], Task]

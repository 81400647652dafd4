"""Using a model: what it puts out for encoded examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.utils import logging

from studies.training.data import Encoded, evaluation_batches

BATCH_SIZE = 32


def quietly() -> None:
    """A trial's output is its metrics: transformers' progress bars and the (expected) report of a new head are noise."""
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


@torch.inference_mode()
def outputs_of(model: Any, encoded: Encoded, batch_size: int, device: str) -> Iterator[tuple[list[int], Any]]:
    """Rows of each batch and what the model puts out for them; every row once. Leaves the model in eval mode."""
    model.train(False)
    for rows in evaluation_batches(encoded.lengths, batch_size):
        yield rows, model(**encoded.batch(rows, device))


def compute_logits(model: Any, encoded: Encoded, batch_size: int, device: str) -> Tensor:
    """Logits [examples, classes], on the CPU, in the order of the examples. Leaves the model in eval mode."""
    found = [(rows, outputs.logits.cpu()) for rows, outputs in outputs_of(model, encoded, batch_size, device)]
    back = torch.tensor([row for rows, _ in found for row in rows]).argsort()
    return torch.cat([logits for _, logits in found])[back]

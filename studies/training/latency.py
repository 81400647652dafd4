"""How long a trained model takes for one example: what whoever serves it will wait for."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch

from studies.training.data import Encoded

_EXAMPLES = 5  # the median of as many is as steady as that of 8


@torch.inference_mode()
def latency(model: Any, examples: Encoded, device: str) -> float:
    """Seconds of one forward pass with a single example, by the median of a few spread over `examples`, in order of length.

    An evenly spread few: short texts take less time than long ones. For models that generate it is one pass, not a whole text.
    """
    by_length = sorted(range(len(examples)), key=examples.lengths.__getitem__)
    step = max(1, len(by_length) // _EXAMPLES)
    rows = by_length[step // 2 :: step][:_EXAMPLES]
    model.train(False)
    batches = [examples.batch([row], device) for row in rows]
    model(**batches[0])  # the first pass allocates and chooses kernels
    return statistics.median(_timed(model, batch, device) for batch in batches)


def _timed(model: Any, batch: dict[str, torch.Tensor], device: str) -> float:
    _wait(device)
    began = time.perf_counter()
    model(**batch)
    _wait(device)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    """Until the device has done what it was given: a GPU answers before it is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)

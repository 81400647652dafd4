from __future__ import annotations

import time

import torch
from torch import Tensor

from studies.training.data import Encoded
from studies.training.latency import latency


class Slow(torch.nn.Module):
    """Takes a millisecond a token, and notes what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, input_ids: Tensor) -> None:
        assert not self.training and torch.is_inference_mode_enabled()
        self.seen.append(tuple(input_ids.shape))
        time.sleep(0.001 * input_ids.shape[1])


def test_it_is_the_median_of_single_examples_of_all_lengths() -> None:
    model = Slow()
    examples = Encoded(inputs={"input_ids": [torch.ones(length, dtype=torch.long) for length in range(40, 0, -1)]}, padding={})
    assert 0.018 <= latency(model, examples, "cpu") < 0.1
    assert {rows for rows, _ in model.seen} == {1}
    assert [length for _, length in model.seen[1:]] == [5, 13, 21, 29, 37]


def test_one_example_is_enough() -> None:
    assert latency(Slow(), Encoded(inputs={"input_ids": [torch.ones(2, dtype=torch.long)]}, padding={}), "cpu") > 0.001

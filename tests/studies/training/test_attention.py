from __future__ import annotations

from pathlib import Path

import pytest

from studies.errors import InvalidInput
from studies.training.attention import attention


def test_every_head_of_every_block_looks_at_all_tokens(tiny_model: str) -> None:
    maps = attention(Path(tiny_model), "the cat is red")
    assert maps.tokens == ["[CLS]", "the", "cat", "is", "red", "[SEP]"]
    assert (len(maps.weights), len(maps.weights[0]), len(maps.weights[0][0])) == (3, 2, 6)
    assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for block in maps.weights for head in block for row in head)


def test_a_folder_without_a_model_that_attends(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="its model has no attention to show"):
        attention(tmp_path, "x")

"""The mutation gate: a checker that would not notice a bug proves nothing by being silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.gate import complaints, shows
from tests.faults.mutants import MUTANTS, Patch, expired_in_two_commits, finish_counts_again

_MOST_SEEDS = 20  # the rarest is reported under three in ten (`gate.py`): one run in a thousand would miss it


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_checker_catches(mutant: Patch, monkeypatch: pytest.MonkeyPatch, in_memory: Path) -> None:
    mutant(monkeypatch)
    caught, said = MUTANTS[mutant], []
    for seed in range(1, 1 + _MOST_SEEDS):
        found = complaints(caught, in_memory / str(seed), seed)
        if shows(caught, found):
            return
        said += found
    raise AssertionError(f"{mutant.__doc__} Nothing in {_MOST_SEEDS} seeds said so; other complaints: {said[:5]}")


@pytest.mark.parametrize("mutant", [expired_in_two_commits, finish_counts_again], ids=lambda mutant: mutant.__name__)
def test_the_product_passes_under_the_same_faults(mutant: Patch, in_memory: Path) -> None:
    assert complaints(MUTANTS[mutant], in_memory, 1) == []

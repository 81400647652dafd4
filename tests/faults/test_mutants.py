"""The mutation gate: a checker that would not notice a bug proves nothing by being silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS, Caught, Patch, expired_in_two_commits, finish_counts_again
from tests.faults.simulation import Simulation
from tuner.settings import Settings

_MOST_SEEDS = 5


def run(caught: Caught, home: Path, seed: int) -> list[str]:
    settings, history = Settings(home=home / "home"), home / "history.jsonl"
    return Simulation(settings, seed, history, caught.faults, caught.fates, trials=4, most_steps=800).run()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_checker_catches(mutant: Patch, monkeypatch: pytest.MonkeyPatch, in_memory: Path) -> None:
    mutant(monkeypatch)
    caught, complaints = MUTANTS[mutant], []
    for seed in range(caught.seed, caught.seed + _MOST_SEEDS):
        found = run(caught, in_memory / str(seed), seed)
        if any(message.startswith(caught.promises) for message in found):
            return
        complaints += found
    raise AssertionError(f"{mutant.__doc__} Nothing in {_MOST_SEEDS} seeds said so; other complaints: {complaints[:5]}")


@pytest.mark.parametrize("mutant", [expired_in_two_commits, finish_counts_again], ids=lambda mutant: mutant.__name__)
def test_the_product_passes_under_the_same_faults(mutant: Patch, in_memory: Path) -> None:
    assert run(MUTANTS[mutant], in_memory, MUTANTS[mutant].seed) == []

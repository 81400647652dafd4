"""The promises hold under every seed: short here, and as many seeds as TUNER_TEST_FAULT_SEEDS says behind `make faults`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.simulation import Faults, Simulation
from tuner.settings import Settings

# Seed 1 stays for what it found once: a checkpoint that came late took the place of a newer one.
SEEDS = range(1, 1 + int(os.environ.get("TUNER_TEST_FAULT_SEEDS", "1")))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept(request: pytest.FixtureRequest, in_memory: Path, database: str, seed: int) -> None:
    url = None if database == "sqlite" else request.getfixturevalue("postgres_url")
    settings = Settings(home=in_memory, database_url=url)
    assert Simulation(settings, seed, in_memory / "history.jsonl", Faults.drawn(seed)).run() == [], f"seed {seed}"

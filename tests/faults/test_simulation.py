"""The promises hold under every seed: short here, and as many seeds as TUNER_TEST_FAULT_SEEDS says behind `make faults`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.checker import gather
from tests.faults.history import read_history
from tests.faults.simulation import LIMITED, STUDIES, Faults, Simulation
from tuner.settings import Settings

# Seed 1 stays for what it found once: a checkpoint that came late took the place of a newer one.
SEEDS = range(1, 1 + int(os.environ.get("TUNER_TEST_FAULT_SEEDS", "1")))


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
@pytest.mark.parametrize("seed", SEEDS)
def test_every_promise_is_kept(request: pytest.FixtureRequest, in_memory: Path, database: str, seed: int) -> None:
    url = None if database == "sqlite" else request.getfixturevalue("postgres_url")
    settings = Settings(home=in_memory, database_url=url)
    simulation = Simulation(settings, seed, in_memory / "history.jsonl", Faults.drawn(seed), studies=[*STUDIES, LIMITED])
    broken = simulation.run()
    simulation.note(broken)
    assert broken == [], f"seed {seed}"


def test_calls_and_answers_that_get_lost_cost_nothing(in_memory: Path) -> None:
    """A worker that asks again for a trial gets the one that it was given: nothing is leased to nobody."""
    lossy = Faults(**dict.fromkeys(vars(Faults()), 0) | {"request_lost": 150, "reply_lost": 250})
    settings = Settings(home=in_memory)
    history, fates = in_memory / "history.jsonl", {"complete": 90, "release": 10}
    assert Simulation(settings, 1, history, lossy, fates).run() == []
    evidence = gather(settings.url, read_history(history))
    assert len(evidence.trials) > 10
    assert {trial["retries"] for trial in evidence.trials} == {0}

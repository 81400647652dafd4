"""`python -m tests.faults.gate [--seeds N]`: under how many seeds each seeded bug is reported, beside the product without any.

The gate of `make test` stops at the first seed that shows a bug; this says how narrow its door is.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from tests.faults.conftest import memory_folder
from tests.faults.mutants import MUTANTS, Caught, Patch
from tests.faults.simulation import Simulation
from tuner.settings import Settings


def complaints(caught: Caught, home: Path, seed: int) -> list[str]:
    """What the checker says of a study of four trials under the mixture of faults that goes with a bug."""
    settings, history = Settings(home=home / "home"), home / "history.jsonl"
    return Simulation(settings, seed, history, caught.faults, caught.fates, trials=4, most_steps=800).run()


def shows(caught: Caught, found: Sequence[str]) -> bool:
    """Whether one of the promises is reported that the bug breaks; others may be as well."""
    return any(message.startswith(caught.promises) for message in found)


def _seeds_that_complain(mutant: Patch | None, caught: Caught, seeds: range) -> Iterator[int]:
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="tuner", dir=memory_folder()) as folder, pytest.MonkeyPatch.context() as patch:
            if mutant is not None:
                mutant(patch)
            found = complaints(caught, Path(folder), seed)
        if found if mutant is None else shows(caught, found):
            yield seed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--bugs", nargs="*", default=[mutant.__name__ for mutant in MUTANTS])
    given = parser.parse_args()
    seeds = range(1, 1 + given.seeds)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )  # silent workers are what it is about
    sys.stdout.write(f"| bug | promises | seeds of {len(seeds)} that report it | without the bug |\n|---|---|---|---|\n")
    chosen = {mutant: caught for mutant, caught in MUTANTS.items() if mutant.__name__ in given.bugs}
    for mutant, caught in chosen.items():
        with_it, without = (len(list(_seeds_that_complain(each, caught, seeds))) for each in (mutant, None))
        name = mutant.__name__.replace("_", " ")
        sys.stdout.write(f"| {name} | {', '.join(caught.promises)} | {with_it} | {without} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Does a study learn from related ones? Trials until a target is reached, with `warm_start` and without.

Six simulated fine-tuning tasks, each in turn searched anew after the five others were. Targets are shares of the way from
the untuned default to the best that 20,000 random configurations reach. `python -m benchmarks.transfer`
"""

from __future__ import annotations

import argparse
import random
import warnings
from collections.abc import Callable, Sequence

from benchmarks.simulated import FINE_TUNING_SPACE, InMemory, Params, fine_tuning, median_and_interval
from studies.catalog import definition
from studies.configurations import Configuration, draw
from studies.space import parse_space
from tuner.records import Prior
from tuner.starts import related, taken_over

TASKS = range(1, 7)
EARLIER_TRIALS, MOST_TRIALS = 30, 100
SHARES = (0.8, 0.9, 0.95, 0.98)
DEFAULT: Configuration = {"learning_rate": 5e-5, "batch_size": 8, "epochs": 3, "frozen_layers": 0, "optimizer": "adamw"}


Run = list[tuple[float, Configuration]]


def search(
    score: Callable[[Params], float],
    first: Sequence[Configuration],
    seed: int,
    trials: int,
    target: float = 2.0,
    priors: Sequence[Prior] = (),
) -> Run:
    """A study with the default sampler, until the target or the last trial."""
    study = InMemory(FINE_TUNING_SPACE, {"name": "tpe"}, seed, priors)
    done: Run = []
    for number in range(trials):
        _, params = study.ask(first[number] if number < len(first) else None)
        study.tell(number, params, score(params))
        done.append((score(params), dict(params)))
        if score(params) >= target:
            break
    return done


def best_first(run: Run) -> list[Prior]:
    return [Prior(params=params, value=score, source="") for score, params in sorted(run, key=lambda pair: -pair[0])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    space = parse_space(FINE_TUNING_SPACE, definition("text-classification").hyperparameters, blocks=6)
    rng = random.Random(0)
    drawn = [draw(space, rng) for _ in range(20_000)]
    bounds = {task: (fine_tuning(task)(DEFAULT), max(fine_tuning(task)(params) for params in drawn)) for task in TASKS}
    earlier = {
        (task, seed): best_first(search(fine_tuning(task), [DEFAULT], 1000 + seed, EARLIER_TRIALS))
        for task in TASKS
        for seed in range(seeds)
    }
    counts: dict[tuple[str, float], list[int]] = {}
    for task, seed in earlier:
        ranked = [earlier[other, seed] for other in TASKS if other != task]
        default, highest = bounds[task]
        targets = {share: default + share * (highest - default) for share in SHARES}
        best = taken_over([[dict(prior.params) for prior in priors] for priors in ranked])
        told = [prior for priors in ranked for prior in related(priors, of=len(ranked))]
        for name, first, priors in (("cold", [DEFAULT], []), ("warm", [DEFAULT, *best], told)):
            run = search(fine_tuning(task), first, seed, MOST_TRIALS, max(targets.values()), priors)
            for share, target in targets.items():
                reached = next((number for number, (score, _) in enumerate(run, 1) if score >= target), MOST_TRIALS)
                counts.setdefault((name, share), []).append(reached)
    print(f"Trials to the target: median of {len(TASKS)} tasks and {seeds} seeds (its 95 % interval), at most {MOST_TRIALS}.\n")
    print("| target: share of the possible gain | cold | warm |\n|---|---|---|")
    for share in SHARES:
        cells = ["{:g} ({:g} … {:g})".format(*median_and_interval(counts[name, share])) for name in ("cold", "warm")]
        print(f"| {share:.0%} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

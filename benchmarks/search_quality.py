"""Our search against plain Optuna with the same sampler and the same number of trials: the best score found, over many seeds.

Four trials run side by side, the oldest ends first. Prints a table in Markdown. `python -m benchmarks.search_quality`
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna

from benchmarks.simulated import PROBLEMS, InMemory, Params, Problem, median_and_interval

SIDE_BY_SIDE = 4
# (problem, sampler, trials); a draw of GP takes a hundred times as long as one of TPE, so it gets fewer trials.
CASES = [
    *((problem, sampler, 50) for problem in ("branin", "hartmann") for sampler in ("tpe", "random", "qmc", "cmaes")),
    *((problem, "gp", trials) for problem, trials in (("branin", 20), ("hartmann", 40), ("cells", 30))),
    *(("cells", sampler, 60) for sampler in ("tpe", "random", "grid")),
    *(("fine-tuning", sampler, 40) for sampler in ("tpe", "random", "qmc", "nsga2")),
]


def ours(problem: Problem, sampler: str, trials: int, seed: int) -> list[tuple[Params, float]]:
    study = InMemory(problem.space, {"name": sampler}, seed)
    done: list[tuple[Params, float]] = []
    running: list[tuple[int, Params]] = []
    for _ in range(trials):
        running.append(study.ask())
        if len(running) == SIDE_BY_SIDE:
            number, params = running.pop(0)
            study.tell(number, params, problem.score(params))
            done.append((params, problem.score(params)))
    return done + [(params, problem.score(params)) for _, params in running]


def plain(problem: Problem, sampler: str, trials: int, seed: int) -> list[tuple[Params, float]]:
    """Optuna as its documentation has it: its defaults, ask and tell."""
    study = optuna.create_study(direction="maximize", sampler=SAMPLERS[sampler](seed, problem))
    done: list[tuple[Params, float]] = []
    running: list[Any] = []
    for _ in range(trials):
        trial = study.ask()
        suggest(trial, problem.space)
        running.append(trial)
        if len(running) == SIDE_BY_SIDE:
            ended = running.pop(0)
            done.append((ended.params, problem.score(ended.params)))
            study.tell(ended, done[-1][1])
    return done + [(trial.params, problem.score(trial.params)) for trial in running]


def suggest(trial: optuna.Trial, space: Mapping[str, Any]) -> None:
    chosen: dict[str, Any] = {}
    for name, body in space.items():
        if any(chosen.get(parent) != value for parent, value in body.get("when", {}).items()):
            continue
        if "values" in body:
            chosen[name] = trial.suggest_categorical(name, body["values"])
        elif isinstance(body["min"], int):
            chosen[name] = trial.suggest_int(name, body["min"], body["max"])
        else:
            chosen[name] = trial.suggest_float(name, body["min"], body["max"], log=body.get("log", False))


def _grid(problem: Problem) -> dict[str, list[int]]:
    return {name: list(range(body["min"], body["max"] + 1)) for name, body in problem.space.items()}


SAMPLERS: Mapping[str, Callable[[int, Problem], optuna.samplers.BaseSampler]] = {
    "tpe": lambda seed, _: optuna.samplers.TPESampler(seed=seed),
    "gp": lambda seed, _: optuna.samplers.GPSampler(seed=seed),
    "random": lambda seed, _: optuna.samplers.RandomSampler(seed=seed),
    "qmc": lambda seed, _: optuna.samplers.QMCSampler(seed=seed, scramble=True),
    "cmaes": lambda seed, _: optuna.samplers.CmaEsSampler(seed=seed),
    "nsga2": lambda seed, _: optuna.samplers.NSGAIISampler(seed=seed, population_size=20),
    "grid": lambda seed, problem: optuna.samplers.GridSampler(_grid(problem), seed=seed),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS))
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"Best score after so many trials, {SIDE_BY_SIDE} at a time: median of {arguments.seeds} seeds (its 95 % interval).\n")
    print("| problem | sampler | trials | ours | plain Optuna | repeated trials, ours / Optuna |\n|---|---|---|---|---|---|")
    for name, sampler, trials in CASES:
        if sampler not in arguments.samplers or name not in arguments.problems:
            continue
        problem, cells, repeated = PROBLEMS[name], [], []
        for search in (ours, plain):
            runs = [search(problem, sampler, trials, seed) for seed in range(arguments.seeds)]
            middle, low, high = median_and_interval([max(value for _, value in run) for run in runs])
            cells.append(f"{middle:.3f} ({low:.3f} … {high:.3f})")
            repeated.append(sum(trials - len({tuple(sorted(params.items())) for params, _ in run}) for run in runs) / len(runs))
        print(
            f"| {problem.name} | {sampler} | {trials} | {' | '.join(cells)} | {repeated[0]:.1f} / {repeated[1]:.1f} |", flush=True
        )


if __name__ == "__main__":
    main()

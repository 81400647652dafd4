"""What a study of 50 trials costs in training, and what it finds: ASHA with and without promotion, median, and plain Optuna.

    python benchmarks/promotion.py [--seeds 20] [--sampler tpe] [--results FILE]

Training is simulated: learning curves of three kinds (`Task.score`) over learning rate, batch size, frozen layers and warm-up,
with the best setting elsewhere for each seed; workers that train side by side in virtual time, some trials slower than others;
going on from a checkpoint costs `RELOAD` epochs. Ours is asked as the service asks it (`tuner.search`, `tuner.pruning`),
Optuna as its documentation shows. With `--sampler random` all ways get the same configurations in the same order, so that they
differ in pruning alone; with `tpe` each has TPE (multivariate, constant liar). Prints tables in Markdown: the training time of
the whole study in epochs, summed over workers; how far its best model is behind the best that these kinds of curves allow; and
the time until it had a model as good as the one that stop-only ASHA ends with.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import itertools
import json
import math
import random
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import optuna

from tuner.records import Facts, Study, Trial
from tuner.search import Search
from tuner.spec import check, parse

TRIALS = 50
EPOCHS = 27
WORKERS = 8
RELOAD = 0.1  # epochs' time that going on from a checkpoint costs
SPACE: dict[str, Any] = {
    "learning_rate": {"min": 1e-6, "max": 1e-2, "log": True},
    "batch_size": {"values": [8, 16, 32, 64]},
    "frozen_layers": {"min": 0, "max": 6},
    "warmup_ratio": {"min": 0.0, "max": 0.5},
    "epochs": {"value": EPOCHS},
}
Params = Mapping[str, Any]


def drawn(seed: int, number: int) -> dict[str, Any]:
    """One random configuration, the same for all ways."""
    rng = random.Random(f"draw {seed} {number}")
    return {
        "learning_rate": 10 ** rng.uniform(-6, -2),
        "batch_size": rng.choice([8, 16, 32, 64]),
        "frozen_layers": rng.randint(0, 6),
        "warmup_ratio": rng.uniform(0, 0.5),
    }


@dataclass(frozen=True)
class Task:
    """One landscape: where the best setting is, and how trials get there."""

    kind: str
    seed: int

    @cached_property
    def optimum(self) -> tuple[float, float, float, float]:
        """Where the best setting lies: exponents of learning rate and batch size, frozen layers, warm-up."""
        rng = random.Random(f"{self.kind} {self.seed}")
        return rng.uniform(-5, -3), rng.uniform(3, 6), rng.uniform(0, 4), rng.uniform(0.05, 0.3)

    def ceiling(self, params: Params) -> float:
        """What a trial comes to in the end, from 0.3 to 0.9."""
        rate, batch, frozen, warmup = self.optimum
        distance = (
            ((math.log10(params["learning_rate"]) - rate) / 1.2) ** 2
            + ((math.log2(params["batch_size"]) - batch) / 4) ** 2
            + ((params["frozen_layers"] - frozen) / 6) ** 2
            + ((params["warmup_ratio"] - warmup) / 0.6) ** 2
        )
        return 0.3 + 0.6 * math.exp(-distance)

    def score(self, params: Params, epoch: float) -> float:
        """The true score after so many epochs."""
        ceiling = self.ceiling(params)
        pace = 4.0
        if self.kind == "crossing":
            # Larger rates are quicker at first; the best, which lies lower, passes them later.
            pace = 2.0 + 2.0 * max(0.0, -2.0 - math.log10(params["learning_rate"]))
        if self.kind == "diverging" and params["learning_rate"] > 1e-3:
            ceiling = 0.3 + (ceiling - 0.3) * math.exp(-(epoch - 1) / 4)
        return 0.3 + (ceiling - 0.3) * (1 - math.exp(-epoch / pace))

    def measured(self, number: int, params: Params, epoch: int) -> float:
        """The score with the noise of a small validation set."""
        noise = 0.03 if self.kind == "noisy" else 0.005
        return self.score(params, epoch) + random.Random(f"{self.seed} {number} {epoch}").gauss(0, noise)


KINDS = ("crossing", "noisy", "diverging")


@dataclass
class Running:
    """A trial at a worker."""

    number: int
    params: Params
    epoch: int
    handle: Any


class Way(Protocol):
    """One way to search: what is trained next, and what becomes of it after each epoch."""

    def ask(self, *, idle: bool) -> Running | None:
        """The next trial, if there is one; `idle`: no other worker trains one."""

    def report(self, running: Running, value: float) -> bool:
        """Whether the trial leaves its worker."""


class Ours:
    """The search that the service asks, driven as the service drives it."""

    def __init__(self, sampler: str, pruner: Mapping[str, Any], seed: int, *, checkpoints: bool = True) -> None:
        self.checkpoints, self.sampler, self.seed = checkpoints, sampler, seed
        self.waiting: dict[int, Running] = {}  # set aside
        self.created = 0
        self.search = Search(study_of({"sampler": {"name": sampler}, "pruner": dict(pruner), "seed": seed}), [], {})

    def ask(self, *, idle: bool) -> Running | None:
        found = next(self.search.race.promotable(), None)
        if found is None and self.created == TRIALS and idle:
            found = next(self.search.race.last_promotable(), None)
        if found is not None:
            self.search.go_on(found)
            running = self.waiting.pop(found)
            return running if self.checkpoints else Running(found, running.params, 0, running.epoch)
        if self.created == TRIALS:
            return None
        number, self.created = self.created, self.created + 1
        given = drawn(self.seed, number) if self.sampler == "random" else {}
        return Running(number, self.search.ask(number, given).params, 0, 0)

    def report(self, running: Running, value: float) -> bool:
        number, at_end = running.number, running.epoch == EPOCHS
        self.search.report(number, running.epoch, value)  # one that starts anew repeats what is known, which changes nothing
        if running.epoch <= running.handle:
            return False
        ruling = self.search.race.judge(number, exempt=at_end)
        if ruling.action == "set aside":
            self.search.set_aside(number)
            self.waiting[number] = running
        elif at_end or ruling.action == "stop":
            self.search.tell(trial_of(number, running, value, "completed" if at_end else "pruned"))
        return at_end or ruling.action != "go on"


def study_of(body: Mapping[str, Any]) -> Study:
    data = {"train": "builtin:trec"}
    whole = {"task": "text-classification", "model": "builtin:minilm", "data": data, "parameters": SPACE} | dict(body)
    spec = check(parse(whole), check_data=False).spec
    now = datetime(2026, 1, 1, tzinfo=UTC)
    unknown: dict[str, Any] = {"reason": None, "finished_at": None, "search_attrs": {}, "created_at": now, "updated_at": now}
    return Study(id="s", name="s", state="running", spec=spec, facts=Facts(blocks=6), n_created=0, version=1, **unknown)


def trial_of(number: int, running: Running, value: float, state: Any) -> Trial:
    fields: dict[str, Any] = {entry.name: None for entry in dataclasses.fields(Trial) if entry.default is dataclasses.MISSING}
    fields |= {
        "id": number,
        "number": number,
        "state": state,
        "params": running.params,
        "value": value,
        "origin": "sampled",
        "values": {},
        "details": {},
    }
    return Trial(**fields)


class Optuna:
    """Plain Optuna, asked and told as its documentation shows."""

    def __init__(self, sampler: str, pruner: optuna.pruners.BasePruner, seed: int) -> None:
        tpe = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=seed)
        draws = tpe if sampler == "tpe" else optuna.samplers.RandomSampler(seed=seed)
        self.study = optuna.create_study(direction="maximize", sampler=draws, pruner=pruner)
        self.sampler, self.seed, self.created = sampler, seed, 0

    def ask(self, *, idle: bool) -> Running | None:
        if self.created == TRIALS:
            return None
        if self.sampler == "random":
            self.study.enqueue_trial(drawn(self.seed, self.created))
        self.created += 1
        trial = self.study.ask()
        params = {
            "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-2, log=True),
            "batch_size": trial.suggest_categorical("batch_size", [8, 16, 32, 64]),
            "frozen_layers": trial.suggest_int("frozen_layers", 0, 6),
            "warmup_ratio": trial.suggest_float("warmup_ratio", 0.0, 0.5),
        }
        return Running(trial.number, params, 0, trial)

    def report(self, running: Running, value: float) -> bool:
        running.handle.report(value, running.epoch)
        if running.epoch < EPOCHS and running.handle.should_prune():
            self.study.tell(running.handle, state=optuna.trial.TrialState.PRUNED)
            return True
        if running.epoch == EPOCHS:
            self.study.tell(running.handle, value)
        return running.epoch == EPOCHS


WAYS: Mapping[str, Callable[[str, int], Way]] = {
    "ASHA with promotion": lambda sampler, seed: Ours(sampler, {"name": "asha", "promotion": True}, seed),
    "ASHA with promotion, no checkpoints": lambda sampler, seed: Ours(
        sampler, {"name": "asha", "promotion": True}, seed, checkpoints=False
    ),
    "ASHA, stop only": lambda sampler, seed: Ours(sampler, {"name": "asha", "promotion": False}, seed),
    "Hyperband with promotion": lambda sampler, seed: Ours(sampler, {"name": "hyperband", "promotion": True}, seed),
    "median": lambda sampler, seed: Ours(sampler, {"name": "median"}, seed),
    "no pruning": lambda sampler, seed: Ours(sampler, {"name": "none"}, seed),
    "plain Optuna, its ASHA": lambda sampler, seed: Optuna(
        sampler, optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3), seed
    ),
    "plain Optuna, its median": lambda sampler, seed: Optuna(sampler, optuna.pruners.MedianPruner(n_warmup_steps=1), seed),
}


@dataclass
class Course:
    """How good the best model was after how much training time."""

    spent: list[float] = field(default_factory=list)
    best: list[float] = field(default_factory=list)

    def time_to(self, target: float) -> float:
        """Infinite if it never got there."""
        return next((spent for spent, best in zip(self.spent, self.best, strict=True) if best >= target), math.inf)


def run(task: Task, way: Way) -> Course:
    """Train all that there is to train."""
    course, best, spent, ticket = Course(), 0.0, 0.0, itertools.count()
    queue: list[tuple[float, int, Running | None]] = [(0.0, next(ticket), None) for _ in range(WORKERS)]
    while queue:
        now, _, running = heapq.heappop(queue)
        reload = 0.0
        if running is not None:
            running.epoch += 1
            best = max(best, task.score(running.params, running.epoch))
            course.spent.append(spent)
            course.best.append(best)
            if way.report(running, task.measured(running.number, running.params, running.epoch)):
                running = None
        if running is None:
            others = [entry for entry in queue if entry[2] is not None]
            running = way.ask(idle=not others)
            if running is None:
                if others:  # ask again when something may have changed
                    heapq.heappush(queue, (min(others)[0] + 1e-6, next(ticket), None))
                continue
            reload = RELOAD if running.epoch > 0 else 0.0
        lasts = reload + random.Random(f"{task.seed} {running.number} pace").uniform(0.8, 1.2)
        spent += lasts
        heapq.heappush(queue, (now + lasts, next(ticket), running))
    return course


def measure(sampler: str, kind: str, way: str, seed: int) -> tuple[list[float], list[float], float]:
    """The course of a study as two lists, and the best score that there is."""
    course = run(Task(kind, seed), WAYS[way](sampler, seed))
    return course.spent, course.best, best_of(kind, seed)


@cache
def best_of(kind: str, seed: int) -> float:
    """The best score that there is, from a fine sample."""
    task = Task(kind, seed)
    points = (drawn(-1, number) for number in range(5_000))
    return max(task.score(point, epoch) for point in points for epoch in (1, EPOCHS))


def interval(values: Sequence[float], rng: random.Random, draws: int = 2000) -> tuple[float, float, float]:
    """The median and its 95 % bootstrap interval."""
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return statistics.median(values), medians[draws // 40], medians[-draws // 40]


def shown(values: Sequence[float], digits: int) -> str:
    return "{:.{d}f} [{:.{d}f}, {:.{d}f}]".format(*interval(values, random.Random(0)), d=digits)


def table(title: str, results: Mapping[str, Sequence[tuple[list[float], list[float], float]]]) -> str:
    """Each way's cost and find over the seeds: medians with 95 % intervals; ratios are taken seed by seed."""
    lines = [
        f"Learning curves: {title}, {len(next(iter(results.values())))} seeds",
        "",
        "| | epochs of training | of those without pruning | behind the best | time to the best of stop-only ASHA, of its own |",
        "|---|---|---|---|---|",
    ]
    for way, courses in results.items():
        spent = [course[0][-1] for course in courses]
        shares = [own / none[0][-1] for own, none in zip(spent, results["no pruning"], strict=True)]
        behind = [course[2] - course[1][-1] for course in courses]
        ratios, missed = [], 0
        for course, other in zip(courses, results["ASHA, stop only"], strict=True):
            target = other[1][-1] - 1e-9
            time = Course(course[0], course[1]).time_to(target)
            missed += time == math.inf
            # What was not reached counts as the whole study.
            ratios.append(min(time, course[0][-1]) / Course(other[0], other[1]).time_to(target))
        share = shown(ratios, 2) + (f", missed by {missed}" if missed else "")
        lines.append(f"| {way} | {shown(spent, 0)} | {shown(shares, 2)} | {shown(behind, 3)} | {share} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seeds", type=int, default=20)
    arguments.add_argument("--sampler", default="random", choices=["random", "tpe"])
    arguments.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    arguments.add_argument("--kinds", nargs="*", default=list(KINDS), choices=KINDS)
    arguments.add_argument("--results", type=Path, help="keep what was measured here, and measure only what is not there yet")
    given = arguments.parse_args()
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known: dict[str, Any] = json.loads(given.results.read_text()) if given.results and given.results.exists() else {}
    for seed, kind, way in itertools.product(range(given.seeds), given.kinds, given.ways):
        key = f"{given.sampler}/{kind}/{way}/{seed}"
        if key not in known:
            known[key] = measure(given.sampler, kind, way, seed)
            if given.results:
                given.results.write_text(json.dumps(known))
    for kind in given.kinds:
        results = {way: [known[f"{given.sampler}/{kind}/{way}/{seed}"] for seed in range(given.seeds)] for way in given.ways}
        print(table(f"{kind}, sampler {given.sampler}", results))


if __name__ == "__main__":
    main()

"""Optuna's documented way to search with several processes: each loads the one study from its database.

https://optuna.readthedocs.io, tutorial "Easy Parallelization": `create_study` once, `load_study` in every process.
"""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from multiprocessing.synchronize import Barrier
from typing import Any

import optuna

from benchmarks.servers import REPORTS, report, score

# Seconds of each ask with its four parameters, of each report with its judgement, and of CPU.
_Measured = tuple[list[float], list[float], float]


def search(url: str, *, workers: int, trials: int) -> tuple[float, list[float], list[float], float]:
    """Run a study of `trials` trials by `workers` processes; returns wall seconds, those of each ask and report, and of CPU."""
    _quiet()
    storage = optuna.storages.RDBStorage(_driver(url))
    name = f"bench-{time.time_ns()}"
    optuna.create_study(storage=storage, study_name=name, direction="maximize", pruner=optuna.pruners.MedianPruner())
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(workers + 1), context.Queue()
    shares = [trials // workers + (index < trials % workers) for index in range(workers)]
    processes = [context.Process(target=_work, args=(url, name, share, start, results)) for share in shares]
    for process in processes:
        process.start()
    start.wait(120)
    started = time.perf_counter()
    measured: list[_Measured] = [results.get(timeout=500) for _ in processes]
    wall = time.perf_counter() - started
    for process in processes:
        process.join()
    asks = [seconds for each, _, _ in measured for seconds in each]
    reports = [seconds for _, each, _ in measured for seconds in each]
    return wall, asks, reports, sum(cpu for *_, cpu in measured)


def _work(url: str, name: str, trials: int, start: Barrier, results: Any) -> None:
    _quiet()
    study = optuna.load_study(
        study_name=name, storage=optuna.storages.RDBStorage(_driver(url)), pruner=optuna.pruners.MedianPruner()
    )
    asks, reports = [], []
    start.wait(120)
    cpu = time.process_time()
    for _ in range(trials):
        began = time.perf_counter()
        trial = study.ask()
        learning_rate = trial.suggest_float("learning_rate", 1e-6, 1e-3, log=True)
        trial.suggest_float("weight_decay", 0.0, 0.3)
        trial.suggest_categorical("batch_size", [8, 16, 32])
        frozen_layers = trial.suggest_int("frozen_layers", 0, 6)
        asks.append(time.perf_counter() - began)
        for step in range(1, REPORTS + 1):
            began = time.perf_counter()
            trial.report(report(step), step)
            trial.should_prune()
            reports.append(time.perf_counter() - began)
        study.tell(trial, score(learning_rate, frozen_layers))
    results.put((asks, reports, time.process_time() - cpu))


def _driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


def _quiet() -> None:
    optuna.logging.set_verbosity(logging.WARNING)
    if not sys.warnoptions:
        import warnings

        warnings.simplefilter("ignore")

"""How long a search takes until a trial reaches a score: ours, and what users write with Optuna or Ray Tune and the Trainer.

    python -m benchmarks.time_to_target --data builtin:trec --target 0.85 --seeds 3 [--ways ours optuna …] [--json FILE]

The same space, rows, model, machine, threads and one worker. Ours is a real `tuner serve` with a real worker; the others are
scripts (`trainer_ways.py`), evaluated and pruned each epoch. Seconds count from the start of the first process, imports
included, to the first validation accuracy of at least the target. The other ways are ours with one of its means switched off. Who
does not get there within the trials counts with all its time (`*`).

Needs `accelerate`, which `make install` brings with peft; Ray Tune, which only this asks for, with `pip install 'ray[tune]'`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.servers import cpu_seconds, trained, tuner_server
from benchmarks.trainer_ways import BATCHES, BLOCKS, EPOCHS, MODEL, RATES, VALIDATION
from tuner.client import Client

OTHERS = ("optuna", "ray")
# What each way changes in our study or in the environment of its worker.
WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    "no default first": {"untuned_default": False},
    "no prefix cache": {"environment": {"TUNER_ACTIVATION_BYTES": "0"}},
    "no pruning": {"pruner": {"name": "none"}},
    "whole epochs": {"eval_every": 1.0, "pruner": {"name": "asha"}},
    "float32": {"precision": "float32"},
}


@dataclass(frozen=True)
class Run:
    """One search: when the target was reached, or else when it ended."""

    seconds: float
    cpu_seconds: float  # of all processes; nan of Ray, whose ended processes are counted nowhere
    reached: bool
    trial: int | None  # which one reached it


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="builtin:trec")
    parser.add_argument("--rows", type=int, default=600, help="a third of them to evaluate")
    parser.add_argument("--target", type=float, default=0.85)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--ways", nargs="*", default=[*OTHERS, *WAYS], choices=[*OTHERS, *WAYS])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", type=Path, nargs="*", help="run nothing, and compare what these files of --json hold")
    options = parser.parse_args()
    if options.table:
        print_table(of_files(options.table))
        return
    found: dict[str, list[Run]] = {way: [] for way in options.ways}
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        for way in options.ways:  # one after the other, so that a busier minute hits all alike
            run = by_script(options, way, seed) if way in OTHERS else by_us(options, seed, WAYS[way])
            found[way].append(run)
            print(f"seed {seed}  {way:16} {_told(run)}", flush=True)
            if options.json:
                texts = {name: [asdict(one) for one in runs] for name, runs in found.items()}
                options.json.write_text(json.dumps(vars(options) | {"runs": texts}, indent=2, default=str) + "\n")
    print_table(found)


def of_files(files: Sequence[Path]) -> dict[str, list[Run]]:
    """Ways that ran apart, side by side on a core each, say."""
    runs = [json.loads(file.read_text("utf-8"))["runs"].items() for file in files]
    return {way: [Run(**one) for one in ran] for of_file in runs for way, ran in of_file}


def _told(run: Run) -> str:
    by = f"by trial {run.trial}" if run.reached else "*"
    return f"{run.seconds:7.1f} s  {run.cpu_seconds:7.1f} s of CPU  {by}"


def print_table(found: Mapping[str, Sequence[Run]]) -> None:
    """Means over the seeds, and for each way how many times as long as ours it takes, with the interval of that ratio."""
    ours = found.get("ours", [])
    print("\n| way | seconds | of CPU | target reached | seconds, of ours | CPU, of ours |\n|---|---|---|---|---|---|")
    for way, runs in found.items():
        cells = [way, f"{statistics.fmean(r.seconds for r in runs):.0f}", f"{statistics.fmean(r.cpu_seconds for r in runs):.0f}"]
        cells.append(f"{sum(run.reached for run in runs)} of {len(runs)}")
        for one in ("seconds", "cpu_seconds"):
            pairs = [(getattr(run, one), getattr(our, one)) for run, our in zip(runs, ours, strict=False)]
            cells.append("{:.1f} × ({:.1f} … {:.1f})".format(*ratio_and_interval(pairs)) if pairs and way != "ours" else "")
        print(f"| {' | '.join(cells)} |")


def ratio_and_interval(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Of the sums, over seeds, of what is paired: their ratio, and its 95 % interval by the bootstrap over seeds."""
    rng = random.Random(0)
    drawn = sorted(_ratio(rng.choices(pairs, k=len(pairs))) for _ in range(2000))
    return _ratio(pairs), drawn[50], drawn[1949]


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(one for one, _ in pairs) / sum(other for _, other in pairs)


def study_of(options: argparse.Namespace, seed: int, precision: str) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "model": MODEL,
        "data": {"train": options.data, "validation": VALIDATION, "limit": options.rows},
        "seed": seed,
        "parameters": {
            "learning_rate": {"min": RATES[0], "max": RATES[1], "log": True},
            "batch_size": {"values": BATCHES},
            "epochs": {"min": EPOCHS[0], "max": EPOCHS[1]},
            "frozen_layers": {"min": 0, "max": BLOCKS},
            "precision": {"value": precision},
        },
        "eval_every": 0.5,
        "pruner": {"name": "asha", "min_epochs": 0.5},
        "budget": {"trials": options.trials, "target": options.target},
    }


def by_us(options: argparse.Namespace, seed: int, change: Mapping[str, Any]) -> Run:
    changed = {name: value for name, value in change.items() if name not in ("environment", "precision")}
    body = study_of(options, seed, change.get("precision", "bfloat16")) | changed
    began, cpu = time.time(), cpu_seconds(os.getpid())
    with environment(change.get("environment", {})), tuner_server() as server, Client(server.url, server.token) as client:
        with environment({"TUNER_HOME": str(server.home)}):
            study, used = trained(server, client, client.post("/studies", body)["id"], cores=options.threads)
        best = study["best"]
        reached = best is not None and best["value"] >= options.target
        seconds = datetime.fromisoformat(study["finished_at"]).timestamp() - began
        return Run(seconds, used - cpu, reached, best["number"] if reached else None)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """This process's, and so that of those it starts, for as long as this is open."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def by_script(options: argparse.Namespace, way: str, seed: int) -> Run:
    command = [sys.executable, "-m", "benchmarks.trainer_ways", way, "--data", options.data, "--rows", str(options.rows)]
    command += ["--target", str(options.target), "--trials", str(options.trials)]
    command += ["--seed", str(seed), "--threads", str(options.threads)]
    offline = {"HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"}
    began = time.time()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | offline)
    if done.returncode != 0:
        raise RuntimeError(f"{way} failed:\n{done.stderr[-3000:]}")
    ended, reached, trial, used = json.loads(done.stdout.splitlines()[-1])
    return Run(ended - began, math.nan if way == "ray" else used, reached, trial)


if __name__ == "__main__":
    main()

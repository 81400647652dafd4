"""Where a worker's time goes in a study of short trials: training and evaluation, or everything around them.

    python -m benchmarks.short_trials [--task text|digits] [--trials 12] [--threads 2] [--json FILE]

A real `tuner serve` and a real `tuner worker` with one slot run a study whose trials differ in rate and depth. Its first
trial is left out. Prints the mean seconds of a trial by part, and the share of training and evaluation in the worker's time
from the second lease to the last result. Computing the states of a frozen prefix, which no later epoch or trial does again, is
a part of its own (`fill`) and counts as training: without it each epoch would compute them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.servers import trained, tuner_server
from tuner.client import Client

TEXT: dict[str, Any] = {
    "task": "text-classification",
    "model": "builtin:minilm",
    "data": {"train": "builtin:trec", "validation": 0.2, "limit": 1250},
    "parameters": {
        "learning_rate": {"min": 1e-4, "max": 1e-3, "log": True},
        "batch_size": {"value": 16},
        "frozen_layers": {"min": 0, "max": 5},
        "epochs": {"min": 1, "max": 2},
    },
}
DIGITS: dict[str, Any] = {
    "task": "image-classification",
    "model": "builtin:small-cnn",
    "data": {"train": "builtin:digits", "validation": 0.3},
    "parameters": {"learning_rate": {"min": 1e-4, "max": 1e-2, "log": True}, "epochs": {"min": 5, "max": 10}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=("text", "digits"), default="text")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    body = TEXT if options.task == "text" else DIGITS
    body = body | {"sampler": {"name": "random"}, "pruner": {"name": "none"}, "budget": {"trials": options.trials}}
    trials = finished_trials(body, options.threads)
    parts = parts_of(trials)
    whole = sum(parts.values())
    for part, seconds in parts.items():
        print(f"{part:12} {seconds:7.3f} s  {seconds / whole:6.1%}")
    useful = parts["train"] + parts["evaluate"] + parts["fill"]
    print(f"training and evaluation: {useful / whole:.1%} of {whole:.2f} s a trial")
    if options.json:
        options.json.write_text(json.dumps({"task": options.task, "parts": parts, "trials": len(trials) - 1}, indent=2) + "\n")


def finished_trials(body: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    """The trials of a study that ran to its end, by number."""
    with tuner_server() as server, Client(server.url, server.token) as client:
        os.environ["TUNER_HOME"] = str(server.home)
        study = trained(server, client, client.post("/studies", body)["id"], cores=threads)[0]["id"]
        trials: list[dict[str, Any]] = client.get(f"/studies/{study}/trials", sort="number", limit=1000)["items"]
        failed = [trial["failure"] for trial in trials if trial["state"] != "completed"]
        if failed:
            raise RuntimeError(f"a trial failed: {failed[0]}")
        return trials


def parts_of(trials: list[dict[str, Any]]) -> dict[str, float]:
    """Mean seconds of a trial but the first: what it says of itself, the rest under its lease, and the wait for the next."""
    counted = trials[1:]
    told = {
        part: statistics.fmean(trial["details"]["seconds"].get(part, 0.0) for trial in counted)
        for part in ("train", "evaluate", "prepare", "checkpoint")
    }
    told["fill"] = statistics.fmean(trial["details"]["prefix"].get("fill_seconds", 0.0) for trial in counted)
    told["prepare"] -= told["fill"]
    leased = statistics.fmean(_time(trial["finished_at"]) - _time(trial["started_at"]) for trial in counted)
    wall = (_time(trials[-1]["finished_at"]) - _time(trials[0]["finished_at"])) / len(counted)
    return told | {"process": leased - sum(told.values()), "between": wall - leased}


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    main()

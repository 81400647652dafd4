"""Gaussian-process draws in a process of their own, so that the service itself never imports torch.

`python -m tuner.search_gp` reads one JSON request a line and answers each with one line. It keeps nothing between
requests: a draw is a function of the trials and the seed, whichever process makes it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.trial import TrialState as OptunaState

from studies.definition import ParamValue
from studies.space import nearest_on_grid

if TYPE_CHECKING:
    from tuner.search_samplers import Draw


def gp_draw(draw: Draw, startup_trials: int) -> Mapping[str, ParamValue]:
    """All parameters of a draw at once; none until enough trials have completed, and then `given` ones too."""
    request = gp_request(draw, startup_trials)
    if request is None:
        return {}
    drawn = draw.made.get(request) or make(request)
    # Optuna's steps are off by what a sum of floats is off by: 0.1 may come as 0.10000000000000002.
    return {name: nearest_on_grid(draw.space[name], value) for name, value in drawn.items()}


def gp_request(draw: Draw, startup_trials: int) -> str | None:
    """What a draw is a function of; None where chance, or who gives every parameter, decides instead."""
    trials = draw.memory.get_all_trials(0, deepcopy=False)
    used = (OptunaState.COMPLETE, OptunaState.RUNNING)
    known = [t for t in trials if t.number != draw.trial and t.state in used and draw.open.keys() <= t.params.keys()]
    too_few = sum(trial.state is OptunaState.COMPLETE for trial in known) < startup_trials
    if too_few or draw.open.keys() <= draw.given.keys():
        return None
    request = {
        "distributions": {name: distribution_to_json(distribution) for name, distribution in draw.open.items()},
        "directions": [direction.name.lower() for direction in draw.optuna.directions],
        "trials": [
            {
                "params": {name: trial.params[name] for name in draw.open},
                "values": trial.values if trial.state is OptunaState.COMPLETE else None,
            }
            for trial in known
        ],
        "seed": draw.seed,
    }
    return json.dumps(request)


def make(request: str) -> Mapping[str, ParamValue]:
    """The draw that is asked for, which takes up to seconds; on any thread."""
    drawn: Mapping[str, ParamValue] = _CHILD.ask(request)
    return drawn


class _Child:
    """The process, started when it is first needed; it ends when this one does."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def ask(self, request: str) -> Any:
        with self._lock:
            try:
                return self._exchange(request)
            except (OSError, ValueError):  # it was killed: a draw does not depend on which process makes it
                self._process = None
                return self._exchange(request)

    def _exchange(self, request: str) -> Any:
        if self._process is None or self._process.poll() is not None:
            # One thread: the machine's cores are for trials.
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tuner.search_gp"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(request + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    def close(self) -> None:
        """End the process: it reads to the end of its requests."""
        if self._process is not None:
            for stream in (self._process.stdin, self._process.stdout):
                assert stream is not None
                stream.close()
            self._process.wait()
            self._process = None


_CHILD = _Child()
atexit.register(_CHILD.close)


def answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """One draw of Optuna's GP sampler."""
    distributions = {name: json_to_distribution(text) for name, text in request["distributions"].items()}
    study = optuna.create_study(directions=request["directions"])
    for trial in request["trials"]:
        state = OptunaState.RUNNING if trial["values"] is None else OptunaState.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(state=state, values=trial["values"], params=trial["params"], distributions=distributions)
        )
    sampler = optuna.samplers.GPSampler(seed=request["seed"], n_startup_trials=1)
    asked = study.ask()
    found: dict[str, Any] = sampler.sample_relative(study, study.trials[asked.number], distributions)
    return found


def serve() -> None:
    """Answer requests until there are no more."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()

"""A study's progress in the terminal: what runs, what is best, how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tuner.client import Client
from tuner.commands.output import console, duration, number, params

_OVER = ("completed", "stopped", "failed")
_EVERY_SECONDS = 1.0


def follow(client: Client, study_id: str, check: Callable[[], None]) -> dict[str, Any]:
    """Show progress until the study is over or pauses because every trial fails; returns its last state.

    `check` raises what makes waiting any longer pointless, such as the end of the worker.
    """
    progress = _Progress(client, study_id)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            study = progress.update()
            live.update(progress.picture(study) if console.is_terminal else Text())
            if study["state"] in _OVER or (study["state"] == "paused" and not study["counts"]["running"]):
                return study
            check()
            time.sleep(_EVERY_SECONDS)


class _Progress:
    """What was printed already, and what is running."""

    def __init__(self, client: Client, study_id: str) -> None:
        self.client = client
        self.path = f"/studies/{study_id}"
        self.started = time.monotonic()
        self.running: list[dict[str, Any]] = []
        self._printed: set[int] = set()
        self._epochs: dict[int, float] = {}

    def update(self) -> dict[str, Any]:
        """Ask the service, and print a line for each trial that has ended since (and, without a terminal, each epoch)."""
        study: dict[str, Any] = self.client.get(self.path)
        trials = self.client.get(f"{self.path}/trials", limit=1000, sort="-number")["items"]
        self.running = [trial for trial in trials if trial["state"] == "running"]
        ended = [trial for trial in trials if trial["finished_at"] and trial["number"] not in self._printed]
        for trial in sorted(ended, key=lambda trial: str(trial["finished_at"])):
            self._printed.add(trial["number"])
            console.print(_ended_line(trial, study), markup=False, soft_wrap=True)
        if not console.is_terminal:
            self._print_epochs(study)
        return study

    def picture(self, study: dict[str, Any]) -> RenderableType:
        counts, total = study["counts"], study["budget"]["trials"]
        ended = sum(counts[state] for state in ("completed", "pruned", "stopped", "failed"))
        head = Table.grid(padding=(0, 2))
        head.add_row(
            Text(study["name"], style="bold"),
            ProgressBar(total=total or 1, completed=ended if total else 0, width=24),
            f"{ended}/{total}" if total else f"{ended}",
            _best_so_far(study),
            f"{duration(time.monotonic() - self.started)} gone",
            f"{duration(study['eta_seconds'])} left",
        )
        rows = Table.grid(padding=(0, 2))
        for trial in reversed(self.running):
            epochs = f"epoch {number(trial['epoch'] or 0.0, 0)}/{trial['params'].get('epochs', '?')}"
            rows.add_row(f"  trial {trial['number']}", epochs, number(trial["value"]), Text(params(trial["params"]), style="dim"))
        if not self.running:
            rows.add_row(Text("  waiting for a worker …" if study["state"] == "running" else f"  {study['state']}", style="dim"))
        return Group(head, rows)

    def _print_epochs(self, study: dict[str, Any]) -> None:
        for trial in reversed(self.running):
            epoch = trial["epoch"] or 0.0
            if epoch > self._epochs.get(trial["number"], 0.0):
                self._epochs[trial["number"]] = epoch
                done = f"trial {trial['number']}  epoch {number(epoch, 0)}/{trial['params'].get('epochs', '?')}"
                score = f"{study['objective']['metric']} {number(trial['value'])}"
                left = f"{duration(study['eta_seconds'])} left"
                console.print(f"{done}  {score}  ({_best_so_far(study)}, {left})", markup=False, soft_wrap=True)


def _best_so_far(study: dict[str, Any]) -> str:
    best = study["best"]
    return f"best {number(best['value'])} (trial {best['number']})" if best else "no result yet"


def _ended_line(trial: dict[str, Any], study: dict[str, Any]) -> str:
    what = trial["state"] if not trial["failure"] else f"failed ({trial['failure']['kind']})"
    default = "  (the untuned default)" if trial["origin"] == "default" else ""
    score = f"{study['objective']['metric']} {number(trial['value'])}" if trial["value"] is not None else ""
    line = f"trial {trial['number']:>3}  {what:<9}  {score}  epoch {number(trial['epoch'], 0)}  {duration(trial['seconds'])}"
    line += f"  {params(trial['params'])}{default}"
    return line if not trial["failure"] else line + f"\n           {trial['failure']['message'].strip().splitlines()[-1]}"

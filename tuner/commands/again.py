"""`tuner reproduce` and `tuner train`: the one command that trains a trial again, and what it does."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from studies.definition import Metric
from studies.errors import InvalidInput, TrialFailure
from tuner.client import Client
from tuner.commands.output import JsonFlag, ServerOption, console, number, print_json
from tuner.errors import TunerError
from tuner.retraining import job_in, train_again


def reproduce(
    study: Annotated[str, typer.Argument(help="A study's name or id.")],
    trial: Annotated[int | None, typer.Option(help="The trial's number; left out: the best one.")] = None,
    server: ServerOption = None,
) -> None:
    """Print the one command that trains a trial again, here or elsewhere.

    On a CPU, with the same packages, it gives the same metrics.
    """
    with Client(server) as client:
        where = f"/studies/{client.study(study)['id']}"
        found = client.get(f"{where}/best" if trial is None else f"{where}/trials/{trial}")
    typer.echo(command(job_in(found)))


def command(job: dict[str, Any]) -> str:
    """The command line that trains `job`."""
    return f"tuner train {shlex.quote(json.dumps(job, ensure_ascii=False, sort_keys=True))}"


def train(
    job: Annotated[str, typer.Argument(help="What `tuner reproduce` prints, or the tuner.json of a model's folder.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the model to this new folder.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train one trial's job in this process, without a service. Paths in it count from the current folder."""
    if output is not None and output.exists():
        raise InvalidInput.at("--output", f"{output} exists; give a new folder")

    def report(metrics: Sequence[Metric]) -> None:
        shown = "  ".join(f"{metric.split} {metric.name} {number(metric.value)}" for metric in metrics)
        if not as_json:
            console.print(f"epoch {metrics[0].epoch:g}  {shown}", markup=False)

    try:
        outcome = train_again(_recipe(job), output, report)
    except TrialFailure as failure:
        raise TunerError(f"the trial failed ({failure.kind}): {failure.message}") from failure
    if as_json:
        print_json({"values": outcome.values, "epoch": outcome.epoch, "details": outcome.details})
        return
    console.print("  ".join(f"{name} {value!r}" for name, value in outcome.values.items()), markup=False)


def _recipe(text: str) -> dict[str, Any]:
    try:
        raw = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput.at("job", f"is neither JSON nor the path of such a file: {error}") from None
    found = raw.get("details", {}).get("job", raw) if isinstance(raw, dict) else None
    if not isinstance(found, dict) or "task" not in found:
        raise InvalidInput.at("job", "must be what `tuner reproduce` prints, or the tuner.json of a model's folder")
    return found

"""`tuner trials …`: the trials of a study, and control over each."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tuner.client import Client
from tuner.commands.output import JsonFlag, ServerOption, assignments, console, duration, number, params, print_json, table

app = typer.Typer(help="List, show and control the trials of a study over REST.", no_args_is_help=True)
StudyArgument = Annotated[str, typer.Argument(help="A study's name or id.")]
NumberArgument = Annotated[int, typer.Argument(help="The trial's number.", min=0)]
ParamsArgument = Annotated[list[str] | None, typer.Argument(help="Parameters, such as learning_rate=1e-4 batch_size=16.")]


@app.command("list")
def list_trials(
    study: StudyArgument,
    state: Annotated[list[str] | None, typer.Option(help="Only trials of these states.")] = None,
    where: Annotated[str | None, typer.Option(help="For example value>0.8,learning_rate<1e-4.")] = None,
    sort: Annotated[str, typer.Option(help="A column or parameter; with - in front, descending.")] = "number",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 100,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """The trials of a study."""
    with Client(server) as client:
        found = client.study(study)
        wanted = ",".join(state) if state else None
        trials = client.get(f"/studies/{found['id']}/trials", state=wanted, where=where, sort=sort, limit=limit)["items"]
    if as_json:
        print_json(trials)
    else:
        console.print(trials_table(trials, found["objective"]["metric"]))


@app.command()
def show(study: StudyArgument, trial: NumberArgument, as_json: JsonFlag = False, server: ServerOption = None) -> None:
    """One trial with its attempts."""
    with Client(server) as client:
        found = client.get(f"{_path(client, study)}/{trial}")
    if as_json:
        print_json(found)
        return
    why = found["reason"] or (found["failure"] and f"{found['failure']['kind']}: {found['failure']['message']}")
    console.print(f"trial {trial}: {found['state']}" + (f", {why}" if why else ""), markup=False)
    console.print(f"{number(found['value'])}  epoch {number(found['epoch'], 0)}  {duration(found['seconds'])}", markup=False)
    console.print(params(found["params"]), markup=False)
    rows = [
        [a["attempt"], a["worker_id"], a["granted_at"][:19], a["outcome"] or "running", a["message"] or ""]
        for a in found["attempts"]
    ]
    console.print(table(["attempt", "worker", "since", "outcome", "why"], rows))


@app.command()
def add(study: StudyArgument, given: ParamsArgument = None, as_json: JsonFlag = False, server: ServerOption = None) -> None:
    """Enqueue a trial with these parameters; those left out are sampled."""
    with Client(server) as client:
        made = client.post(_path(client, study), {"params": assignments(given or [])})
    _tell(made, f"trial {made['number']} waits: {params(made['params'])}", as_json)


@app.command()
def clone(
    study: StudyArgument,
    trial: NumberArgument,
    changed: ParamsArgument = None,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Enqueue a copy of a trial in which the given parameters are changed."""
    with Client(server) as client:
        made = client.post(f"{_path(client, study)}/{trial}/clone", {"params": assignments(changed or [])})
    _tell(made, f"trial {made['number']} waits: {params(made['params'])}", as_json)


@app.command()
def extend(
    study: StudyArgument,
    trial: NumberArgument,
    epochs: Annotated[int, typer.Option(min=1, help="How many more than it has reached.")] = 1,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """More epochs for a trial that completed or was pruned or stopped, from its checkpoint."""
    with Client(server) as client:
        made = client.post(f"{_path(client, study)}/{trial}/extend", {"epochs": epochs})
    _tell(made, f"trial {trial} goes on to epoch {made['extension']['until']}", as_json)


@app.command()
def stop(study: StudyArgument, trial: NumberArgument, as_json: JsonFlag = False, server: ServerOption = None) -> None:
    """End one trial now; it keeps its last reported value."""
    with Client(server) as client:
        found = client.post(f"{_path(client, study)}/{trial}/stop")
    _tell(found, f"trial {trial} is {found['state']}", as_json)


def trials_table(trials: list[dict[str, Any]], metric: str, *, title: str | None = None) -> Any:
    """Trials as people compare them."""
    rows = [
        [t["number"], t["state"], number(t["value"]), number(t["epoch"], 0), params(t["params"]), duration(t["seconds"])]
        for t in trials
    ]
    return table(["trial", "state", metric, "epochs", "parameters", "time"], rows, title=title)


def _path(client: Client, study: str) -> str:
    return f"/studies/{client.study(study)['id']}/trials"


def _tell(answer: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        console.print(sentence, markup=False)

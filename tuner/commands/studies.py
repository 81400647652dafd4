"""`tuner studies …`: what a running service knows, and control over it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tuner.client import Client
from tuner.commands.output import (
    JsonFlag,
    ServerOption,
    assignments,
    console,
    nested,
    number,
    print_json,
    read_study_file,
    size,
    table,
)
from tuner.commands.trials import trials_table
from tuner.spec import StudySpec

app = typer.Typer(help="List, show and control studies over REST.", no_args_is_help=True)
StudyArgument = Annotated[str, typer.Argument(help="A study's name or id.")]


@app.command("list")
def list_studies(as_json: JsonFlag = False, server: ServerOption = None) -> None:
    """All studies, newest first."""
    with Client(server) as client:
        studies = client.get("/studies", limit=1000)["items"]
    if as_json:
        print_json(studies)
        return
    if not studies:
        console.print("No studies yet. Start one: tuner run studies/examples/trec.yaml", markup=False)
        return
    rows = [[s["name"], s["id"], s["state"], _progress(s), _best(s), s["task"], s["model"]] for s in studies]
    console.print(table(["name", "id", "state", "trials", "best", "task", "model"], rows))


@app.command()
def show(study: StudyArgument, as_json: JsonFlag = False, server: ServerOption = None) -> None:
    """One study and its trials, best first."""
    with Client(server) as client:
        found = client.study(study)
        descending = found["objective"]["direction"] == "maximize"
        trials = client.get(f"/studies/{found['id']}/trials", sort="-value" if descending else "value", limit=1000)["items"]
    if as_json:
        print_json(found | {"trials": trials})
        return
    console.print(
        f"{found['name']} ({found['id']}): {found['state']}" + (f", {found['reason']}" if found["reason"] else ""), markup=False
    )
    console.print(f"{found['task']} · {found['model']} · {found['data']['train']} · {_progress(found)}", markup=False)
    console.print(kept(found), markup=False)
    console.print(trials_table(trials, found["objective"]["metric"]))


def kept(study: dict[str, Any]) -> str:
    """Whose models are kept, and how much the others took."""
    models = "the best model" if study["keep_models"] == 1 else f"the best {study['keep_models']} models"
    return f"kept: {models}; freed so far: {size(study['freed_bytes'])}"


@app.command()
def start(
    file: Annotated[Path | None, typer.Argument(help="A study file.")] = None,
    copied: Annotated[str | None, typer.Option("--from", help="Copy this study, and learn from its trials.")] = None,
    objective: Annotated[str | None, typer.Option(help="Another metric for the copy to search for.")] = None,
    name: Annotated[str | None, typer.Option(help="The copy's name; made up if absent.")] = None,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Start the study that a file describes, or a copy of one; workers of the service train it."""
    if (file is None) == (copied is None):
        raise typer.BadParameter("give a study file, or --from STUDY", param_hint="FILE")
    with Client(server) as client:
        raw = read_study_file(file) if file is not None else _copy(client.study(str(copied)), objective, name)
        study = client.post("/studies", raw)
    if as_json:
        print_json(study)
    else:
        console.print(f"started {study['name']} ({study['id']})", markup=False)


def _control(action: str, past: str) -> None:
    @app.command(action, help=f"{action.capitalize()} a study.")
    def command(study: StudyArgument, as_json: JsonFlag = False, server: ServerOption = None) -> None:
        with Client(server) as client:
            found = client.post(f"/studies/{client.study(study)['id']}/{action}")
        if as_json:
            print_json(found)
        else:
            console.print(f"{past} {found['name']} ({found['id']})", markup=False)


for _action, _past in (("pause", "paused"), ("resume", "resumed"), ("stop", "stopped")):
    _control(_action, _past)


@app.command("set")
def set_study(
    study: StudyArgument,
    changes: Annotated[list[str], typer.Argument(help="Such as budget.trials=100 parallelism=8 pruner.name=median notes=….")],
    if_version: Annotated[int | None, typer.Option(help="Only if the study still has this version (`show --json`).")] = None,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Change a study: budget, parallelism, pruner, notes, tags. One that has completed goes on if its budget allows."""
    with Client(server) as client:
        found = client.study(study)
        etag = f'"{found["version"] if if_version is None else if_version}"'
        body = nested(assignments(changes))
        changed = client.call("PATCH", f"/studies/{found['id']}", body=body, headers={"If-Match": etag})
    if as_json:
        print_json(changed)
    else:
        console.print(f"changed {changed['name']} ({changed['id']}), which is {changed['state']}", markup=False)


@app.command()
def export(
    study: StudyArgument,
    file: Annotated[Path, typer.Argument(help="Where to; .csv, .json or .db (an SQLite file for Optuna) says which.")],
    server: ServerOption = None,
) -> None:
    """Write all trials of a study to a file."""
    formats = {".csv": "csv", ".json": "json", ".db": "optuna"}
    if file.suffix not in formats:
        raise typer.BadParameter("must end in .csv, .json or .db", param_hint="FILE")
    with Client(server) as client:
        client.download(f"/studies/{client.study(study)['id']}/export?format={formats[file.suffix]}", file)
    console.print(f"wrote {file}", markup=False)


@app.command("import")
def import_(
    url: Annotated[str, typer.Argument(help="An Optuna storage, e.g. sqlite:///studies.db or postgresql://…")],
    study: Annotated[str | None, typer.Option(help="Which of its studies; not needed where there is one.")] = None,
    file: Annotated[Path | None, typer.Option(help="A study file: which task, model and data were trained.")] = None,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Take over a study from Optuna, with every trial. One that was exported from here brings its study file along."""
    from tuner.search_exchange import read_study  # loads Optuna

    found = read_study(url, study)
    spec = read_study_file(file) if file is not None else found["spec"]
    if spec is None:
        raise typer.BadParameter("Optuna does not know what was trained: give a study file", param_hint="--file")
    spec = {"name": found["name"], **spec} | {"budget": {"trials": max(1, len(found["trials"]))}}
    if file is not None and "objective" in spec and isinstance(spec["objective"], dict):
        spec["objective"] = spec["objective"] | {"direction": found["direction"]}
    source = url.rpartition("@")[2][:200]  # without a password
    with Client(server) as client:
        stored = client.post("/studies/import", {"study": spec, "trials": found["trials"], "source": source})
    if as_json:
        print_json(stored)
    else:
        console.print(f"imported {stored['name']} ({stored['id']}): {len(found['trials'])} trials", markup=False)


@app.command()
def delete(study: StudyArgument, server: ServerOption = None) -> None:
    """Remove a study that is not running, with its trials, metrics and models."""
    with Client(server) as client:
        client.call("DELETE", f"/studies/{client.study(study)['id']}")
    console.print(f"deleted {study}", markup=False)


def _copy(study: dict[str, Any], objective: str | None, name: str | None) -> dict[str, Any]:
    """The study file of a copy that learns from `study`."""
    copy = {key: study[key] for key in StudySpec.model_fields if key in study and key not in ("name", "start_with")}
    copy["warm_start"] = [study["id"]]
    if objective is not None:
        copy["objective"] = {"metric": objective}
    return copy | ({"name": name} if name else {})


def _progress(study: dict[str, Any]) -> str:
    counts = study["counts"]
    ended = counts["completed"] + counts["pruned"] + counts["stopped"] + counts["failed"]
    total = study["budget"]["trials"]
    return f"{ended}/{total}" if total else str(ended)


def _best(study: dict[str, Any]) -> str:
    return number(study["best"]["value"]) if study["best"] else "–"

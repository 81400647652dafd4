"""`tuner best` and `tuner predict`: print, export and use the winner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from studies.errors import InvalidInput
from tuner.client import Client
from tuner.commands.output import JsonFlag, ServerOption, console, number, params, print_json, table
from tuner.settings import Settings


def best(
    study: Annotated[str, typer.Argument(help="A study's name or id.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the best model to this new folder.")] = None,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """The best trial of a study, and its model as a Hugging Face folder."""
    with Client(server) as client:
        found = client.get(f"/studies/{client.study(study)['id']}/best")
        if output is not None:
            download_model(client, found, output)
    if as_json:
        print_json(found)
        return
    console.print(f"trial {found['number']}: {number(found['value'])}  {params(found['params'])}", markup=False)
    if output is not None:
        console.print(f"model written to {output}", markup=False)


def predict(
    study: Annotated[str, typer.Argument(help="A study's name or id.")],
    text: Annotated[list[str], typer.Argument(help="What to classify.")],
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Answer with the best model of a study."""
    with Client(server) as client:
        found = client.get(f"/studies/{client.study(study)['id']}/best")
        folder = Settings().home / "models" / f"{found['study_id']}-{found['number']}"
        if not folder.exists():
            download_model(client, found, folder)
    from studies.training.predict import predict as run  # brings torch, which no other command needs

    answers = run(folder, text)
    if as_json:
        print_json([{"text": t, "label": label, "probability": p} for t, (label, p) in zip(text, answers, strict=True)])
        return
    rows = [[label, number(probability, 3), t] for t, (label, probability) in zip(text, answers, strict=True)]
    console.print(table(["label", "probability", "text"], rows))


def download_model(client: Client, trial: dict[str, Any], folder: Path) -> None:
    """Write a trial's model folder. Raises InvalidInput if `folder` is in the way or the trial kept no model."""
    if folder.exists() and any(folder.iterdir()):
        raise InvalidInput.at("--output", f"{folder} exists and is not empty; give a new folder")
    where = f"/studies/{trial['study_id']}/trials/{trial['number']}/artifacts"
    artifacts = client.get(where)["items"]
    if not artifacts:
        raise InvalidInput.at("study", f"its best trial, {trial['number']}, kept no model: it did not run to its end")
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = folder.with_name(folder.name + ".part")
    unfinished.mkdir(exist_ok=True)
    for artifact in track(artifacts, "best model", transient=True, console=console):
        client.download(f"{where}/{artifact['name']}", unfinished / artifact["name"])
    if folder.exists():
        folder.rmdir()
    unfinished.rename(folder)

"""`tuner best` and `tuner predict`: print, export and use the winner."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from studies.catalog import definition
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
    text: Annotated[list[str], typer.Argument(help="Texts, or what else the task takes: a JSON object, the path of a picture.")],
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Answer with the best model of a study."""
    with Client(server) as client:
        found = client.get(f"/studies/{client.study(study)['id']}/best")
        folder = Settings().home / "models" / f"{found['study_id']}-{found['number']}"
        if not folder.exists():
            download_model(client, found, folder)
    answers = answers_of(folder, text)
    if as_json:
        print_json([{"input": given, **answer} for given, answer in zip(text, answers, strict=True)])
        return
    columns = list(answers[0])
    rows = [[*(shown(answer[name]) for name in columns), given] for given, answer in zip(text, answers, strict=True)]
    console.print(table([*columns, "input"], rows))


def answers_of(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """What the model in `folder` answers to each input: a text, or a JSON object where a task takes more than a text."""
    record = json.loads((folder / "tuner.json").read_text("utf-8"))
    return definition(record["task"]).predict(folder, inputs)  # brings torch, which no other command needs


def shown(value: object) -> str:
    return number(value, 3) if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


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

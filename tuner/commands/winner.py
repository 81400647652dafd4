"""`tuner best`, `tuner predict` and `tuner attention`: print, export, use and look into the winner."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from studies.catalog import definition
from studies.definition import Outcome
from studies.errors import InvalidInput, TrialFailure
from tuner.client import Client
from tuner.commands.output import JsonFlag, ServerOption, console, number, params, print_json, table
from tuner.errors import TunerError
from tuner.retraining import Spread, job_in, spread
from tuner.settings import Settings

RECORD = "tuner.json"  # in every model folder
ModelArgument = Annotated[str, typer.Argument(metavar="STUDY", help="A study's name or id, or the folder of a model.")]


def best(
    study: Annotated[str, typer.Argument(help="A study's name or id.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the best model to this new folder.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train it again here: how much of its score is luck?")] = False,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="With --retrain: how many seeds.")] = 5,
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """The best trial of a study, and its model as a Hugging Face folder."""
    if output is not None and output.exists() and (retrain or any(output.iterdir())):
        raise InvalidInput.at("--output", f"{output} exists; give a new folder")
    with Client(server) as client:
        whole = client.study(study)
        objectives = [whole["objective"]["metric"], *(further["metric"] for further in whole["further_objectives"])]
        found = client.get(f"/studies/{whole['id']}/best")
        if output is not None and not retrain:
            download_model(client, found, output)
    console.stderr = as_json  # standard output is for the answer alone
    again = retrained(found, seeds, output) if retrain else None
    if as_json:
        print_json(found | ({"retrained": asdict(again) | {"mean": again.mean, "std": again.deviation}} if again else {}))
        return
    console.print(f"trial {found['number']}: {number(found['value'])}  {params(found['params'])}", markup=False)
    if len(objectives) > 1:
        rows = [
            [str(trial["number"]), *(number(trial["values"].get(name)) for name in objectives), params(trial["params"])]
            for trial in found["items"]
        ]
        console.print(table(["trial", *objectives, "parameters"], rows))
    if again is not None:
        shown = f"{number(again.mean)} ± {number(again.deviation)} (standard deviation)"
        console.print(f"{again.metric} over {len(again.values)} seeds: {shown}", markup=False)
    if output is not None:
        console.print(f"model written to {output}", markup=False)


def retrained(trial: dict[str, Any], seeds: int, output: Path | None) -> Spread:
    """The trial's configuration under new seeds; the model of the best of them goes to `output`."""

    def report(seed: int, outcome: Outcome) -> None:
        console.print(
            f"seed {seed}: " + "  ".join(f"{name} {number(value)}" for name, value in outcome.values.items()), markup=False
        )

    try:
        return spread(job_in(trial), range(seeds), output, report)
    except TrialFailure as failure:
        raise TunerError(f"training it again failed ({failure.kind}): {failure.message}") from failure


def attention(
    study: ModelArgument,
    text: Annotated[str, typer.Argument(help="The text to look at.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page (.html) or plotly figure (.json) to write.")],
    head: Annotated[int | None, typer.Option(min=1, help="One head of each block; left out: the mean of all.")] = None,
    server: ServerOption = None,
) -> None:
    """What the best model looks at when it reads a text: a map for each block, drawn by plotly."""
    folder = model_of(study, server)
    from studies.training.attention import attention as maps_of  # brings torch
    from tuner.attention_figure import attention_figure  # brings plotly

    maps = maps_of(folder, text)
    if head is not None and head > len(maps.weights[0]):
        raise InvalidInput.at("--head", f"the model has {len(maps.weights[0])} heads, not {head}")
    figure = attention_figure(maps.tokens, maps.weights, None if head is None else head - 1)
    if output.suffix == ".json":
        output.write_text(figure.to_json(), encoding="utf-8")
    else:
        figure.write_html(output, include_plotlyjs=True)
    console.print(f"written to {output}", markup=False)


def predict(
    study: ModelArgument,
    text: Annotated[list[str], typer.Argument(help="Texts, or what else the task takes: a JSON object, the path of a picture.")],
    as_json: JsonFlag = False,
    server: ServerOption = None,
) -> None:
    """Answer with the best model of a study."""
    folder = model_of(study, server)
    answers = answers_of(folder, text)
    if as_json:
        print_json([{"input": given, **answer} for given, answer in zip(text, answers, strict=True)])
        return
    columns = list(answers[0])
    rows = [[*(shown(answer[name]) for name in columns), given] for given, answer in zip(text, answers, strict=True)]
    console.print(table([*columns, "input"], rows, first_folds=True))


def answers_of(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """What the model in `folder` answers to each input: a text, or a JSON object where a task takes more than a text."""
    record = json.loads((folder / RECORD).read_text("utf-8"))
    return definition(record["task"]).predict(folder, inputs)  # brings torch, which no other command needs


def shown(value: object) -> str:
    """Part of an answer for a person to read; of several, such as the spans of a text, one a line."""
    if isinstance(value, list):
        return "\n".join(map(shown, value)) or "–"
    if isinstance(value, dict):
        return " · ".join(map(shown, value.values()))
    return number(value, 3) if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)


def model_of(study: str, server: str | None) -> Path:
    """The model folder that `study` is, or that of the study of this name."""
    if (Path(study) / RECORD).is_file():
        return Path(study)
    with Client(server) as client:
        return best_model(client, study)


def best_model(client: Client, study: str) -> Path:
    """The folder of a study's best model on this machine, downloaded if it is not there yet."""
    found = client.get(f"/studies/{client.study(study)['id']}/best")
    folder = Settings().home / "models" / f"{found['study_id']}-{found['number']}"
    if not folder.exists():
        download_model(client, found, folder)
    return folder


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

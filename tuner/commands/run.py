"""`tuner run`: a whole study on this machine, from its file to its best model, in one command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from studies.catalog import definition
from studies.errors import InvalidInput
from tuner.client import Client, local_service
from tuner.commands.follow import follow
from tuner.commands.output import JsonFlag, console, number, params, print_json, read_study_file
from tuner.commands.plan import plan
from tuner.commands.studies import kept
from tuner.commands.trials import trials_table
from tuner.commands.winner import download_model
from tuner.errors import ServiceError, TunerError
from tuner.pool.processes import ProcessPool, end_of, local_worker
from tuner.settings import Settings
from tuner.spec import StudySpec, check, facts_of, parse, unpinned_spec

_START_SECONDS = 60.0
_FREE_TO_DIFFER = {"name", "notes", "tags", "parallelism"}


def run(
    file: Annotated[Path, typer.Argument(help="A study file (YAML or JSON).", metavar="STUDY.yaml")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the best model goes; default: models/NAME.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; default: the study's parallelism, at most one per core.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the file, say what would be done, and start nothing.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Search on this machine; Ctrl-C stops cleanly, and the same command goes on later."""
    raw = read_study_file(file)
    spec = parse({"name": file.stem} | raw)
    checked = check(spec)  # before anything is started
    folder = output or Path("models") / str(spec.name)
    if folder.exists() and output is not None:
        raise InvalidInput.at("--output", f"{folder} exists; give a new folder")
    console.stderr = as_json  # standard output is for the answer alone
    for part in plan(checked):
        console.print(part, soft_wrap=True, markup=False)
    if dry_run:
        if as_json:
            print_json(checked.spec.model_dump(mode="json") | {"facts": facts_of(checked)})
        return
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    settings = Settings()
    with _service(settings) as client:
        study = _start_or_go_on(client, spec)
        console.print(f"[dim]dashboard[/] {client.server}/studies/{study['id']}", soft_wrap=True)
        try:
            with _workers(client, settings, study, slots or min(spec.parallelism, os.cpu_count() or 1)) as workers:
                study = follow(client, study["id"], workers.check)
        except KeyboardInterrupt:
            _pause(client, study)
            raise typer.Exit(1) from None
        if as_json:
            print_json(study | {"best": client.get(f"/studies/{study['id']}/best") if study["best"] else None})
        _conclude(client, study, folder)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Being ended, or losing the terminal, is Ctrl-C by another name: nothing that was started may stay behind."""
    raise KeyboardInterrupt


def _conclude(client: Client, study: dict[str, Any], folder: Path) -> None:
    metric, direction = study["objective"]["metric"], study["objective"]["direction"]
    order = "-value" if direction == "maximize" else "value"
    trials = client.get(f"/studies/{study['id']}/trials", sort=order, state="completed,pruned,stopped", limit=5)["items"]
    console.print()
    console.print(trials_table(trials, metric, title=f"Best of {study['counts']['total']} trials"))
    if study["state"] != "completed" or study["best"] is None:
        console.print(f"\nThe study is {study['state']}: {study['reason'] or 'no trial gave a value'}", markup=False)
        raise typer.Exit(1)
    console.print()
    console.print(comparison(study), soft_wrap=True, markup=False)
    best = client.get(f"/studies/{study['id']}/best")
    if folder.exists():
        console.print(
            f"{folder} exists already and is left as it is; `tuner best {study['name']} -o NEW` writes another copy", markup=False
        )
    else:
        download_model(client, best, folder)
        console.print(f"Best model: {folder}  (its README.md says what it is and how to load it)", markup=False, soft_wrap=True)
        console.print(f"Ask it: tuner predict {folder} INPUT…", markup=False, soft_wrap=True)
    console.print(f"In the service {kept(study)}", markup=False)
    console.print("Compare the trials in a browser: tuner serve", markup=False)


def comparison(study: dict[str, Any]) -> str:
    """By how much the best trial beats what needs no search, in words."""
    best, metric = study["best"], study["objective"]["metric"]
    sign = 1 if study["objective"]["direction"] == "maximize" else -1
    lines = [f"Best: trial {best['number']}, {metric} {number(best['value'])}  ({params(best['params'])})"]
    known = [
        (
            "guessing by class frequencies" if metric == "loss" else "always answering the commonest class",
            study["baseline"]["majority"],
        ),
        ("the untuned default", study["baseline"]["default"]),
    ]
    for what, value in known:
        if value is not None:
            gain = sign * (best["value"] - value)
            verb = "better than" if gain > 0 else "no better than" if gain == 0 else "worse than"
            lines.append(f"  {number(abs(gain))} {verb} {what} ({number(value)})")
    return "\n".join(lines)


def _start_or_go_on(client: Client, spec: StudySpec) -> dict[str, Any]:
    """Post the study; if one of that name and content is there already, go on with it."""
    for known in client.get("/studies", q=spec.name, limit=1000)["items"]:
        if known["name"] != spec.name or known["state"] in ("stopped", "failed"):
            continue
        if _content(parse({key: known[key] for key in StudySpec.model_fields})) != _content(_complete(spec)):
            raise InvalidInput.at(
                "name",
                f"a study named {spec.name!r} exists with other settings; rename this one, or `tuner studies delete {spec.name}`",
            )
        if known["state"] == "paused":
            console.print(f"going on with study {spec.name} ({known['id']})", markup=False)
            known = client.post(f"/studies/{known['id']}/resume")
        elif known["state"] == "completed":
            console.print(
                f"study {spec.name} is complete; to search anew, rename it or `tuner studies delete {spec.name}`", markup=False
            )
        return dict(known)
    return dict(client.post("/studies", spec.model_dump(mode="json", exclude_unset=True)))


def _complete(spec: StudySpec) -> StudySpec:
    return check(spec).spec


def _content(spec: StudySpec) -> dict[str, Any]:
    content = unpinned_spec(spec).model_dump(mode="json", exclude=_FREE_TO_DIFFER)
    if spec.parameters == "auto":
        task = definition(spec.task)
        content["parameters"] = task.auto_space(task.model_facts(spec.model))
    return content


def _pause(client: Client, study: dict[str, Any]) -> None:
    """Leave the study so that the same command goes on with it: trials give their places back."""
    console.print("\nstopping …", markup=False)
    try:
        client.post(f"/studies/{study['id']}/pause")
        deadline = time.monotonic() + 15
        while client.get(f"/studies/{study['id']}")["counts"]["running"] and time.monotonic() < deadline:
            time.sleep(0.2)
    except ServiceError as error:
        console.print(str(error), markup=False)
    console.print("stopped; the same command goes on from here", markup=False)


@contextmanager
def _workers(client: Client, settings: Settings, study: dict[str, Any], slots: int) -> Iterator[ProcessPool]:
    """A worker for this study alone: a service that ran already need not have one."""
    token = client.post("/tokens", {"role": "worker", "name": "tuner run"})
    workers = local_worker(client.server, token["token"], slots=slots, folder=settings.home / "logs", study=study["id"])
    try:
        workers.start(1)
        yield workers
    finally:
        workers.stop()
        with suppress(ServiceError):  # a service that is gone has said so already
            client.call("DELETE", f"/tokens/{token['id']}")


@contextmanager
def _service(settings: Settings) -> Iterator[Client]:
    """The service of this machine: the one that runs, else one of our own for as long as the study takes."""
    if (running := _running_service(settings)) is not None:
        with running:
            yield running
        return
    settings.home.mkdir(parents=True, exist_ok=True)
    log_file = settings.home / "logs" / "service.log"
    log_file.parent.mkdir(exist_ok=True)
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tuner", "serve", "--port", "0"],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        with _wait_for(process, settings, log_file) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(process: subprocess.Popen[bytes], settings: Settings, log_file: Path) -> Client:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if (client := _running_service(settings)) is not None:
            return client
        time.sleep(0.1)
    raise TunerError(f"the service did not start; {end_of(log_file)}")


def _running_service(settings: Settings) -> Client | None:
    url = settings.server or local_service(settings)
    if url is None:
        return None
    client = Client(url, settings=settings)
    try:
        client.get("/studies", limit=1)
    except ServiceError:
        client.close()
        return None
    return client

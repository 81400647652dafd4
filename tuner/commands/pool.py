"""`tuner pool …`: keeps as many workers alive as there is work for, on this machine or on a Ray cluster."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import structlog
import typer

from studies.errors import InvalidInput
from tuner.client import Client
from tuner.commands.serve import configure_logs
from tuner.commands.worker import make_worker, set_environment
from tuner.errors import Refused
from tuner.gpu_watch import prepare
from tuner.gpus import nvidia_gpus
from tuner.places import Places
from tuner.pool.base import Pool, keep
from tuner.pool.inline import InlinePool
from tuner.pool.processes import ProcessPool
from tuner.pool.ray import RayPool
from tuner.scratch import scratch_folder
from tuner.settings import Settings
from tuner.worker import Worker

log = structlog.get_logger()
app = typer.Typer(
    help="Keep as many workers alive as there is work for; none when there is none.",
    no_args_is_help=True,
)
Server = Annotated[str | None, typer.Option("--server", help="The service's address; or TUNER_SERVER.")]
MaxWorkers = Annotated[int, typer.Option(min=1, help="At most so many at once.")]
Idle = Annotated[float, typer.Option(min=0, help="A worker ends after so many seconds without a trial.")]
Studies = Annotated[list[str] | None, typer.Option("--study", help="Train for these studies only (names or ids).")]


@app.command()
def inline(server: Server = None, idle_seconds: Idle = 60.0, study: Studies = None) -> None:
    """One worker in this very process, while there is work: to look into it with a debugger."""
    configure_logs()
    set_environment()
    settings = Settings()
    with Client(server) as client, scratch_folder() as folder:
        inventory = prepare(settings.fake_gpus, None)

        def make() -> Worker:
            places = Places(inventory.gpus)
            return make_worker(client, settings, inventory, places, folder, studies=study, most_idle_seconds=idle_seconds)

        _keep(InlinePool(make), client, most=1, trials_each=1)


@app.command()
def processes(
    server: Server = None,
    max_workers: MaxWorkers = 1,
    gpus_per_worker: Annotated[int, typer.Option(min=0, help="GPUs of this machine that each has; 0: CPU only.")] = 0,
    idle_seconds: Idle = 60.0,
    study: Studies = None,
) -> None:
    """Workers as processes of this machine."""
    configure_logs()
    devices = _shares(gpus_per_worker, max_workers)
    with Client(server) as client, _worker_token(client) as token:
        environment = {"TUNER_SERVER": client.server, "TUNER_TOKEN": token}
        cores = max(1, (os.cpu_count() or 1) // max_workers)
        arguments = _arguments(gpus_per_worker, cores, idle_seconds, study)
        pool = ProcessPool(arguments, environment, folder=Settings().home / "logs", devices=devices)
        _keep(pool, client, most=max_workers, trials_each=max(1, gpus_per_worker))


@app.command()
def ray(
    server: Server = None,
    address: Annotated[str, typer.Option(help="Of the Ray cluster: HOST:PORT of its head node; auto: this machine's.")] = "auto",
    max_workers: MaxWorkers = 1,
    gpus_per_worker: Annotated[int, typer.Option(min=0, help="GPUs that Ray keeps for each; 0: CPU only.")] = 1,
    cpus_per_worker: Annotated[float, typer.Option(min=0, help="Cores that Ray keeps for each.")] = 1.0,
    idle_seconds: Idle = 60.0,
    study: Studies = None,
) -> None:
    """Workers on a Ray cluster, whose machines have Tuner installed and reach the service."""
    configure_logs()
    with Client(server) as client, _worker_token(client) as token:
        environment = {"TUNER_SERVER": client.server, "TUNER_TOKEN": token}
        arguments = _arguments(gpus_per_worker, max(1, int(cpus_per_worker)), idle_seconds, study)
        pool = RayPool(address, arguments, environment, gpus=gpus_per_worker, cpus=cpus_per_worker)
        _keep(pool, client, most=max_workers, trials_each=max(1, gpus_per_worker))


def _keep(pool: Pool, client: Client, *, most: int, trials_each: int) -> None:
    """Until Ctrl-C or SIGTERM."""
    stopping = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stopping.set())

    def wanted() -> int:
        return min(most, math.ceil(client.demand() / trials_each))

    log.info("pool ready", server=client.server, most=most)
    try:
        keep(pool, wanted, stopping)
    finally:
        pool.stop()


@contextmanager
def _worker_token(client: Client) -> Iterator[str]:
    """A token that the workers may have: one made for them, or the pool's own if that can do no more than theirs."""
    try:
        made = client.post("/tokens", {"role": "worker", "name": "tuner pool"})
    except Refused as refusal:
        if refusal.status != 403:
            raise
        client.demand()  # or the workers would be refused one after the other
        yield client.token
        return
    try:
        yield made["token"]
    finally:
        client.call("DELETE", f"/tokens/{made['id']}")


def _arguments(gpus: int, cores: int, idle_seconds: float, studies: Sequence[str] | None) -> list[str]:
    slots = [] if gpus else ["--gpus", "0", "--slots", "1"]
    only = [part for name in studies or () for part in ("--study", name)]
    return ["-m", "tuner", "worker", *slots, "--cores", str(cores), "--end-when-idle", str(idle_seconds), *only]


def _shares(gpus: int, workers: int) -> list[list[str]] | None:
    """Disjoint sets of this machine's GPUs. Raises InvalidInput if there are too few."""
    if gpus == 0:
        return None
    found = nvidia_gpus()
    ids = [gpu.id for gpu in found.gpus] if found else []
    if gpus * workers > len(ids):
        raise InvalidInput.at(
            "--gpus-per-worker", f"{workers} workers of {gpus} need {gpus * workers} GPUs; this machine has {len(ids)}"
        )
    return [ids[index * gpus : (index + 1) * gpus] for index in range(workers)]

"""`tuner worker`: an agent that trains trials on this machine."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import structlog
import typer

from studies.errors import InvalidInput
from tuner.client import Client
from tuner.commands.serve import configure_logs
from tuner.gpu_watch import prepare
from tuner.gpus import Inventory
from tuner.places import Places
from tuner.scratch import scratch_folder
from tuner.settings import Settings
from tuner.worker import Worker

log = structlog.get_logger()


def worker(
    server: Annotated[str | None, typer.Option("--server", help="The service's address; or TUNER_SERVER.")] = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, help="Trials at once; default: one per GPU, else one per 4 cores."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="Use only the first so many GPUs; 0: CPU only.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Cores that its trials share; default: all of the machine's.")] = None,
    pack: Annotated[bool, typer.Option(help="Several trials on one GPU, as far as the memory that was measured allows.")] = False,
    study: Annotated[list[str] | None, typer.Option(help="Train for these studies only (names or ids).")] = None,
    end_when_idle: Annotated[float | None, typer.Option(min=0, help="End after so many seconds without a trial.")] = None,
) -> None:
    """Lease trials from a service and train them until ended by Ctrl-C or SIGTERM; trials it holds are given back."""
    configure_logs()
    if pack and slots is not None:
        raise InvalidInput.at("--slots", "with --pack the memory of the GPUs decides how many trials they train at once")
    set_environment()
    with Client(server) as client, scratch_folder() as folder:
        settings = Settings()
        inventory = prepare(settings.fake_gpus, gpus)
        places = Places(inventory.gpus, slots=slots, cores=cores, pack=pack)
        agent = make_worker(client, settings, inventory, places, folder, studies=study, most_idle_seconds=end_when_idle)
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, lambda *_: agent.stopping.set())
        log.info("worker ready", server=client.server, slots=places.count, gpus=len(inventory.gpus))
        agent.run()


_M_MMAP_THRESHOLD = -3  # of malloc.h


def set_environment() -> None:
    """What libraries read once: before anything imports transformers or torch, here or in a trial's process."""
    # Nothing is fetched behind the user's back: a model is on this machine, or the user allows downloads with HF_HUB_OFFLINE=0.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads don't survive the fork of a trial's process
    # OpenMP's threads wait for each other without giving their core back, by default for milliseconds. Not so long, training is
    # as fast on a machine of its own, and much faster on one that has other work (docs/performance.md).
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # A trial's process takes the same memory at every step: given back to the kernel in between, it would be zeroed each time.
    if _keeps_memory(2**30):
        for threshold in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
            os.environ.setdefault(threshold, str(2**30))


def _keeps_memory(most: int) -> bool:
    """Whether the C library keeps freed blocks of up to so many bytes: an old glibc refuses, and others know no such setting.

    Half of the setting would do harm: with the second threshold alone, larger blocks are mapped anew, at ten times the faults.
    """
    try:
        accepted: int = ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, most)
    except (AttributeError, OSError):
        return False
    return accepted == 1


def make_worker(
    client: Client,
    settings: Settings,
    inventory: Inventory,
    places: Places,
    folder: Path,
    *,
    studies: Sequence[str] | None = None,
    most_idle_seconds: float | None = None,
) -> Worker:
    """A worker as `tuner worker` runs it."""
    return Worker(
        client,
        places,
        inventory,
        folder=folder,
        studies=studies,
        allowed_sources=settings.allowed_sources,
        shared=settings.activations,
        shared_bytes=settings.activation_bytes,
        most_idle_seconds=most_idle_seconds,
    )

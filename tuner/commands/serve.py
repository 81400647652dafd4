"""`tuner serve`: the service with its dashboard, and local workers if asked for."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import ModuleType
from typing import Annotated, Any, TextIO, cast

import structlog
import typer

from tuner.commands.output import console
from tuner.pool.base import Pool, keep
from tuner.pool.processes import local_worker
from tuner.settings import Settings


def serve(
    database: Annotated[str | None, typer.Option(help="Database URL; default: SQLite in TUNER_HOME.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1, this machine only.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Local workers: trials trained at once on this machine.")] = 0,
) -> None:
    """Run the service and print the dashboard's address."""
    configure_logs()
    given: dict[str, Any] = {"database_url": database, "host": host, "port": port}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    # The HTTP layer stands above this package, so it is named, not imported.
    server = _imported("api.server")
    with ExitStack() as at_the_end:

        def announce(url: str, token: str, worker_token: str) -> None:
            link = f"{settings.public_url or url}/login?token={token}"
            console.print(f"Tuner is at [link={link}]{link}[/]", soft_wrap=True)
            if workers:
                pool = local_worker(url, worker_token, slots=workers, folder=settings.home / "logs")
                at_the_end.enter_context(_kept_alive(pool))

        server.main(settings, announce)


def _imported(name: str) -> ModuleType:
    """A module that stays, with all that it brings.

    To look through it for garbage would hold up every call for a tenth of a second, whenever Python does so.
    """
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _kept_alive(pool: Pool) -> Iterator[None]:
    """A worker on this machine, started again whenever it ends."""
    stopping = threading.Event()
    pool.start(1)
    keeper = threading.Thread(target=keep, args=(pool, lambda: 1, stopping), name="local-worker", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        keeper.join()
        pool.stop()


def configure_logs() -> None:
    """Structured lines on standard error; standard output is for what a command answers."""
    # Plain tracebacks: the pretty ones show local variables, and with them tokens.
    for_people = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    for_programs = [structlog.processors.ExceptionRenderer(), structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,  # which study, trial and attempt a thread works for
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(for_people if sys.stderr.isatty() else for_programs),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", _AsFarAsPossible(sys.stderr))),
    )


class _AsFarAsPossible:
    """A file whose lines are lost where they can't be written: a full disk under a log must stop nothing but the log."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

"""The service as a process: one per home folder, on one address, until it is told to end."""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import structlog
import uvicorn

from api.app import create_app
from api.protocol import Protocol
from api.standby import standing_by
from tuner.access import write_private
from tuner.errors import Conflict
from tuner.service import Service, utc_now, wait_for_lead
from tuner.settings import Settings

log = structlog.get_logger()
_LOCAL_WORKERS = "local workers"
_SECONDS_TO_END = 2
_SECONDS_IDLE = 30  # workers speak every few seconds: a connection that is closed just then would cost them an answer
_BACKLOG = 2048

# (address, the local user's token, a token for workers on this machine)
Announce = Callable[[str, str, str], None]


def main(settings: Settings, announce: Announce) -> None:
    """Serve until SIGINT or SIGTERM. `announce` is called once, when the service answers.

    Raises Conflict if another service uses the same home folder, or the port is taken.
    """
    if not _is_loopback(settings.host):
        log.warning("the service can be reached from other machines, without encryption", host=settings.host)
    with _alone(settings):
        leadership = wait_for_lead(settings, meanwhile=partial(standing_by, settings))
        with listen(settings) as listening:
            bound = settings.model_copy(update={"port": listening.getsockname()[1]})
            server = Server(bound, announce)
            server.app.state.leadership = leadership
            server.run([listening])


class Server(uvicorn.Server):
    """uvicorn with our application; `settings.port` is the port of the socket that `run` is given."""

    def __init__(self, settings: Settings, announce: Announce) -> None:
        self.settings = settings
        self.announce = announce
        self.app = create_app(settings)
        self.app.state.on_deposed = self.end
        super().__init__(
            uvicorn.Config(
                self.app,
                http=Protocol,
                loop="asyncio",
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_SECONDS_TO_END,
                timeout_keep_alive=_SECONDS_IDLE,
            )
        )

    @property
    def url(self) -> str:
        """How a browser on this machine reaches the service."""
        host = self.settings.host if _is_loopback(self.settings.host) else "127.0.0.1"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        service: Service = self.app.state.service
        now = utc_now()
        user = service.access.token_in(self.settings.local_token_file, "admin", "local user", now=now)
        if self.settings.worker_token_file is not None:
            service.access.token_in(self.settings.worker_token_file, "worker", "workers by file", now=now)
        service.access.revoke_named(_LOCAL_WORKERS, now=now)  # those of an earlier run
        _, worker = service.access.create_token("worker", _LOCAL_WORKERS, now=now)
        write_private(self.settings.service_file, json.dumps({"url": self.url, "pid": os.getpid()}))
        self.announce(self.url, user, worker)

    def end(self) -> None:
        """Stop serving, as after SIGTERM."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.settings.service_file.unlink(missing_ok=True)
        self.app.state.feed.close()  # whoever waits is answered now, or uvicorn would wait for them
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own would raise the signal again at the end, and a service that was asked to end has not failed.
        self.force_exit = self.should_exit
        self.should_exit = True


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the home folder's lock. Raises Conflict naming who has it."""
    settings.home.mkdir(parents=True, exist_ok=True)
    with (settings.home / "service.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise Conflict(
                f"another service (process {lock.read().strip() or 'unknown'}) uses {settings.home}; "
                "end it first, or give this one a TUNER_HOME of its own"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def listen(settings: Settings) -> socket.socket:
    """A socket on the address of `settings`. Raises Conflict if that is not to be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is: answers would take 40 ms more.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(_BACKLOG)
        return listening
    except OSError as error:
        listening.close()
        reason = error.strerror or error
        raise Conflict(
            f"can't listen on {settings.host} port {settings.port}: {reason}; choose another with --port (0: any free one)"
        ) from error


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

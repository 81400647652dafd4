"""The service over HTTP, for the command line, the worker, and any program that trains its own way.

Bring your own training script:

    from tuner.client import Client

    with Client() as client:
        for trial in client.trials("my-study"):
            for epoch in range(1, trial.params["epochs"] + 1):
                accuracy = train_one_epoch(trial.params)
                if trial.report(epoch=epoch, step=epoch, accuracy=accuracy).stop:
                    break
            trial.finish({"accuracy": accuracy})
"""

from __future__ import annotations

import ipaddress
import json
import math
import os
import platform
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2

from studies.errors import FieldError
from tuner.errors import Refused, ServiceError, Unreachable
from tuner.leased_trial import LeasedTrial, well_formed
from tuner.settings import Settings

_TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
_LONG_POLL_SECONDS = 20.0
_NO_TOKEN = "Bearer "


class Client:
    """One service. Without arguments: `TUNER_SERVER` and `TUNER_TOKEN`, else the service that runs on this machine.

    Raises Unreachable where there is none, ServiceError where a service elsewhere would have to do without a token.
    """

    def __init__(self, server: str | None = None, token: str | None = None, *, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        self.server = (server or settings.server or local_service(settings) or _nobody(settings)).rstrip("/")
        self._settings = settings
        self.token = token or _given_token(settings) or _local_token(self.server, settings)
        self._http = httpx2.Client(
            base_url=self.server, headers={"Authorization": f"Bearer {self.token}"}, timeout=_TIMEOUT, follow_redirects=False
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at `path` below /api/v1. Raises Refused or Unreachable."""
        return self.call("GET", path, query=query)

    def study(self, id_or_name: str) -> dict[str, Any]:
        """One study; of several with the name, the newest."""
        found: dict[str, Any] = self.get(f"/studies/{quote(id_or_name, safe='')}")
        return found

    def post(self, path: str, body: object = None, **query: Any) -> Any:
        return self.call("POST", path, body=body if body is not None else {}, query=query)

    def call(
        self,
        verb: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """One call; the answer's JSON, or None where it has no body. Raises Refused or Unreachable."""
        content = None if body is None else json.dumps(_travelling(body), allow_nan=False).encode()
        kinds = {} if body is None else {"Content-Type": "application/json"}
        response = self._send(
            verb,
            path,
            params={name: value for name, value in (query or {}).items() if value is not None},
            content=content,
            headers=kinds | dict(headers or {}),
            timeout=_TIMEOUT if timeout is None else timeout,
        )
        return _content(response)

    def upload(self, path: str, file: Path, **query: Any) -> Any:
        """PUT a file's bytes, streamed."""
        with file.open("rb") as handle:
            response = self._send(
                "PUT",
                path,
                params=query,
                content=_chunks(handle),
                headers={"Content-Type": "application/octet-stream"},
                timeout=600.0,
            )
        return _content(response)

    def download(self, path: str, file: Path) -> None:
        """GET bytes into a file, which appears only once it is whole."""
        unfinished = file.with_name(file.name + ".part")
        try:
            with self._http.stream("GET", f"/api/v1{path}", timeout=600.0) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _refused(response)
                with unfinished.open("wb") as handle:
                    for chunk in response.iter_bytes():
                        handle.write(chunk)
        except httpx2.RequestError as error:
            raise self._unreachable(error) from error
        unfinished.replace(file)

    def register(self, gpus: Sequence[Mapping[str, Any]] = (), versions: Mapping[str, str] | None = None) -> str:
        """Make this process known as a worker; returns its id."""
        body = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "gpus": list(gpus),
            "versions": dict(versions or {"python": platform.python_version()}),
        }
        answer = self.post("/workers", body)
        with well_formed("a worker's registration"):
            return str(answer["worker_id"])

    def tell_gpus(self, worker_id: str, gpus: Sequence[Mapping[str, Any]]) -> None:
        """How busy a worker's GPUs are; it counts as a sign of life."""
        self.call("PATCH", f"/workers/{worker_id}", body={"gpus": list(gpus)})

    def demand(self) -> int:
        """How many trials run or could run now, if there were workers for them."""
        answer = self.get("/workers/demand")
        with well_formed("a number of trials"):
            return int(answer["trials"])

    def lease(
        self,
        worker_id: str,
        *,
        studies: Sequence[str] | None = None,
        gpus: int | None = None,
        wait_seconds: float = _LONG_POLL_SECONDS,
        request: str | None = None,
    ) -> LeasedTrial | None:
        """A trial to train, or None if none came up within `wait_seconds`.

        `studies`, by name or id, limits whose; `gpus` how many it may want: those of the worker that are free now. Who repeats
        a call that got no answer gives both the same random `request`: the answer is the same trial then.
        """
        body = {"worker_id": worker_id, "studies": studies, "gpus": gpus, "wait_seconds": wait_seconds, "request": request}
        answer = self.call("POST", "/leases", body=body, timeout=wait_seconds + 30)
        with well_formed("a lease"):
            return None if answer is None else LeasedTrial(self, answer)

    def trials(self, study: str, *, wait_seconds: float = 0.0) -> Iterator[LeasedTrial]:
        """Lease one trial after the other until the study, by name or id, gives no more (each is kept alive meanwhile).

        One that the loop body does not finish, because it raises or leaves the loop, is given back.
        """
        worker_id = self.register()
        while (trial := self.lease(worker_id, studies=[study], wait_seconds=wait_seconds)) is not None:
            with trial:
                yield trial

    def _send(self, verb: str, path: str, **options: Any) -> httpx2.Response:
        if self._http.headers["Authorization"] == _NO_TOKEN:  # the service of this machine may have made it since
            self._http.headers["Authorization"] = f"Bearer {_local_token(self.server, self._settings)}"
        try:
            response = self._http.request(verb, f"/api/v1{path}", **options)
        except httpx2.RequestError as error:
            raise self._unreachable(error) from error
        if response.status_code >= 400:
            raise _refused(response)
        if response.is_redirect:
            raise Refused(response.status_code, f"{self.server} answered with a redirect; is that the service's address?")
        return response

    def _unreachable(self, error: httpx2.RequestError) -> Unreachable:
        return Unreachable(f"no answer from {self.server} ({error or type(error).__name__}); is `tuner serve` running there?")


def local_service(settings: Settings) -> str | None:
    """Where the service of this machine listens, if one has said so."""
    if not settings.service_file.exists():
        return None
    url: str = json.loads(settings.service_file.read_text(encoding="utf-8"))["url"]
    return url


def _nobody(settings: Settings) -> str:
    raise Unreachable(
        f"no service runs on this machine in {settings.home}; start one with `tuner serve`, or give its address with --server"
    )


def _given_token(settings: Settings) -> str | None:
    """The token that was set. Raises ServiceError where a file of one holds none."""
    if settings.token is not None:
        return settings.token.get_secret_value()
    if settings.token_file is None:
        return None
    try:
        found = settings.token_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServiceError(f"TUNER_TOKEN_FILE: {settings.token_file} can't be read: {error.strerror}") from error
    if not found:
        raise ServiceError(f"TUNER_TOKEN_FILE: {settings.token_file} is empty; it must hold a token of `tuner tokens create`")
    return found


def _local_token(server: str, settings: Settings) -> str:
    """This machine's own token. It may do everything here, so no other machine ever gets to see it."""
    if server != local_service(settings) and not _is_loopback(server):
        raise ServiceError(
            f"no token for {server}: set TUNER_TOKEN to one of that service (there: `tuner tokens create ROLE`); "
            f"{settings.local_token_file} is only for the service on this machine"
        )
    return settings.local_token_file.read_text(encoding="utf-8").strip() if settings.local_token_file.exists() else ""


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _content(response: httpx2.Response) -> Any:
    with well_formed("JSON"):
        return response.json() if response.content else None


def _refused(response: httpx2.Response) -> Refused:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    nothing_told = Refused(response.status_code, f"the service answered {response.status_code}")
    if not isinstance(problem, dict):
        return nothing_told  # a proxy's page, say
    try:
        errors = [FieldError(entry["field"], entry["message"]) for entry in problem.get("errors", [])]
    except (KeyError, TypeError):
        return nothing_told
    return Refused(response.status_code, str(problem.get("detail") or nothing_told.detail), errors)


def _chunks(handle: Any, size: int = 1 << 20) -> Iterable[bytes]:
    while chunk := handle.read(size):
        yield chunk


def _travelling(value: Any) -> Any:
    """JSON has no NaN and no infinities: they travel as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, Mapping):
        return {key: _travelling(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_travelling(entry) for entry in value]
    return value

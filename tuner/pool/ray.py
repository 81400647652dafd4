"""Workers on a Ray cluster: Ray finds each a machine with the GPUs it needs, this pool says how many there are to be.

An actor a worker, which runs it as a process below itself. Actors are not restarted by Ray: a worker that is gone
is replaced by the pool, and its trials are given out again under new leases.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuner.errors import TunerError

_STOP_SECONDS = 15.0
_CONNECT_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1


class RayPool:
    """Workers as actors of a Ray cluster that runs already."""

    def __init__(
        self, address: str, arguments: Sequence[str], environment: Mapping[str, str], *, gpus: float = 1, cpus: float = 1
    ) -> None:
        """Each worker is Python with `arguments`; `gpus` and `cpus` are what Ray keeps for it.

        Raises TunerError where there is no Ray, or none at `address`.
        """
        self._ray = connect(address)
        decorate: Any = self._ray.remote(num_gpus=gpus, num_cpus=cpus, max_restarts=0, max_concurrency=2)
        place = decorate(Place)
        # Without it a worker that has no GPU kept for it would see all of its machine's.
        hidden: dict[str, str] = {"CUDA_VISIBLE_DEVICES": ""} if gpus == 0 else {}
        self._make: Callable[[], Any] = lambda: place.remote(list(arguments), dict(environment) | hidden)
        self._actors: dict[Any, Any] = {}  # what its `run` will return → the actor
        self._faults: list[str] = []

    def start(self, count: int) -> None:
        for _ in range(count):
            actor = self._make()
            self._actors[actor.run.remote()] = actor

    def alive(self) -> int:
        self._reap()
        return len(self._actors)

    def faults(self) -> list[str]:
        self._reap()
        told, self._faults = self._faults, []
        return told

    def stop(self) -> None:
        running = list(self._actors)
        for actor in self._actors.values():
            actor.stop.remote()
        if running:
            self._ray.wait(running, num_returns=len(running), timeout=_STOP_SECONDS)
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._ray.shutdown()

    def _reap(self) -> None:
        if not self._actors:
            return
        ended, _ = self._ray.wait(list(self._actors), num_returns=len(self._actors), timeout=0)
        for run in ended:
            actor = self._actors.pop(run)
            try:
                status = self._ray.get(run)
            except self._ray.exceptions.ActorUnavailableError:
                self._actors[actor.run.remote()] = actor  # its machine does not answer just now; that is no death
                continue
            except self._ray.exceptions.RayError as error:
                self._faults.append(f"the worker's machine or process was lost: {str(error).splitlines()[0]}")
                continue
            self._ray.kill(actor)  # or its GPUs stay taken
            if status != 0:
                self._faults.append(f"the worker ended (exit status {status}); Ray's dashboard has its log")


class Place:
    """The actor: a worker's process, which does not outlive it."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=end_with_parent,
        )

    def run(self) -> int:
        """Its exit status, once it has ended."""
        return self._process.wait()

    def stop(self) -> None:
        self._process.terminate()


def end_with_parent() -> None:
    """Between fork and exec: have the kernel send SIGTERM when the thread that forked is gone, so that trials are given back."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def connect(address: str) -> Any:
    """The module `ray`, connected. Raises TunerError with what to do."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone behind the user's back
    try:
        import ray
    except ImportError:
        raise TunerError("Ray is not installed here: pip install 'tuner[ray]', in the version that the cluster has") from None
    _check_reachable(address)
    try:
        ray.init(address=address, namespace="tuner", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise TunerError(
            f"no Ray cluster can be used at {address}: {str(error).splitlines()[0]}; `ray start --head` starts one, --address "
            "names another, and where a cluster asks for a token it is set by RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself would try for half a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise TunerError(
            f"nothing answers at {address} ({error.strerror or error}); is its head node up (`ray start --head`), the port open?"
        ) from error

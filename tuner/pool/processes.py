"""Workers as processes of this machine: what `tuner serve --workers N` and `tuner run` train on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tuner.errors import TunerError

_STOP_SECONDS = 15.0
_LINES_SHOWN = 15


class ProcessPool:
    """Each worker is a process, Python with `arguments`; all write to one log in `folder`."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        folder: Path,
        devices: Sequence[Sequence[str]] | None = None,
    ) -> None:
        """`environment`: the token goes by it, because a command line can be read by every user of the machine.

        `devices`: the GPUs of each worker, of which there can be no more then; None: each uses what it finds.
        """
        self.arguments, self.environment = arguments, environment
        self.log_file = folder / "worker.log"
        self._devices = devices
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._faults: list[str] = []

    def start(self, count: int) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        self._reap()
        free = (index for index in range(len(self._processes) + count) if index not in self._processes)
        for index in [next(free) for _ in range(count)]:
            self._processes[index] = self._spawn(index)

    def alive(self) -> int:
        self._reap()
        return len(self._processes)

    def faults(self) -> list[str]:
        self._reap()
        told, self._faults = self._faults, []
        return told

    def check(self) -> None:
        """Raises TunerError with the end of its log if no worker is left."""
        if not self.alive():
            raise TunerError((self.faults() or ["the worker ended by itself"])[0])

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def _reap(self) -> None:
        for index, process in list(self._processes.items()):
            status = process.poll()
            if status is not None:
                del self._processes[index]
                if status != 0:
                    self._faults.append(f"the worker ended (exit status {status}); {end_of(self.log_file)}")

    def _spawn(self, index: int) -> subprocess.Popen[bytes]:
        mine = {} if self._devices is None else {"CUDA_VISIBLE_DEVICES": ",".join(self._devices[index])}
        with self.log_file.open("ab") as log_file:
            # In a session of its own, so that Ctrl-C reaches only the one who started it, who ends it in order.
            return subprocess.Popen(
                [sys.executable, *self.arguments],
                env=os.environ | dict(self.environment) | mine,
                stdout=log_file,
                stderr=log_file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )


def local_worker(url: str, token: str, *, slots: int, folder: Path, study: str | None = None) -> ProcessPool:
    """For one worker of this machine, whose slots share the imports of torch and transformers; `study`: only for that one."""
    only = ["--study", study] if study is not None else []
    arguments = ["-m", "tuner", "worker", "--slots", str(slots), *only]
    return ProcessPool(arguments, {"TUNER_SERVER": url, "TUNER_TOKEN": token}, folder=folder)


def end_of(log_file: Path) -> str:
    """The last lines of a process's log, for a message about its end."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    return f"the end of {log_file}:\n" + "\n".join(lines[-_LINES_SHOWN:])

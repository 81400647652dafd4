"""Workers as processes of this machine: what `tuner serve --workers N` and `tuner run` train on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import structlog

from tuner.errors import TunerError

log = structlog.get_logger()
_STOP_SECONDS = 15.0
_MOST_RESTARTS = 3
_LINES_SHOWN = 15


class LocalWorkers:
    """One worker process with `slots` slots, which share the imports of torch and transformers."""

    def __init__(self, *, slots: int, folder: Path, study: str | None = None) -> None:
        self.slots = slots
        self.study = study  # whose trials it trains; None: any study's
        self.log_file = folder / "worker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._stopping = False
        self._starting = threading.Lock()

    def start(self, url: str, token: str) -> None:
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        # The token goes by environment: a command line can be read by every user of the machine.
        self._environment = os.environ | {"TUNER_SERVER": url, "TUNER_TOKEN": token}
        self._process = self._spawn()

    def check(self) -> None:
        """Raises TunerError with the end of its log if the worker has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise TunerError(f"the worker ended (exit status {self._process.returncode}); {end_of(self.log_file)}")

    def keep_alive(self) -> None:
        """Start the worker again when it ends, at most a few times; returns once it may stay ended."""
        for restarts_left in reversed(range(_MOST_RESTARTS + 1)):
            if self._process is None:
                return
            status = self._process.wait()
            with self._starting:
                if self._stopping:
                    return
                log.error("the local worker ended", status=status, log=str(self.log_file), restarts_left=restarts_left)
                if restarts_left:
                    self._process = self._spawn()

    def stop(self) -> None:
        """Ask it to give its trials back and end; kill it if it does not."""
        with self._starting:
            self._stopping = True
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        only = ["--study", self.study] if self.study is not None else []
        with self.log_file.open("ab") as log_file:
            # In a session of its own, so that Ctrl-C reaches only the one who started it, who ends it in order.
            return subprocess.Popen(
                [sys.executable, "-m", "tuner", "worker", "--slots", str(self.slots), *only],
                env=self._environment,
                stdout=log_file,
                stderr=log_file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )


def end_of(log_file: Path) -> str:
    """The last lines of a process's log, for a message about its end."""
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    return f"the end of {log_file}:\n" + "\n".join(lines[-_LINES_SHOWN:])

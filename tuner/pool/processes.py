"""Workers as processes of this machine: what `tuner serve --workers N` and `tuner run` train on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_STOP_SECONDS = 15.0


class LocalWorkers:
    """One worker process with `slots` slots, which share the imports of torch and transformers."""

    def __init__(self, *, slots: int, folder: Path) -> None:
        self.slots = slots
        self.folder = folder  # for the worker's log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, url: str, token: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # The token goes by environment: a command line can be read by every user of the machine.
        environment = os.environ | {"TUNER_SERVER": url, "TUNER_TOKEN": token}
        with (self.folder / "worker.log").open("ab") as log:
            # In a session of its own, so that Ctrl-C reaches only the one who started it, who ends it in order.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tuner", "worker", "--slots", str(self.slots)],
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask it to give its trials back and end; kill it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

"""Workers as threads of this process: for looking into them with a debugger, and for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tuner.errors import TunerError
from tuner.worker import Worker


class InlinePool:
    """Each worker is what `make` returns, on a thread of its own."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._make = make
        self._workers: list[tuple[threading.Thread, Worker]] = []
        self._faults: list[str] = []

    def start(self, count: int) -> None:
        for _ in range(count):
            worker = self._make()
            thread = threading.Thread(target=self._run, args=(worker,), name="worker", daemon=True)
            self._workers.append((thread, worker))
            thread.start()

    def alive(self) -> int:
        self._workers = [(thread, worker) for thread, worker in self._workers if thread.is_alive()]
        return len(self._workers)

    def faults(self) -> list[str]:
        told, self._faults = self._faults, []
        return told

    def stop(self) -> None:
        for _, worker in self._workers:
            worker.stopping.set()
        for thread, _ in self._workers:
            thread.join()

    def _run(self, worker: Worker) -> None:
        try:
            worker.run()
        except TunerError as error:
            self._faults.append(str(error))

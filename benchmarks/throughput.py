"""Trials a second: this service beside Optuna's documented way, alternating in one run on one machine.

`python -m benchmarks.throughput`; prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from benchmarks import optuna_way
from benchmarks.load import Timings, connect, new_worker, percentile, train
from benchmarks.servers import TunerServer, cpu_seconds, new_database, postgres, study_body, tuner_server


@dataclass
class Measured:
    """What one system did with so many workers, over all rounds."""

    system: str
    workers: int
    trials: int = 0
    wall: float = 0.0
    asks: list[float] = field(default_factory=list)
    reports: list[float] = field(default_factory=list)
    service_cpu: float = 0.0
    load_cpu: float = 0.0

    @property
    def rate(self) -> float:
        return self.trials / self.wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=160, help="trials of a study")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--systems", nargs="*", default=["optuna", "postgres", "sqlite"])
    given = parser.parse_args()
    found: dict[tuple[str, int], Measured] = {}
    with postgres() as server:
        for workers in given.workers:
            for _ in range(given.rounds):
                for system in given.systems:
                    measured = found.setdefault((system, workers), Measured(system, workers))
                    _measure(measured, server, given.trials)
                    print(f"{system}, {workers} workers: {measured.rate:.1f} trials/s so far", flush=True)
    print()
    for line in table(found.values()):
        print(line)


def _measure(measured: Measured, server: str, trials: int) -> None:
    database = None if measured.system == "sqlite" else new_database(server)
    if measured.system == "optuna":
        assert database is not None
        wall, asks, reports, cpu = optuna_way.search(database, workers=measured.workers, trials=trials)
        measured.wall += wall
        measured.asks += asks
        measured.reports += reports
        measured.trials += trials
        measured.service_cpu += cpu
        return
    with tuner_server(database) as tuner:
        asyncio.run(_load(measured, tuner, trials))


async def _load(measured: Measured, tuner: TunerServer, trials: int) -> None:
    connections = [connect(tuner) for _ in range(measured.workers)]
    ids = [await new_worker(connection, index) for index, connection in enumerate(connections)]
    # The first study warms up what a service that has run for a minute has warm; it is not counted.
    for counted, size in ((False, 20), (True, trials)):
        body = study_body(budget={"trials": size}, parallelism=measured.workers)
        study = await connections[0].must("POST", "/studies", body)
        asks, reports = Timings(), Timings()
        service_cpu, load_cpu, began = cpu_seconds(tuner.pid), _own_cpu(), time.perf_counter()
        done = await asyncio.gather(
            *(train(connection, worker, study["id"], asks, reports) for connection, worker in zip(connections, ids, strict=True))
        )
        if sum(done) != size:
            raise RuntimeError(f"{sum(done)} trials of a budget of {size} were run")
        if counted:
            # Workers wait for half a second after the last trial before they give up; the trials were done by then.
            measured.wall += time.perf_counter() - began - 0.5
            measured.trials += size
            measured.asks += asks.seconds
            measured.reports += reports.seconds
            measured.service_cpu += cpu_seconds(tuner.pid) - service_cpu
            measured.load_cpu += _own_cpu() - load_cpu
    for connection in connections:
        await connection.close()


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def table(rows: Iterable[Measured]) -> list[str]:
    lines = [
        "| | workers | trials/s | ask p50 | ask p99 | report p50 | report p99 | CPU a trial: service or processes | load |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    rows = list(rows)
    for row in rows:
        times = [percentile(values, share) * 1000 for values in (row.asks, row.reports) for share in (0.5, 0.99)]
        cpu = [f"{1000 * seconds / row.trials:.1f} ms" if seconds else "–" for seconds in (row.service_cpu, row.load_cpu)]
        cells = [row.system, str(row.workers), f"{row.rate:.1f}", *(f"{value:.1f} ms" for value in times), *cpu]
        lines.append(f"| {' | '.join(cells)} |")
    for row in rows:
        other = next((peer for peer in rows if peer.system == "optuna" and peer.workers == row.workers), None)
        if other is not None and row is not other:
            ask = percentile(other.asks, 0.99) / percentile(row.asks, 0.99)
            cpu_less = (other.service_cpu / other.trials) / ((row.service_cpu + row.load_cpu) / row.trials)
            said = f"{row.rate / other.rate:.1f} × Optuna's trials/s, ask p99 1/{ask:.1f}, CPU a trial 1/{cpu_less:.1f} of its"
            lines.append(f"\n{row.system}, {row.workers} workers: {said}")
    return lines


if __name__ == "__main__":
    main()

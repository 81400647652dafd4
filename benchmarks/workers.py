"""A thousand workers that train slowly: each sends a heartbeat every 10 s and a report every 5 s, for ten minutes.

`python -m benchmarks.workers`; prints the lines of docs/performance.md. `--seconds` makes it shorter.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.load import Connection, Timings, connect, new_worker, point
from benchmarks.servers import TunerServer, cpu_seconds, new_database, postgres, study_body, tuner_server

HEARTBEAT_SECONDS = 10.0  # a report comes twice as often


@dataclass
class Crowd:
    """What all workers saw."""

    heartbeats: Timings = field(default_factory=Timings)
    reports: Timings = field(default_factory=Timings)
    errors: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--databases", nargs="*", default=["sqlite", "postgres"])
    given = parser.parse_args()
    with postgres() as server:
        for database in given.databases:
            with tuner_server(None if database == "sqlite" else new_database(server)) as tuner:
                used = cpu_seconds(tuner.pid)
                crowd = asyncio.run(attend(tuner, workers=given.workers, seconds=given.seconds))
                share = (cpu_seconds(tuner.pid) - used) / given.seconds
            print(
                f"{database}: {given.workers} workers for {given.seconds:g} s: {len(crowd.reports.seconds)} reports, "
                f"p50 {1000 * crowd.reports.percentile(0.5):.0f} ms, p99 {1000 * crowd.reports.percentile(0.99):.0f} ms; "
                f"{len(crowd.heartbeats.seconds)} heartbeats, p99 {1000 * crowd.heartbeats.percentile(0.99):.0f} ms; "
                f"{len(crowd.errors)} errors; the service used {100 * share:.0f} % of one core",
                flush=True,
            )
            for error in sorted(set(crowd.errors))[:5]:
                print(f"  {error}")


async def attend(tuner: TunerServer, *, workers: int, seconds: float, every: float = HEARTBEAT_SECONDS) -> Crowd:
    """Have so many workers each hold a trial and speak up in time, evenly spread; whatever goes wrong is an error.

    `every`: seconds between two heartbeats.
    """
    first = connect(tuner)
    body = study_body(budget={"trials": workers}, parallelism=workers, pruner={"name": "none"})
    study = await first.must("POST", "/studies", body)
    connections = [connect(tuner) for _ in range(workers)]
    leases = []
    for number, connection in enumerate(connections):
        ask = {"worker_id": await new_worker(connection, number), "studies": [study["id"]], "wait_seconds": 60}
        leases.append((await connection.must("POST", "/leases", ask))["id"])
    crowd, rng = Crowd(), random.Random(1)
    until = time.perf_counter() + seconds
    await asyncio.gather(*(_live(c, lease, crowd, rng, until, every) for c, lease in zip(connections, leases, strict=True)))
    for connection in [first, *connections]:
        await connection.close()
    return crowd


async def _live(connection: Connection, lease_id: str, crowd: Crowd, rng: random.Random, until: float, every: float) -> None:
    # One connection each, as a worker has it: a call waits for the one before.
    turn, step = asyncio.Lock(), 0

    async def heartbeat() -> None:
        await _timed(connection, f"/leases/{lease_id}/heartbeat", {}, crowd.heartbeats, crowd.errors, turn)

    async def report() -> None:
        nonlocal step
        step += 1
        await _timed(connection, f"/leases/{lease_id}/metrics", point(step), crowd.reports, crowd.errors, turn)

    await asyncio.gather(_every(every, heartbeat, rng.random(), until), _every(every / 2, report, rng.random(), until))


async def _every(seconds: float, do: Callable[[], Awaitable[None]], phase: float, until: float) -> None:
    due = time.perf_counter() + seconds * phase
    while due < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await do()
        due += seconds


async def _timed(
    connection: Connection, path: str, body: object, timings: Timings, errors: list[str], turn: asyncio.Lock
) -> None:
    async with turn:
        began = time.perf_counter()
        try:
            status, answer = await connection.call("POST", path, body)
        except OSError as error:
            errors.append(str(error))
            return
        timings.add(time.perf_counter() - began)
        if status != 200 or answer != {"verdict": "continue", "reason": None}:
            errors.append(f"{status} {answer}")


if __name__ == "__main__":
    main()

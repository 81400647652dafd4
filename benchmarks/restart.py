"""`kill -9` of the service and a start on what it left: seconds until it gives out work again.

`python -m benchmarks.restart`; prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass

from benchmarks.load import connect
from benchmarks.others import lease_of_another_study, longest_report
from benchmarks.rows import prepare
from benchmarks.servers import TunerServer, cpu_seconds, new_database, postgres, study_body


@dataclass
class Restarted:
    """Seconds since the process was started."""

    serving: float
    leased: float
    sampled: float
    cpu: float  # seconds of CPU until the sampled trial was answered
    longest_wait: float  # of another study's report while the search was rebuilt


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--databases", nargs="*", default=["sqlite", "postgres"])
    given = parser.parse_args()
    lines = [
        "| database | trials | serving | first lease | first sampled trial | CPU until then | longest report of another study |",
        "|---|---|---|---|---|---|---|",
    ]
    with postgres() as server:
        for database in given.databases:
            for trials in given.trials:
                found = asyncio.run(_measure(None if database == "sqlite" else new_database(server), trials))
                times = [found.serving, found.leased, found.sampled, found.cpu, found.longest_wait]
                lines.append(f"| {database} | {trials:,} | {' | '.join(f'{seconds:.1f} s' for seconds in times)} |")
                print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))


async def _measure(database: str | None, trials: int) -> Restarted:
    server = TunerServer(database)
    try:
        body = study_body(budget={"trials": 10 * trials}, parallelism=100)
        study_id, worker_id = await prepare(server, body, finished=trials, points=5)
        began = time.perf_counter()
        server.start()
        serving = time.perf_counter() - began
        connection = connect(server)
        ask = {"worker_id": worker_id, "studies": [study_id], "wait_seconds": 60}
        await connection.must("POST", "/leases", ask)  # the untuned default, which waits
        leased = time.perf_counter() - began
        other = connect(server)
        lease = await lease_of_another_study(other)
        rebuilt = asyncio.Event()
        meanwhile = asyncio.create_task(longest_report(other, lease, rebuilt))
        sampled_from = time.perf_counter()
        lease = await connection.must("POST", "/leases", ask)
        if lease["trial"] <= trials:
            raise RuntimeError(f"trial {lease['trial']} is not a new one")
        sampled = leased + time.perf_counter() - sampled_from
        cpu = cpu_seconds(server.pid)
        rebuilt.set()
        longest = await meanwhile
        await connection.close()
        await other.close()
        return Restarted(serving=serving, leased=leased, sampled=sampled, cpu=cpu, longest_wait=longest)
    finally:
        server.remove()


if __name__ == "__main__":
    main()

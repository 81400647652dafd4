"""What other studies notice of the draws of a Gaussian process, which take up to seconds.

`python -m benchmarks.long_draws`; four workers ask at once in a study of so many trials, again and again, while a trial of
another study reports every 20 ms. Prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks.load import connect, percentile
from benchmarks.others import lease_of_another_study, longest_report
from benchmarks.rows import prepare
from benchmarks.servers import TunerServer, score, study_body

_WORKERS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 300])
    parser.add_argument("--asks", type=int, default=5, help="of each of the four workers")
    given = parser.parse_args()
    lines = ["| trials | ask p50 | longest ask | longest report of another study |", "|---|---|---|---|"]
    for trials in given.trials:
        asks, longest = asyncio.run(_measure(trials, given.asks))
        lines.append(f"| {trials:,} | {percentile(asks, 0.5):.2f} s | {max(asks):.2f} s | {longest * 1000:.0f} ms |")
        print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))


async def _measure(trials: int, asks: int) -> tuple[list[float], float]:
    server = TunerServer(None)
    try:
        body = study_body(budget={"trials": 10 * trials}, parallelism=_WORKERS, sampler={"name": "gp"}, pruner={"name": "none"})
        study_id, worker_id = await prepare(server, body, finished=trials, points=1)
        server.start()
        other, over = connect(server), asyncio.Event()
        lease = await lease_of_another_study(other)
        # The search is rebuilt before anything is measured, and the process that draws has started.
        await _ask(server, study_id, worker_id, 2)
        meanwhile = asyncio.create_task(longest_report(other, lease, over))
        took = await asyncio.gather(*[_ask(server, study_id, worker_id, asks) for _ in range(_WORKERS)])
        over.set()
        longest = await meanwhile
        await other.close()
        return [seconds for worker in took for seconds in worker], longest
    finally:
        server.remove()


async def _ask(server: TunerServer, study_id: str, worker_id: str, asks: int) -> list[float]:
    """Trials that end at once; the seconds that each was waited for."""
    connection, took = connect(server), list[float]()
    for _ in range(asks):
        began = time.perf_counter()
        lease = await connection.must("POST", "/leases", {"worker_id": worker_id, "studies": [study_id], "wait_seconds": 60})
        took.append(time.perf_counter() - began)
        value = score(lease["params"]["learning_rate"], lease["params"]["frozen_layers"])
        await connection.must("POST", f"/leases/{lease['id']}/finish", {"state": "completed", "values": {"accuracy": value}})
    await connection.close()
    return took


if __name__ == "__main__":
    main()

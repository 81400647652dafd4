"""What a call costs in a study that has grown: asks and reports at 100, 1,000 and 10,000 trials, of up to 1,000,000 points.

`python -m benchmarks.growth`; prints the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass, field

from benchmarks.load import connect, percentile, point
from benchmarks.rows import prepare
from benchmarks.servers import REPORTS, TunerServer, new_database, postgres, score, study_body

#: Limits of a budget that no run here reaches.
FAR_LIMITS = {"hours": 1e6, "gpu_hours": 1e6, "target": 1.0, "no_gain_in": 1_000_000}


@dataclass
class Grown:
    """Seconds of each call of one worker, in a study of so many trials."""

    trials: int
    points: int
    asks: list[float] = field(default_factory=list)
    reports: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--points", type=int, default=100, help="metric points of each trial")
    parser.add_argument("--asks", type=int, default=60, help="trials run at each size")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--limits", nargs="*", default=[], choices=list(FAR_LIMITS), help="what the budget limits besides trials")
    given = parser.parse_args()
    found: list[Grown] = []
    with postgres() as server:
        for trials in given.trials:
            grown = Grown(trials=trials, points=trials * given.points)
            database = None if given.database == "sqlite" else new_database(server)
            asyncio.run(_measure(grown, database, given.asks, {name: FAR_LIMITS[name] for name in given.limits}))
            found.append(grown)
    print(f"| trials ({given.database}) | metric points | ask p50 | ask p99 | report p50 | report p99 |")
    print("|---|---|---|---|---|---|")
    for grown in found:
        times = [percentile(values, share) * 1000 for values in (grown.asks, grown.reports) for share in (0.5, 0.99)]
        print(f"| {grown.trials:,} | {grown.points:,} | {' | '.join(f'{value:.1f} ms' for value in times)} |")
    first, last = found[0], found[-1]
    for name, before, after in (("ask", first.asks, last.asks), ("report", first.reports, last.reports)):
        ratio = percentile(after, 0.5) / percentile(before, 0.5)
        print(f"\n{name} p50 at {last.trials:,} trials: {ratio:.1f} × that at {first.trials:,}")


async def _measure(grown: Grown, database: str | None, asks: int, limits: dict[str, float]) -> None:
    server = TunerServer(database)
    try:
        budget = limits | {"trials": 10 * grown.trials + 1000}
        body = study_body(budget=budget, parallelism=2, pruner={"name": "none"})
        points = grown.points // grown.trials
        study_id, worker_id = await prepare(server, body, finished=grown.trials, points=points)
        server.start()
        connection = connect(server)
        for number in range(asks + 2):
            began = time.perf_counter()
            ask = {"worker_id": worker_id, "studies": [study_id], "wait_seconds": 60}
            lease = await connection.must("POST", "/leases", ask)
            asked = time.perf_counter() - began
            reports = []
            for step in range(1, REPORTS + 1):
                began = time.perf_counter()
                await connection.must("POST", f"/leases/{lease['id']}/metrics", point(step))
                reports.append(time.perf_counter() - began)
            value = score(lease["params"]["learning_rate"], lease["params"]["frozen_layers"])
            ending = {"state": "completed", "values": {"accuracy": value}}
            await connection.must("POST", f"/leases/{lease['id']}/finish", ending)
            if number >= 2:  # the first is the untuned default, which is not drawn; the second rebuilds the search
                grown.asks.append(asked)
                grown.reports += reports
        await connection.close()
    finally:
        server.remove()


if __name__ == "__main__":
    main()

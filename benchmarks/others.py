"""What another study on the same service notices of what is measured."""

from __future__ import annotations

import asyncio
import time

from benchmarks.load import Connection, new_worker, point
from benchmarks.servers import study_body


async def lease_of_another_study(connection: Connection) -> str:
    """A trial of a small study."""
    study = await connection.must("POST", "/studies", study_body(budget={"trials": 10}, sampler={"name": "random"}))
    worker_id = await new_worker(connection, 2)
    lease = await connection.must("POST", "/leases", {"worker_id": worker_id, "studies": [study["id"]], "wait_seconds": 60})
    lease_id: str = lease["id"]
    return lease_id


async def longest_report(connection: Connection, lease_id: str, until: asyncio.Event) -> float:
    """Report again and again; returns the seconds that the longest one took."""
    longest, step = 0.0, 0
    while not until.is_set():
        step += 1
        began = time.perf_counter()
        await connection.must("POST", f"/leases/{lease_id}/metrics", point(step))
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(0.02)
    return longest

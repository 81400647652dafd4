"""Workers that train nothing: a cheap HTTP/1.1 client on asyncio streams, and what it measures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson

from benchmarks.servers import REPORTS, TunerServer, report, score


class Connection:
    """One keep-alive connection to the service; one request at a time."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self._head = f"HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """(status, answer). Raises OSError if the service is gone."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self._streams
        content = b"" if body is None else orjson.dumps(body)
        kind = "Content-Type: application/json\r\n" if body is not None else ""
        head = f"{method} /api/v1{path} {self._head}{kind}Content-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        try:
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = answer.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            text = await reader.readexactly(int(length or 0))
        except (OSError, asyncio.IncompleteReadError) as error:
            await self.close()
            raise ConnectionError(f"{method} {path} got no answer") from error
        return int(answer[9:12]), orjson.loads(text) if text else None

    async def must(self, method: str, path: str, body: object = None) -> Any:
        """The answer. Raises RuntimeError if it is a refusal."""
        status, answer = await self.call(method, path, body)
        if status >= 300:
            raise RuntimeError(f"{method} {path} was answered {status}: {answer}")
        return answer

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


class Timings:
    """Seconds that calls of one kind took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def add(self, seconds: float) -> None:
        self.seconds.append(seconds)

    def percentile(self, share: float) -> float:
        return percentile(self.seconds, share)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


async def new_worker(connection: Connection, number: int) -> str:
    made = await connection.must("POST", "/workers", {"host": "bench", "pid": number, "gpus": [], "versions": {}})
    worker_id: str = made["worker_id"]
    return worker_id


def point(step: int) -> dict[str, object]:
    return {"metrics": [{"name": "accuracy", "step": step, "epoch": step, "value": report(step), "split": "validation"}]}


async def train(connection: Connection, worker_id: str, study_id: str, asks: Timings, reports: Timings) -> int:
    """Work off trials of the study until none is left; returns how many."""
    done = 0
    while True:
        started = time.perf_counter()
        lease = await connection.must("POST", "/leases", {"worker_id": worker_id, "studies": [study_id], "wait_seconds": 0.5})
        if lease is None:
            return done
        asks.add(time.perf_counter() - started)
        for step in range(1, REPORTS + 1):
            started = time.perf_counter()
            await connection.must("POST", f"/leases/{lease['id']}/metrics", point(step))
            reports.add(time.perf_counter() - started)
        params = lease["params"]
        value = score(params["learning_rate"], params["frozen_layers"])
        await connection.must("POST", f"/leases/{lease['id']}/finish", {"state": "completed", "values": {"accuracy": value}})
        done += 1


def connect(server: TunerServer) -> Connection:
    return Connection(server.url, server.token)

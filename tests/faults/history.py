"""What clients asked of the service and what they were told: one line of JSON a call, with monotonic times.

Simulated workers record their own calls. A real worker is started as `python -m tests.faults.history FILE worker …`, which
is `tuner worker …` with a thin wrapper around its HTTP client. It may be killed after the service has done what it asked and
before it could write that down, so it writes a line before each call too: with no status and no end.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

PREFIX = "/api/v1"
RUNS = Path(__file__).parents[1] / "output" / "faults.jsonl"


@dataclass(frozen=True, kw_only=True)
class Call:
    """Something a client wants. `data` is what it uploads; `body` is JSON, of an upload its query."""

    verb: str
    path: str  # below /api/v1
    body: Mapping[str, Any] | None = None
    data: bytes | None = None

    def recorded(self) -> dict[str, Any]:
        """The body as the history keeps it: of an upload only what tells its bytes apart."""
        upload = {} if self.data is None else {"size": len(self.data), "sha256": hashlib.sha256(self.data).hexdigest()}
        return dict(self.body or {}) | upload


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back. `status` None: nothing did, and whether the call was executed is not known."""

    status: int | None
    body: Any = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One call and its answer."""

    who: str
    began: float  # seconds on the machine's monotonic clock, or steps of a simulation
    ended: float
    verb: str
    path: str
    body: Mapping[str, Any]
    status: int | None
    answer: Any

    @property
    def accepted(self) -> bool:
        return self.status is not None and self.status < 300


class Recorder:
    """Appends to a history; safe to use from every thread. A line is written before the caller hears the answer."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def add(self, who: str, call: Call, answer: Answer, *, began: float, ended: float) -> None:
        record = Record(
            who=who,
            began=began,
            ended=ended,
            verb=call.verb,
            path=call.path,
            body=call.recorded(),
            status=answer.status,
            answer=answer.body,
        )
        line = json.dumps(asdict(record))
        with self._lock:
            self._file.write(line + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_history(file: Path) -> list[Record]:
    """Every call, in the order in which they ended. The last line of a killed process may be cut off."""
    records, unheard = [], {}
    for line in file.read_text(encoding="utf-8").split("\n"):
        try:
            record = Record(**json.loads(line))
        except ValueError:
            continue
        call = (record.who, record.began, record.verb, record.path)
        if record.ended == math.inf:
            unheard[call] = record
        else:
            unheard.pop(call, None)
            records.append(record)
    return sorted([*records, *unheard.values()], key=lambda record: record.ended)


def note_run(**line: Any) -> None:
    """A line for the published table (`report.py`): what a run struck with, how often, and what it came to."""
    RUNS.parent.mkdir(parents=True, exist_ok=True)
    with RUNS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def bytes_seen(data: bytes) -> dict[str, Any]:
    """A downloaded file as the history keeps it."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _record_every_call(recorder: Recorder, who: str) -> None:
    """Wrap the HTTP client that `tuner.client` uses, so that each call of this process is written down."""
    import httpx2

    send = httpx2.Client.send

    def recorded(self: httpx2.Client, request: httpx2.Request, **options: Any) -> httpx2.Response:
        call, began, response = _call_of(request), time.monotonic(), None
        recorder.add(who, call, Answer(status=None), began=began, ended=math.inf)
        try:
            response = send(self, request, **options)
            return response
        finally:
            answer = Answer(status=None)
            if response is not None:
                text = response.headers.get("content-type", "").startswith("application/json")
                answer = Answer(
                    status=response.status_code, body=json.loads(response.content) if text and response.content else None
                )
            recorder.add(who, call, answer, began=began, ended=time.monotonic())

    httpx2.Client.send = recorded  # type: ignore[method-assign]


def _call_of(request: Any) -> Call:
    path = str(request.url.path).removeprefix(PREFIX)
    if request.headers.get("content-type") == "application/json":
        return Call(verb=request.method, path=path, body=json.loads(request.content))
    # An upload is streamed: its bytes are gone, its query says what it was.
    query = {name: float(value) for name, value in parse_qsl(request.url.query.decode())} if request.method == "PUT" else {}
    return Call(verb=request.method, path=path, body=query)


if __name__ == "__main__":
    _record_every_call(Recorder(Path(sys.argv[1])), who=f"process {time.monotonic_ns()}")
    from tuner.cli import main

    sys.argv = ["tuner", *sys.argv[2:]]
    main()

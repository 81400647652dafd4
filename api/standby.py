"""What a service answers that stands by until the one that owns the database is gone: where to look instead."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog

from api.errors import problem
from studies.errors import FieldError
from tuner.settings import Settings

log = structlog.get_logger()


@contextmanager
def standing_by(settings: Settings, owner: str) -> Iterator[None]:
    """Answer on the service's address until the end of the block: 503 with the reason, but to `/healthz`."""
    host = owner.partition(" ")[0]
    reason = f"another service, on {host}, owns the database; this one stands by and takes over when that one is gone"

    class Answers(BaseHTTPRequestHandler):
        """Of one connection."""

        timeout = 10.0

        def do_GET(self) -> None:
            if self.path == "/healthz":
                self._send(200, {}, json.dumps({"status": "ok"}).encode())
                return
            refusal = problem(
                503,
                reason,
                path=self.path,
                kind="standing-by",
                errors=[FieldError("leadership", reason)],
                headers={"Retry-After": "2"},
            )
            self._send(503, dict(refusal.headers), bytes(refusal.body))

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            pass  # probes come every few seconds

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in ({"content-type": "application/json", "content-length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)

    try:
        answering = ThreadingHTTPServer((settings.host, settings.port), Answers)
    except OSError as error:
        # The owner may be a service of this machine on the same port.
        log.info("standing by without answering", reason=str(error))
        yield
        return
    answering.daemon_threads = True
    thread = threading.Thread(target=answering.serve_forever, kwargs={"poll_interval": 0.1}, name="standby", daemon=True)
    thread.start()
    try:
        yield
    finally:
        answering.shutdown()
        thread.join()
        answering.server_close()

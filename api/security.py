"""The outer wall: which host, origin and body a request may have, and the headers that every answer carries.

Who may do what is `api/deps.py`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from tuner.settings import Settings

log = structlog.get_logger()

# plotly.js writes inline styles, and blob: is how it saves a picture; nothing else needs more than our own files.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The exact values of the Host header under which the service answers."""
    bound = f"[{settings.host}]" if ":" in settings.host else settings.host
    with_port = {f"{name}:{settings.port}" for name in (*_LOOPBACK, bound, *settings.allowed_hosts)}
    # Names are reached through a proxy too, whose port is not ours.
    public = {settings.public_origin.partition("://")[2]} if settings.public_origin else set()
    return frozenset(name.lower() for name in with_port | set(settings.allowed_hosts) | public)


class Wall:
    """ASGI middleware around everything, error answers included."""

    def __init__(self, app: ASGIApp, *, settings: Settings, answered: Callable[[Scope, int, float], None]) -> None:
        """`answered` is told of each answer: its request, status, and seconds until its head was sent."""
        self.app = app
        self.answered = answered
        self.hosts = allowed_hosts(settings)
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._place(scope)
        started, began = False, time.perf_counter()

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.answered(scope, message["status"], time.perf_counter() - began)
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            answer = self._refusal(scope) or self.app
            await answer(scope, self._limited(scope, receive), send_with_headers)
        except Exception:
            # The outermost edge: whatever it was, the client gets no traceback and the service lives on.
            log.exception("a request failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            answer = problem(500, "the service failed to answer this; its log says why", path=scope["path"])
            await answer(scope, receive, send_with_headers)

    def _place(self, scope: Scope) -> None:
        """Below the base path, whether the proxy passes that on or takes it away, and as secure as the proxy is."""
        root = self.settings.base_path
        if self.settings.public_origin:
            scope["scheme"] = self.settings.public_origin.partition("://")[0]
        if root:
            path = scope["path"]
            inner = path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path
            scope.update(root_path=root, path=root + (inner or "/"))

    def _refusal(self, scope: Scope) -> Response | None:
        """What can be told from the request's head alone."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            named = ", ".join(hosts) or "no host"
            reason = f"the service does not answer as {named}; use its own address, or start it with TUNER_ALLOWED_HOSTS"
            return problem(400, reason, path=scope["path"])
        length = headers.get("content-length", "0")
        if scope["method"] in _SAFE_METHODS or (length == "0" and "transfer-encoding" not in headers):
            return None
        wanted = _media_type(scope)
        given = headers.get("content-type", "nothing").partition(";")[0].strip().lower()
        if given != wanted:
            return problem(415, f"the body must be {wanted}, not {given}", path=scope["path"])
        if length.isdecimal() and int(length) > self._limit(scope):
            return problem(413, self._too_large(scope), path=scope["path"])
        return None

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """A body without a Content-Length is counted as it comes."""
        size = 0

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._limit(scope):
                raise HTTPException(413, self._too_large(scope))
            return message

        return receive_limited

    def _limit(self, scope: Scope) -> int:
        return self.settings.max_artifact_bytes if scope["method"] == "PUT" else self.settings.max_body_bytes

    def _too_large(self, scope: Scope) -> str:
        return f"the body may have at most {self._limit(scope)} bytes"


def _media_type(scope: Scope) -> str:
    """PUT carries files and nothing else does."""
    return "application/octet-stream" if scope["method"] == "PUT" else "application/json"


def check_origin(request: Request) -> None:
    """Refuse a write that a browser sends with our cookie on behalf of another site. Raises HTTPException.

    The Host header has been checked before, so an origin on that host is our own.
    """
    if request.method in _SAFE_METHODS:
        return
    origin, host = request.headers.get("origin"), request.headers["host"]
    # A proxy may ask us under another name than the one that the browser knows.
    public: str | None = request.app.state.settings.public_origin
    own = origin in (f"http://{host}", f"https://{host}") or (origin is not None and origin == public)
    if not own and (origin is not None or request.headers.get("sec-fetch-site") != "same-origin"):
        raise HTTPException(403, "this write does not come from the service's own pages")
    # Forms and links cannot set a header.
    if request.headers.get("x-tuner-request") != "1":
        raise HTTPException(403, "a write with a session cookie needs the header X-Tuner-Request: 1")


class LoginThrottle:
    """At most `limit` failed logins a minute from one address."""

    def __init__(self, limit: int = 10) -> None:
        self.limit = limit
        self._failures: dict[str, deque[datetime]] = {}
        self._lock = threading.Lock()

    def check(self, address: str, *, now: datetime) -> None:
        """Raises HTTPException if the address has to wait."""
        with self._lock:
            self._forget(self._failures, now - timedelta(minutes=1))
            if len(self._failures.get(address, ())) >= self.limit:
                raise HTTPException(429, "too many failed logins; wait a minute", headers={"Retry-After": "60"})

    def failed(self, address: str, *, now: datetime) -> None:
        with self._lock:
            self._failures.setdefault(address, deque(maxlen=self.limit)).append(now)

    def _forget(self, addresses: Iterable[str], before: datetime) -> None:
        for address in list(addresses):
            times = self._failures[address]
            while times and times[0] < before:
                times.popleft()
            if not times:
                del self._failures[address]

"""Workers' calls that are in order, on a shorter way: FastAPI's costs several times what the call itself does.

The same functions run with the same bodies (`api/routes/leases.py`). Whatever is out of the ordinary, a token that is not
known yet, a body that is not as it should be, takes the long way, which says what is wrong with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import Body, FinishBody, HeartbeatBody, LeaseBody, MetricsBody
from api.errors import problem, refusal
from api.routes import leases
from studies.errors import InvalidInput
from tuner.access import allows
from tuner.errors import TunerError
from tuner.service import Service, utc_now

_PATH = re.compile(r"/api/v1/leases(?:/([0-9a-f]+)/([a-z]+))?")
_MOST_BYTES = 64 * 1024  # of a body


@dataclass(frozen=True)
class _Call:
    run: Callable[..., Awaitable[BaseModel | Response]]
    body: type[Body]


_CALLS: Mapping[str | None, _Call] = {
    None: _Call(leases.lease_trial, LeaseBody),
    "heartbeat": _Call(leases.heartbeat, HeartbeatBody),
    "metrics": _Call(leases.report_metrics, MetricsBody),
    "finish": _Call(leases.finish, FinishBody),
}
_ROUTES = {route.endpoint: route for route in leases.router.routes if isinstance(route, APIRoute)}


class Shortcut:
    """ASGI middleware between the wall and the routes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        call = None if path is None else _CALLS.get(path[2])
        if path is None or call is None or not _is_known(scope):
            await self.app(scope, receive, send)
            return
        try:
            messages = await _read(receive)
        except HTTPException as error:  # it is too long
            await problem(error.status_code, error.detail, path=scope["path"])(scope, receive, send)
            return
        given = _arguments(call, messages)
        if given is None:
            await self.app(scope, _after(messages, receive), send)
            return
        scope["route"] = _ROUTES[call.run]  # as the router says it, for whoever counts requests
        await (await _answer(call, given, path[1], scope, receive))(scope, receive, send)


def _is_known(scope: Scope) -> bool:
    """Whether it is a worker's call, by a token that was looked up before."""
    service: Service = scope["app"].state.service
    scheme, _, bearer = Headers(scope=scope).get("authorization", "").partition(" ")
    token = service.access.known(bearer, now=utc_now()) if scheme.lower() == "bearer" else None
    return token is not None and allows(token.role, "worker")


async def _read(receive: Receive) -> list[Message]:
    """The body, or as much of it as is not too long for this."""
    messages, size = [await receive()], 0
    while messages[-1].get("more_body", False) and size < _MOST_BYTES:
        size += len(messages[-1]["body"])
        messages.append(await receive())
    return messages


def _after(messages: list[Message], receive: Receive) -> Receive:
    """Receive what was read already, and then the rest."""
    read = iter(messages)

    async def receive_again() -> Message:
        message = next(read, None)
        return await receive() if message is None else message

    return receive_again


def _arguments(call: _Call, messages: list[Message]) -> dict[str, Any] | None:
    """What the call is given from the body; None if that is not as it should be, or not all of it is here."""
    if messages[-1]["type"] != "http.request" or messages[-1].get("more_body", False):
        return None
    try:
        return {"body": call.body.model_validate(json.loads(b"".join(message.get("body", b"") for message in messages)))}
    except (ValueError, ValidationError, RecursionError):
        return None


async def _answer(call: _Call, given: dict[str, Any], lease_id: str | None, scope: Scope, receive: Receive) -> Response:
    state = scope["app"].state
    known = {"service": state.service, "feed": state.feed}
    where = {"request": Request(scope, receive)} if lease_id is None else {"lease_id": lease_id, "now": utc_now()}
    try:
        answer = await call.run(**given, **known, **where)
    except (TunerError, InvalidInput) as error:
        return refusal(error, path=scope["path"])
    return answer if isinstance(answer, Response) else Response(answer.model_dump_json(), media_type="application/json")

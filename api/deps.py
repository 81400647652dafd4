"""What routes are given: the service, the time, who asks, and the study and trial that the path names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, HTTPException, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer

from api.feed import Feed
from api.security import check_origin
from tuner.access import allows
from tuner.db import study_rows, trial_rows
from tuner.errors import NotFound
from tuner.lifecycle import Actor
from tuner.records import Role, Study, Token, Trial
from tuner.sections import Text
from tuner.service import Service, utc_now

SESSION_COOKIE = "tuner_session"
_BIGGEST_NUMBER = 2**31 - 1  # of a trial: a 32-bit column

_bearer = HTTPBearer(scheme_name="token", description="A token of `tuner tokens create`.", auto_error=False)
_cookie = APIKeyCookie(name=SESSION_COOKIE, scheme_name="session", description="A browser's session.", auto_error=False)


# These are coroutines because they do nothing that could block: a plain function would cost a change of thread.
async def get_service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def base_path(request: Request) -> str:
    """What every path begins with behind a reverse proxy; empty without."""
    return str(request.scope.get("root_path", ""))


async def get_feed(request: Request) -> Feed:
    feed: Feed = request.app.state.feed
    return feed


async def get_now() -> datetime:
    return utc_now()


ServiceDep = Annotated[Service, Depends(get_service)]
FeedDep = Annotated[Feed, Depends(get_feed)]
Now = Annotated[datetime, Depends(get_now)]


async def identify(
    request: Request,
    service: ServiceDep,
    now: Now,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    session: Annotated[str | None, Depends(_cookie)],
) -> Token:
    """Whose request it is. Raises HTTPException: 401, for a page 303 to the login page, or 403 for another site's write."""
    token = None
    if bearer is not None:
        token = service.access.known(bearer.credentials, now=now)
        if token is None:
            token = await run_in_threadpool(service.access.identify, bearer.credentials, now=now)
    elif session is not None:
        check_origin(request)
        token = await run_in_threadpool(service.access.session, session, now=now)
    if token is None:
        raise _unknown(request)
    return token


def _unknown(request: Request) -> HTTPException:
    root = base_path(request)
    path = request.url.path.removeprefix(root)
    if request.method == "GET" and not path.startswith("/api/") and path != "/openapi.json":
        here = f"{root}{path}?{request.url.query}" if request.url.query else f"{root}{path}"
        return HTTPException(303, headers={"Location": f"{root}/login?next={quote(here, safe='')}"})
    return HTTPException(401, "a valid token is needed: `Authorization: Bearer <token>`", headers={"WWW-Authenticate": "Bearer"})


def _check(role: Role) -> Callable[..., Awaitable[None]]:
    async def check(token: Annotated[Token, Depends(identify)]) -> None:
        if not allows(token.role, role):
            raise HTTPException(403, f"this needs the role {role}; the token has the role {token.role}")

    return check


async def _anyone() -> None:
    """For routes that need no token."""


_CHECKS: Mapping[Role, Callable[..., Awaitable[None]]] = {
    "viewer": _check("viewer"),
    "editor": _check("editor"),
    "worker": _check("worker"),
    "admin": _check("admin"),
}

public: Any = Depends(_anyone)


def requires(role: Role) -> Any:
    """For `dependencies=[…]` of a route: who asks must have `role`. A route that needs none says `public` instead."""
    return Depends(_CHECKS[role])


def declared_role(route: APIRoute) -> Role | None:
    """The role that a route needs; None if it is public. Raises LookupError if it says neither."""
    called = [dependant.call for dependant in route.dependant.dependencies]
    for role, check in _CHECKS.items():
        if check in called:
            return role
    if _anyone in called:
        return None
    raise LookupError(f"{route.path} declares neither the role it needs nor that it is public")


def get_actor(request: Request, token: Annotated[Token, Depends(identify)]) -> Actor:
    return Actor(token=token, address=request.client.host if request.client else None)


def get_study(
    study_id: Annotated[Text, Path(description="A study's id or name.", min_length=1, max_length=200)], service: ServiceDep
) -> Study:
    """By id, else the newest of that name. Raises NotFound."""
    with service.ledger.read() as connection:
        study = study_rows.find_study(connection, study_id)
    if study is None:
        raise NotFound(f"no study {study_id!r}")
    return study


StudyDep = Annotated[Study, Depends(get_study)]


def get_trial(number: Annotated[int, Path(ge=0, le=_BIGGEST_NUMBER)], study: StudyDep, service: ServiceDep) -> Trial:
    """Raises NotFound."""
    with service.ledger.read() as connection:
        trial = trial_rows.get_trial(connection, study.id, number)
    if trial is None:
        raise NotFound(f"study {study.name!r} has no trial {number}")
    return trial


TrialDep = Annotated[Trial, Depends(get_trial)]
ActorDep = Annotated[Actor, Depends(get_actor)]
Limit = Annotated[int, Query(ge=1, le=1000, description="Items on a page.")]
Cursor = Annotated[Text | None, Query(max_length=500, description="`next` of the page before.")]

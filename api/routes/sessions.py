"""`/login` and `/logout`: a browser exchanges a token for a session once, so that the token stays in no address."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from api.bodies import LoginBody
from api.dashboard.pages import login_page
from api.deps import SESSION_COOKIE, Now, ServiceDep, base_path, public, requires
from api.security import LoginThrottle
from tuner.access import SESSION_TIME
from tuner.sections import Text
from tuner.service import Service

router = APIRouter(tags=["sessions"])


@router.get("/login", dependencies=[public], include_in_schema=False)
def show_login(
    request: Request, service: ServiceDep, now: Now, token: Annotated[Text | None, Query(max_length=500)] = None
) -> Response:
    """With a token: a session, and on to the dashboard, at an address without it. Without: the form."""
    if token is None:
        return login_page(request)
    try:
        secret = _open_session(request, service, now, token)
    except HTTPException as error:
        return login_page(request, error.detail, error.status_code)
    answer = RedirectResponse(f"{base_path(request)}/", 303)
    _set_cookie(request, answer, secret)
    return answer


@router.post("/login", dependencies=[public], status_code=204)
def log_in(body: LoginBody, request: Request, response: Response, service: ServiceDep, now: Now) -> None:
    """Exchange a token for a session cookie."""
    _set_cookie(request, response, _open_session(request, service, now, body.token))


@router.post("/logout", dependencies=[requires("viewer")], status_code=204)
def log_out(request: Request, response: Response, service: ServiceDep) -> None:
    """End the session."""
    secret = request.cookies.get(SESSION_COOKIE)
    if secret is not None:
        service.access.close_session(secret)
    response.delete_cookie(SESSION_COOKIE, path=f"{base_path(request)}/", httponly=True, samesite="strict")


def _open_session(request: Request, service: Service, now: Now, token: str) -> str:
    """Raises HTTPException: 401 for a wrong token, 429 after too many."""
    throttle: LoginThrottle = request.app.state.throttle
    address = request.client.host if request.client else "unknown"
    throttle.check(address, now=now)
    owner = service.access.identify(token, now=now)
    if owner is None:
        throttle.failed(address, now=now)
        raise HTTPException(401, "this token is not known, or not in force any more", headers={"WWW-Authenticate": "Bearer"})
    return service.access.open_session(owner, now=now, address=address)


def _set_cookie(request: Request, response: Response, secret: str) -> None:
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=int(SESSION_TIME.total_seconds()),
        path=f"{base_path(request)}/",  # other services of the same host are not sent it
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )

"""Every refusal as `application/problem+json` (RFC 9457): what went wrong in the service, in HTTP's terms.

    InvalidInput, RequestValidationError   422  with `errors`: the wrong fields and what would be right there
    NotFound                               404
    Conflict, StaleLease                   409
    StaleVersion                           412
    Unavailable, Deposed                   503  with Retry-After
    a body that is not JSON                400
    HTTPException                          its own status

What nobody foresaw is 500: `api/security.py` answers it, and the traceback goes to the log only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from studies.errors import FieldError, InvalidInput
from tuner.errors import Conflict, Deposed, NotFound, StaleLease, StaleVersion, TunerError, Unavailable

_STATUS: Mapping[type[TunerError], int] = {
    NotFound: 404,
    StaleLease: 409,
    StaleVersion: 412,
    Conflict: 409,
    Unavailable: 503,
    Deposed: 503,
}
_RETRY_AFTER = {"Retry-After": "2"}


def problem(
    status: int,
    detail: str,
    *,
    path: str,
    kind: str | None = None,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer that says no; `kind` tells apart what shares a status, e.g. `stale-lease` from other conflicts."""
    content: dict[str, Any] = {
        "type": f"urn:tuner:error:{kind}" if kind else "about:blank",
        "title": kind.replace("-", " ").capitalize() if kind else HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": path,
    }
    if errors:
        content["errors"] = [{"field": error.field, "message": error.message} for error in errors]
    # Pure ASCII: a message may quote a lone surrogate, which UTF-8 cannot carry.
    return Response(json.dumps(content), status, dict(headers or {}), "application/problem+json")


def handle_errors(app: FastAPI) -> None:
    """Make every refusal of `app` a problem."""
    app.add_exception_handler(InvalidInput, _refusal)
    app.add_exception_handler(RequestValidationError, _wrong_shape)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _gone)
    for error in _STATUS:
        app.add_exception_handler(error, _refusal)


async def _refusal(request: Request, error: Exception) -> Response:
    return refusal(error, path=request.url.path)


def refusal(error: Exception, *, path: str) -> Response:
    """The answer that an InvalidInput or an error of `tuner.errors` means."""
    if isinstance(error, InvalidInput):
        return _invalid(path, error.errors)
    status = next(status for known, status in _STATUS.items() if isinstance(error, known))
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    headers = _RETRY_AFTER if status == 503 else None
    return problem(status, str(error), path=path, kind=kind, headers=headers)


async def _wrong_shape(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = error.errors()
    if details[0]["type"] == "json_invalid":
        reason = f"the body is not JSON: {details[0]['ctx']['error']} at character {details[0]['loc'][-1]}"
        return problem(400, reason, path=request.url.path)
    return _invalid(request.url.path, [error for detail in details for error in _field_errors(detail)])


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    detail = error.detail
    if detail == HTTPStatus(error.status_code).phrase:
        detail = f"{detail}: {request.method} {request.url.path}"
    return problem(error.status_code, detail, path=request.url.path, headers=error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    return problem(400, "the connection was closed before the body had arrived", path=request.url.path)


def _invalid(path: str, errors: Sequence[FieldError]) -> Response:
    errors = [FieldError(error.field or "body", error.message) for error in errors]
    detail = "; ".join(str(error) for error in errors)
    return problem(422, detail, path=path, kind="invalid-input", errors=errors)


def _field_errors(detail: Mapping[str, Any]) -> list[FieldError]:
    """One of pydantic's errors in our words: a dotted path below the body, or the name of a query, path or header field."""
    where, *path = (str(part) for part in detail["loc"])
    path = path if where == "body" else path[:1]
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if detail["type"] == "unknown_keys":
        return [FieldError(".".join([*path, key]), message) for key in detail["ctx"]["keys"]]
    if detail["type"] == "missing":
        message = "is missing"
    if detail["type"] == "string_unicode":
        message = "must not contain U+0000 or lone surrogates"
    if detail["type"] in ("model_attributes_type", "model_type", "dict_type"):
        message = "must be an object"
    return [FieldError(".".join(path), message)]

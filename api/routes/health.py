"""`/healthz`, `/readyz`, `/metrics` and `/openapi.json`: for those who run the service or write programs for it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api.deps import ServiceDep, public, requires
from api.errors import problem
from api.openapi import document
from api.schemas import StatusAnswer
from tuner.health import problems

router = APIRouter(tags=["health"])


@router.get("/healthz", dependencies=[public])
async def healthz() -> StatusAnswer:
    """The process lives."""
    return StatusAnswer(status="ok")


@router.get("/readyz", dependencies=[public], response_model=StatusAnswer)
def readyz(service: ServiceDep) -> Any:
    """The service can work. If not, 503, and `errors` names what is wrong: `database`, `leadership`, `schema`, `disk`."""
    wrong = problems(service)
    if not wrong:
        return StatusAnswer(status="ok")
    detail = "; ".join(error.message for error in wrong)
    return problem(503, detail, path="/readyz", kind="unavailable", errors=wrong, headers={"Retry-After": "2"})


@router.get("/metrics", dependencies=[public], response_class=PlainTextResponse)
def metrics(request: Request, service: ServiceDep) -> PlainTextResponse:
    """How the service fares, in Prometheus' text format: counts and sums, no names."""
    return PlainTextResponse(request.app.state.meter.text(service), media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", dependencies=[requires("viewer")], response_class=JSONResponse)
def openapi(request: Request) -> dict[str, Any]:
    """This API in OpenAPI's terms."""
    return document(request.app)

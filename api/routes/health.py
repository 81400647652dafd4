"""`/healthz`, `/readyz` and `/openapi.json`: for those who run the service or write programs for it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.deps import ServiceDep, public, requires
from api.openapi import document
from api.schemas import StatusAnswer

router = APIRouter(tags=["health"])


@router.get("/healthz", dependencies=[public])
async def healthz() -> StatusAnswer:
    """The process lives."""
    return StatusAnswer(status="ok")


@router.get("/readyz", dependencies=[public])
def readyz(service: ServiceDep) -> StatusAnswer:
    """The service can work: its database answers. 503 if not."""
    with service.ledger.read() as connection:
        connection.exec_driver_sql("SELECT 1")
    return StatusAnswer(status="ok")


@router.get("/openapi.json", dependencies=[requires("viewer")], response_class=JSONResponse)
def openapi(request: Request) -> dict[str, Any]:
    """This API in OpenAPI's terms."""
    return document(request.app)

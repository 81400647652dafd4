"""`/audit`: who did what, when."""

from __future__ import annotations

from fastapi import APIRouter

from api.deps import Cursor, Limit, ServiceDep, requires
from api.paging import number_cursor, read_number
from api.schemas import AuditAnswer, Page
from tuner.db import access_rows

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])


@router.get("", dependencies=[requires("admin")])
def list_audit(service: ServiceDep, limit: Limit = 100, cursor: Cursor = None) -> Page[AuditAnswer]:
    """Newest first."""
    with service.ledger.read() as connection:
        entries, total = access_rows.list_audit(connection, before_id=read_number(cursor), limit=limit + 1)
    following = number_cursor(entries[limit - 1].id) if len(entries) > limit else None
    return Page[AuditAnswer](items=[AuditAnswer.model_validate(entry) for entry in entries[:limit]], next=following, total=total)

"""`/tokens`: who may use the service."""

from __future__ import annotations

from datetime import UTC
from typing import Annotated

from fastapi import APIRouter, Path

from api.bodies import TokenBody
from api.deps import ActorDep, Now, ServiceDep, requires
from api.schemas import NewTokenAnswer, Page, TokenAnswer
from studies.errors import InvalidInput
from tuner.sections import Text

router = APIRouter(prefix="/api/v1/tokens", tags=["tokens"], dependencies=[requires("admin")])


@router.post("", status_code=201)
def create_token(body: TokenBody, service: ServiceDep, actor: ActorDep, now: Now) -> NewTokenAnswer:
    """Make a token. Its secret is shown this once."""
    if body.expires_at is not None and body.expires_at <= now:
        raise InvalidInput.at("expires_at", f"must be later than now, {now:%Y-%m-%dT%H:%M:%SZ}")
    expires_at = body.expires_at.astimezone(UTC) if body.expires_at else None
    token, secret = service.access.create_token(body.role, body.name, now=now, expires_at=expires_at, actor=actor)
    return NewTokenAnswer(**TokenAnswer.model_validate(token).model_dump(), token=secret)


@router.get("")
def list_tokens(service: ServiceDep) -> Page[TokenAnswer]:
    """All tokens, without their secrets."""
    tokens = service.access.tokens()
    return Page[TokenAnswer](items=[TokenAnswer.model_validate(token) for token in tokens], total=len(tokens))


@router.delete("/{token_id}", status_code=204)
def revoke_token(token_id: Annotated[Text, Path(max_length=100)], service: ServiceDep, actor: ActorDep, now: Now) -> None:
    """End a token, and the sessions that were opened with it, at once."""
    service.access.revoke(token_id, now=now, actor=actor)

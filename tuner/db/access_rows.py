"""Rows of `tokens`, `sessions` and `audit`: who may do what, and who did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import RowMapping, delete, func, insert, or_, select, update

from tuner.db.engine import Connection
from tuner.db.tables import audit, sessions, tokens
from tuner.records import AuditEntry, Token


def insert_token(connection: Connection, token: Token, secret_hash: str) -> None:
    connection.execute(
        insert(tokens).values(
            id=token.id,
            name=token.name,
            role=token.role,
            secret_hash=secret_hash,
            created_at=token.created_at,
            expires_at=token.expires_at,
        )
    )


def valid_token(connection: Connection, token_id: str, now: datetime) -> tuple[Token, str] | None:
    """The token and the hash of its secret, unless it is unknown, revoked or expired."""
    query = select(tokens).where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
    query = query.where(or_(tokens.c.expires_at.is_(None), tokens.c.expires_at > now))
    row = connection.execute(query).mappings().first()
    return None if row is None else (_token(row), row["secret_hash"])


def list_tokens(connection: Connection) -> list[Token]:
    return [_token(row) for row in connection.execute(select(tokens).order_by(tokens.c.created_at)).mappings()]


def revoke_token(connection: Connection, token_id: str, now: datetime) -> bool:
    """Whether there was one that was not revoked; its sessions end with it."""
    connection.execute(delete(sessions).where(sessions.c.token_id == token_id))
    statement = update(tokens).where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
    return connection.execute(statement).rowcount == 1


def revoke_tokens_named(connection: Connection, name: str, now: datetime) -> None:
    connection.execute(update(tokens).where(tokens.c.name == name, tokens.c.revoked_at.is_(None)).values(revoked_at=now))


def note_use(connection: Connection, used: Mapping[str, datetime]) -> None:
    for token_id, at in used.items():
        connection.execute(update(tokens).where(tokens.c.id == token_id).values(used_at=at))


def insert_session(connection: Connection, *, secret_hash: str, token_id: str, expires_at: datetime, now: datetime) -> None:
    connection.execute(delete(sessions).where(sessions.c.expires_at < now))
    connection.execute(insert(sessions).values(secret_hash=secret_hash, token_id=token_id, expires_at=expires_at))


def session_token(connection: Connection, secret_hash: str, now: datetime) -> Token | None:
    """Whose session it is, unless it or its token has ended."""
    query = select(sessions.c.token_id).where(sessions.c.secret_hash == secret_hash, sessions.c.expires_at > now)
    token_id = connection.execute(query).scalar_one_or_none()
    found = None if token_id is None else valid_token(connection, token_id, now)
    return None if found is None else found[0]


def delete_session(connection: Connection, secret_hash: str) -> None:
    connection.execute(delete(sessions).where(sessions.c.secret_hash == secret_hash))


def insert_audit(
    connection: Connection,
    *,
    at: datetime,
    token: Token | None,
    address: str | None,
    action: str,
    subject: str | None,
    detail: str | None,
) -> None:
    connection.execute(
        insert(audit).values(
            at=at,
            token_id=token.id if token else None,
            role=token.role if token else None,
            address=address,
            action=action,
            subject=subject,
            detail=detail,
        )
    )


def list_audit(connection: Connection, *, before_id: int | None, limit: int) -> tuple[list[AuditEntry], int]:
    """Newest first, and how many there are in all."""
    query = select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(audit.c.id < before_id)
    total = connection.execute(select(func.count()).select_from(audit)).scalar_one()
    return [AuditEntry(**row) for row in connection.execute(query).mappings()], total


def _token(row: RowMapping) -> Token:
    return Token(**{name: value for name, value in row.items() if name != "secret_hash"})

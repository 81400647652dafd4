"""Tokens and sessions: who is asking. Only hashes of secrets are kept (RELIABILITY: 256-bit secrets need no slow hash)."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from tuner.db import access_rows
from tuner.errors import NotFound
from tuner.ledger import Change, Ledger
from tuner.lifecycle import Actor, note
from tuner.records import Role, Token

_BEARER = re.compile(r"tuner_[a-z]+_([0-9a-f]{8})_([A-Za-z0-9_-]+)")
SESSION_TIME = timedelta(hours=12)
_GRANTS: dict[Role, tuple[Role, ...]] = {
    "viewer": ("viewer",),
    "editor": ("viewer", "editor"),
    "worker": ("worker",),
    "admin": ("viewer", "editor", "worker", "admin"),
}
_THE_SERVICE = Actor()


def allows(role: Role, needed: Role) -> bool:
    """Whether one who has `role` may do what needs `needed`."""
    return needed in _GRANTS[role]


class Access:
    """Makes, checks and revokes tokens and sessions."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._known: dict[str, Token] = {}  # by the hash of what its owner sends; forgotten whenever a token is revoked
        self._used: dict[str, datetime] = {}  # token id → when it was last used, as far as that is not in its row yet
        self._revocations = 0
        self._lock = threading.Lock()

    def create_token(
        self, role: Role, name: str, *, now: datetime, expires_at: datetime | None = None, actor: Actor = _THE_SERVICE
    ) -> tuple[Token, str]:
        """The token, and what its owner sends: that is shown this once and can't be read back."""
        token = Token(
            id=secrets.token_hex(4), name=name, role=role, created_at=now, expires_at=expires_at, revoked_at=None, used_at=None
        )
        secret = secrets.token_urlsafe(32)

        def work(change: Change) -> None:
            access_rows.insert_token(change.connection, token, _hash(secret))
            note(change, actor, "token.create", token.id, now, f"{role} {name}")

        self.ledger.change(work)
        return token, f"tuner_{role}_{token.id}_{secret}"

    def known(self, bearer: str, *, now: datetime) -> Token | None:
        """What `identify` answered before, without a look at the database; None says nothing.

        Only this process writes tokens (decision 0005), so it knows of every revocation.
        """
        token = self._known.get(_hash(bearer))
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            return None
        self._used[token.id] = now
        return token

    def identify(self, bearer: str, *, now: datetime) -> Token | None:
        """Whose token it is, or None if it is malformed, unknown, revoked or expired."""
        parts = _BEARER.fullmatch(bearer)
        if parts is None:
            return None
        token_id, secret = parts.groups()
        revocations = self._revocations
        with self.ledger.read() as connection:
            found = access_rows.valid_token(connection, token_id, now)
        if found is None or not hmac.compare_digest(found[1], _hash(secret)):
            return None
        with self._lock:
            if revocations == self._revocations:
                self._known[_hash(bearer)] = found[0]
        self._used[found[0].id] = now
        return found[0]

    def note_use(self) -> None:
        """Write down which tokens were used since the last time; called now and then, for a write a request would be dear."""
        used, self._used = self._used, {}
        if used:
            self.ledger.change(lambda change: access_rows.note_use(change.connection, used))

    def open_session(self, token: Token, *, now: datetime, address: str | None = None) -> str:
        """A browser's session; returns the secret for its cookie."""
        secret = secrets.token_urlsafe(32)

        def work(change: Change) -> None:
            access_rows.insert_session(
                change.connection, secret_hash=_hash(secret), token_id=token.id, expires_at=now + SESSION_TIME, now=now
            )
            note(change, Actor(token=token, address=address), "session.open", token.id, now)

        self.ledger.change(work)
        return secret

    def session(self, secret: str, *, now: datetime) -> Token | None:
        with self.ledger.read() as connection:
            return access_rows.session_token(connection, _hash(secret), now)

    def close_session(self, secret: str) -> None:
        self.ledger.change(lambda change: access_rows.delete_session(change.connection, _hash(secret)))

    def tokens(self) -> list[Token]:
        with self.ledger.read() as connection:
            listed = access_rows.list_tokens(connection)
        return [replace(token, used_at=self._used.get(token.id, token.used_at)) for token in listed]

    def revoke(self, token_id: str, *, now: datetime, actor: Actor = _THE_SERVICE) -> None:
        """End a token and its sessions at once. Raises NotFound."""

        def work(change: Change) -> None:
            if not access_rows.revoke_token(change.connection, token_id, now):
                raise NotFound(f"no token {token_id!r} that is in force")
            note(change, actor, "token.revoke", token_id, now)

        self.ledger.change(work)
        self._forget_known()

    def revoke_named(self, name: str, *, now: datetime) -> None:
        self.ledger.change(lambda change: access_rows.revoke_tokens_named(change.connection, name, now))
        self._forget_known()

    def _forget_known(self) -> None:
        with self._lock:
            self._revocations += 1
            self._known.clear()

    def token_in(self, file: Path, role: Role, name: str, *, now: datetime) -> str:
        """The token that `file` holds; made and written there if it holds none that is in force and of this role."""
        if file.exists():
            bearer = file.read_text(encoding="utf-8").strip()
            known = self.identify(bearer, now=now)
            if known is not None and known.role == role:
                return bearer
        _, bearer = self.create_token(role, name, now=now)
        write_private(file, bearer + "\n")
        return bearer


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, all at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(text)
    unfinished.replace(file)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

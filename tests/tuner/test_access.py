from __future__ import annotations

import os
import stat
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Clock
from tests.tuner.helpers import all_rows
from tuner.access import SESSION_TIME, allows, write_private
from tuner.db import access_rows
from tuner.errors import NotFound
from tuner.records import Role
from tuner.service import Service


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("viewer", {"viewer"}),
        ("editor", {"viewer", "editor"}),
        ("worker", {"worker"}),
        ("admin", {"viewer", "editor", "worker", "admin"}),
    ],
)
def test_what_a_role_may_do(role: Role, may: set[Role]) -> None:
    roles: tuple[Role, ...] = ("viewer", "editor", "worker", "admin")
    assert {needed for needed in roles if allows(role, needed)} == may


def test_a_token_is_recognised_by_what_its_owner_sends(service: Service, clock: Clock) -> None:
    token, bearer = service.access.create_token("editor", "Ada", now=clock())
    assert bearer.startswith("tuner_editor_")
    assert service.access.identify(bearer, now=clock()) == token


def test_no_secret_is_stored(service: Service, clock: Clock) -> None:
    token, bearer = service.access.create_token("editor", "Ada", now=clock())
    cookie = service.access.open_session(token, now=clock())
    stored = repr(all_rows(service))
    secret = bearer.split("_", 3)[3]  # which may have underscores itself
    assert secret not in stored and cookie not in stored


def test_two_tokens_have_two_secrets(service: Service, clock: Clock) -> None:
    made = {service.access.create_token("viewer", "x", now=clock())[1] for _ in range(5)}
    assert len({bearer.split("_", 3)[3] for bearer in made}) == 5
    assert all(len(bearer.split("_", 3)[3]) >= 43 for bearer in made), "256 bits"


def test_what_is_not_a_token_in_force_is_nobody(service: Service, clock: Clock) -> None:
    token, bearer = service.access.create_token("editor", "Ada", now=clock())
    other, _ = service.access.create_token("editor", "Bob", now=clock())
    secret = bearer.split("_", 3)[3]
    wrong = [
        "",
        "tuner",
        "tuner___",
        bearer + "x",
        bearer[:-1],
        bearer.replace("tuner", "Tuner"),
        f"tuner_editor_{other.id}_{secret}",
        f"tuner_editor_{token.id}_",
        f"tuner_editor_\0_{secret}",
        f"tuner_editor_{token.id}_\ud800",
        f"tuner_editor_{token.id}_é",
    ]
    assert [service.access.identify(text, now=clock()) for text in wrong] == [None] * len(wrong)


def test_the_role_is_the_stored_one_whatever_the_text_says(service: Service, clock: Clock) -> None:
    _, bearer = service.access.create_token("viewer", "Ada", now=clock())
    found = service.access.identify(bearer.replace("viewer", "admin"), now=clock())
    assert found is not None and found.role == "viewer"


def test_a_token_ends_at_its_time(service: Service, clock: Clock) -> None:
    token, bearer = service.access.create_token("worker", "n1", now=clock(), expires_at=clock() + timedelta(days=30))
    cookie = service.access.open_session(token, now=clock())
    clock.forward(30 * 86400 - 1)
    assert service.access.identify(bearer, now=clock()) is not None
    clock.forward(1)
    assert service.access.identify(bearer, now=clock()) is None
    assert service.access.session(cookie, now=clock()) is None


def test_a_revoked_token_ends_at_once_with_its_sessions(service: Service, clock: Clock) -> None:
    token, bearer = service.access.create_token("admin", "Ada", now=clock())
    _, others = service.access.create_token("admin", "Bob", now=clock())
    cookie = service.access.open_session(token, now=clock())
    service.access.revoke(token.id, now=clock())
    assert service.access.identify(bearer, now=clock()) is None
    assert service.access.session(cookie, now=clock()) is None
    assert service.access.identify(others, now=clock()) is not None
    for gone in (token.id, "nothing"):
        with pytest.raises(NotFound):
            service.access.revoke(gone, now=clock())
    assert [entry.revoked_at is not None for entry in service.access.tokens()].count(True) == 1


def test_tokens_of_one_name_can_be_revoked_together(service: Service, clock: Clock) -> None:
    bearers = [service.access.create_token("worker", "local workers", now=clock())[1] for _ in range(2)]
    _, other = service.access.create_token("worker", "n1", now=clock())
    service.access.revoke_named("local workers", now=clock())
    assert [service.access.identify(bearer, now=clock()) for bearer in bearers] == [None, None]
    assert service.access.identify(other, now=clock()) is not None


def test_a_session_ends_when_closed_or_old(service: Service, clock: Clock) -> None:
    token, _ = service.access.create_token("admin", "Ada", now=clock())
    closed, old = (service.access.open_session(token, now=clock()) for _ in range(2))
    assert service.access.session(closed, now=clock()) == token
    service.access.close_session(closed)
    assert service.access.session(closed, now=clock()) is None
    clock.forward(SESSION_TIME.total_seconds() - 1)
    assert service.access.session(old, now=clock()) == token
    clock.forward(1)
    assert service.access.session(old, now=clock()) is None
    assert service.access.session("nonsense", now=clock()) is None


def test_the_local_users_token_is_made_once_and_kept_private(service: Service, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "new" / "token"
    bearer = service.access.token_in(file, "admin", "me", now=clock())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert service.access.token_in(file, "admin", "me", now=clock()) == bearer
    found = service.access.identify(bearer, now=clock())
    assert found is not None and found.role == "admin"
    service.access.revoke(found.id, now=clock())
    assert service.access.token_in(file, "admin", "me", now=clock()) != bearer


def test_a_file_with_a_token_of_another_role_gets_one_of_the_right_role(service: Service, clock: Clock, tmp_path: Path) -> None:
    file = tmp_path / "token"
    admin = service.access.token_in(file, "admin", "me", now=clock())
    worker = service.access.token_in(file, "worker", "workers", now=clock())
    assert worker != admin and file.read_text().strip() == worker
    found = service.access.identify(worker, now=clock())
    assert found is not None and found.role == "worker"


def test_a_private_file_is_private_whatever_was_there_before(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    file.chmod(0o644)
    mask = os.umask(0)
    try:
        write_private(file, "new")
    finally:
        os.umask(mask)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [file]


def test_a_token_that_is_known_is_forgotten_when_it_is_revoked_or_expires(service: Service, clock: Clock) -> None:
    until = clock() + timedelta(hours=1)
    token, bearer = service.access.create_token("worker", "w", now=clock(), expires_at=until)
    assert service.access.known(bearer, now=clock()) is None, "nobody has looked it up yet"
    assert service.access.identify(bearer, now=clock()) == token
    assert service.access.known(bearer, now=clock()) == token
    assert service.access.known(f"{bearer}x", now=clock()) is None
    assert service.access.known(bearer, now=until) is None
    service.access.revoke(token.id, now=clock())
    assert service.access.known(bearer, now=clock()) is None


def test_a_tokens_last_use_is_known_at_once_and_written_now_and_then(service: Service, clock: Clock) -> None:
    token, bearer = service.access.create_token("viewer", "Ada", now=clock())

    def used() -> list[datetime | None]:
        with service.ledger.read() as connection:
            stored = [found.used_at for found in access_rows.list_tokens(connection)]
        return [*stored, *(found.used_at for found in service.access.tokens())]

    assert used() == [None, None]
    for _ in range(2):  # the second time it is known without a look at the database
        clock.forward(1)
        assert service.access.known(bearer, now=clock()) or service.access.identify(bearer, now=clock())
    assert used() == [None, clock()]
    service.access.note_use()
    assert used() == [clock(), clock()]

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from tuner.settings import Settings


def test_everything_lives_in_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    settings = Settings()
    assert settings.url == f"sqlite:///{tmp_path / 'tuner.db'}"
    assert (settings.artifact_place, settings.local_token_file) == (str(tmp_path / "artifacts"), tmp_path / "token")


@pytest.mark.parametrize("scheme", ["postgres://", "postgresql://", "postgresql+psycopg://"])
def test_a_postgresql_url_uses_the_driver_we_ship(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("TUNER_DATABASE_URL", scheme + "me@db/tuner")
    assert Settings().url == "postgresql+psycopg://me@db/tuner"


def test_a_flag_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_PORT", "1234")
    assert (Settings().port, Settings(port=80).port) == (1234, 80)


def test_a_token_does_not_show_in_a_printout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_TOKEN", "tuner_admin_secret")
    assert "tuner_admin_secret" not in repr(Settings())


@pytest.mark.parametrize("value", ["/data/*,org/*", " /data/*, org/*,", '["/data/*", "org/*"]'])
def test_a_list_may_be_comma_separated_or_json(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TUNER_ALLOWED_SOURCES", value)
    monkeypatch.setenv("TUNER_ALLOWED_HOSTS", "node1")
    assert (Settings().allowed_sources, Settings().allowed_hosts) == (("/data/*", "org/*"), ("node1",))


def test_no_list_of_sources_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().allowed_sources is None
    monkeypatch.setenv("TUNER_ALLOWED_SOURCES", "")
    assert Settings().allowed_sources == ()


def test_a_list_that_is_broken_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_ALLOWED_HOSTS", '["node1"')
    with pytest.raises(ValidationError, match="must be a list such as a,b"):
        Settings()


@pytest.mark.parametrize(("name", "value"), [("TUNER_PORT", "99999"), ("TUNER_LEASE_SECONDS", "0"), ("TUNER_PORT", "x")])
def test_a_value_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("TUNER_").lower()):
        Settings()


def test_settings_do_not_change_once_read() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1

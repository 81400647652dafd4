"""What can be set from outside: environment variables with the prefix `TUNER_`, or flags that override them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

# NoDecode: pydantic-settings itself would take nothing but JSON.
Names = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """Every setting of the service, the worker and the command line."""

    model_config = SettingsConfigDict(env_prefix="TUNER_", frozen=True)

    home: Path = Field(default_factory=lambda: user_data_path("tuner"))  # database, artifacts and token of this machine
    database_url: str | None = None  # default: SQLite in `home`
    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)  # 0: any free port
    public_url: str | None = None  # where browsers reach the service behind a reverse proxy: https://ml.example/tuner
    allowed_hosts: Names = ()  # names besides the bound address under which browsers reach the service
    server: str | None = None  # where clients and workers find the service
    token: SecretStr | None = None  # what they authenticate with; default: the local user's, in `home`
    token_file: Path | None = None  # a file that holds `token`, where a variable could be read by others
    worker_token_file: Path | None = None  # where the service leaves a worker token for the machines that can read it
    lease_seconds: float = Field(default=60.0, gt=0)  # a worker silent for so long has lost its trial
    allowed_sources: Names | None = None  # patterns of paths and hub ids that studies may name; None: any
    fake_gpus: str | None = None  # an invented inventory in place of a worker's GPUs, `4x24GB`: to try things out
    check_data: bool = True  # read a study's data before it starts; off where only workers can see the data
    activation_bytes: int = Field(default=10_000_000_000, ge=0)  # of states of frozen prefixes, kept on a worker's disk
    max_body_bytes: int = Field(default=1_000_000, gt=0)  # of a JSON request
    artifacts: str | None = None  # where checkpoints and models are kept: a folder or an fsspec URL; default: in `home`
    max_artifact_bytes: int = Field(default=10_000_000_000, gt=0)

    @field_validator("allowed_hosts", "allowed_sources", mode="before")
    @classmethod
    def _listed(cls, raw: object) -> object:
        """A list may be given as `a,b` or as JSON."""
        if not isinstance(raw, str):
            return raw
        if not raw.lstrip().startswith("["):
            return [name.strip() for name in raw.split(",") if name.strip()]
        try:
            return json.loads(raw)
        except ValueError:
            raise ValueError('must be a list such as a,b or ["a", "b"]') from None

    @field_validator("public_url")
    @classmethod
    def _whole(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username:
            raise ValueError("must be such as https://ml.example or https://ml.example/tuner")
        return url.rstrip("/")

    @property
    def base_path(self) -> str:
        """What every path begins with behind the proxy, `/tuner`; empty: nothing."""
        return urlsplit(self.public_url or "").path

    @property
    def public_origin(self) -> str | None:
        """Scheme, name and port of `public_url`."""
        return self.public_url and self.public_url.removesuffix(self.base_path).lower()

    @property
    def url(self) -> str:
        """The database's URL in SQLAlchemy's form."""
        if self.database_url is None:
            return f"sqlite:///{self.home / 'tuner.db'}"
        # SQLAlchemy reads a bare scheme as psycopg2, which is not what we ship.
        for scheme in ("postgresql://", "postgres://"):
            if self.database_url.startswith(scheme):
                return "postgresql+psycopg://" + self.database_url.removeprefix(scheme)
        return self.database_url

    @property
    def artifact_place(self) -> str:
        return self.artifacts or str(self.home / "artifacts")

    @property
    def activations(self) -> Path:
        return self.home / "activations"

    @property
    def local_token_file(self) -> Path:
        """The admin token of whoever uses this machine's service from this machine."""
        return self.home / "token"

    @property
    def service_file(self) -> Path:
        """Where a running service on this machine says where it listens."""
        return self.home / "service.json"

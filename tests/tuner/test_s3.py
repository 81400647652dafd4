"""Artifacts in a real S3-compatible server, through the same store and routes as on a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest

from tests.conftest import Clock
from tests.simulation import keep_checkpoint
from tests.tuner.helpers import make_bench
from tuner.errors import Unavailable
from tuner.files import RemoteFiles, StoredFile, files_at
from tuner.service import Service, open_service
from tuner.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
MODEL = os.urandom(6_000_000)  # more than one part of an upload in parts


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """The address of a server with the bucket `models`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(object_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its URL; the environment is what any AWS client goes by."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "someone"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", object_store),
    ):
        monkeypatch.setenv(name, value)
    system: Any = fsspec.filesystem("s3", skip_instance_cache=True)
    fsspec.filesystem("s3").clear_instance_cache()
    if not system.exists("models"):
        system.mkdir("models")
    return "s3://models/tuner"


@pytest.fixture
def service(bucket: str, tmp_path: Any, clock: Clock) -> Iterator[Service]:
    with open_service(Settings(home=tmp_path / "home", artifacts=bucket), clock=clock) as opened:
        yield opened


def test_checkpoints_and_models_are_kept_and_read_there(service: Service, clock: Clock, bucket: str) -> None:
    bench = make_bench(service, clock)
    lease = bench.lease()
    keep_checkpoint(service, lease, 1, clock())
    keep_checkpoint(service, lease, 2, clock())
    trial = bench.trial(lease.trial)
    kept, stored = service.artifacts.checkpoint(trial)
    assert kept.epoch == 2 and stored.read_bytes() == b"weights"
    upload = service.artifacts.receive([MODEL[:5_500_000], MODEL[5_500_000:]], now=clock())
    service.artifacts.attach(lease.id, trial, "model.safetensors", upload, now=clock())
    bench.finish(lease, 0.8)
    artifact, file = service.artifacts.find(bench.trial(lease.trial), "model.safetensors")
    assert (artifact.size, file.read_bytes()) == (len(MODEL), MODEL)
    there: Any = fsspec.filesystem("s3")
    there.invalidate_cache()
    assert len(there.find(bucket)) == 2, "the model and the newest checkpoint: the one before is gone"
    assert not list(service.settings.home.glob("artifacts/**/*")), "nothing lies on the service's disk"


def test_what_breaks_off_is_not_there(bucket: str) -> None:
    files = files_at(bucket)
    assert isinstance(files, RemoteFiles)

    def broken() -> Iterator[bytes]:
        yield MODEL
        raise ConnectionResetError

    with pytest.raises((ConnectionResetError, Unavailable)):
        files.write("ab/broken", broken())
    with pytest.raises(FileNotFoundError):
        files.open("ab/broken").read()
    files.write("ab/whole", [b"one ", b"two"])
    assert StoredFile(files, "ab/whole").read_bytes() == b"one two"
    files.remove("ab/whole")
    files.remove("ab/whole")


def test_a_store_that_does_not_answer_is_unavailable(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.S3FileSystem.retries", 1)
    fsspec.filesystem("s3").clear_instance_cache()
    files = files_at(bucket)
    with pytest.raises(Unavailable, match="the artifact store can't be written to just now"):
        files.write("ab/cd", [b"x"])
    with pytest.raises(Unavailable, match="the artifact store can't be read just now"):
        files.open("ab/cd")
    fsspec.filesystem("s3").clear_instance_cache()

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from studies.definition import RESULT_FILES
from studies.errors import InvalidInput
from tests.conftest import Clock
from tests.tuner.helpers import Bench, all_rows, make_bench
from tests.walk.conftest import wait_until
from tuner.artifacts import CHECKPOINTS_KEPT, ArtifactStore, check_name
from tuner.db.tables import loose_files
from tuner.errors import NotFound, StaleLease, Unavailable
from tuner.files import LocalFiles
from tuner.granting import Lease
from tuner.lifecycle import Actor
from tuner.records import Artifact
from tuner.resuming import start_over
from tuner.service import Service, open_service
from tuner.settings import Settings


def files(store: ArtifactStore) -> list[Path]:
    return sorted(path for path in store.folder.rglob("*") if path.is_file())


def loose(service: Service) -> list[str]:
    """The files that belong to nothing."""
    with service.ledger.read() as connection:
        return list(connection.execute(select(loose_files.c.path)).scalars())


def attach(bench: Bench, lease: Lease, name: str, content: bytes, *, sequence: int | None = None) -> Artifact:
    store = bench.service.artifacts
    upload = store.receive([content], now=bench.clock())
    return store.attach(lease.id, bench.trial(lease.trial), name, upload, now=bench.clock(), sequence=sequence)


def test_what_arrived_is_kept_and_found(bench: Bench) -> None:
    lease, store = bench.lease(), bench.service.artifacts
    upload = store.receive([b"one ", b"", b"two"], now=bench.clock())
    store.attach(lease.id, bench.trial(0), "model.safetensors", upload, now=bench.clock())
    artifact, file = store.find(bench.trial(0), "model.safetensors")
    assert file.read_bytes() == b"one two"
    assert (artifact.size, artifact.sha256) == (7, hashlib.sha256(b"one two").hexdigest())
    assert store.list(bench.trial(0)) == [artifact]
    with pytest.raises(NotFound, match="no artifact 'other'"):
        store.find(bench.trial(0), "other")


def test_the_same_name_again_replaces_it_and_its_file(bench: Bench) -> None:
    lease, store = bench.lease(), bench.service.artifacts
    attach(bench, lease, "a", b"old")
    attach(bench, lease, "a", b"new")
    assert store.find(bench.trial(0), "a")[1].read_bytes() == b"new"
    assert len(files(store)) == 1


def test_a_file_that_is_too_large_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    store = ArtifactStore(bench.service.ledger, tmp_path / "artifacts", max_bytes=10)
    store.receive([b"x" * 10], now=bench.clock())
    before = files(store)
    with pytest.raises(InvalidInput, match="at most 10 bytes"):
        store.receive([b"x" * 6, b"x" * 5], now=bench.clock())
    assert files(store) == before


def test_a_stream_that_breaks_off_leaves_nothing(bench: Bench) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionError

    with pytest.raises(Unavailable):
        bench.service.artifacts.receive(broken(), now=bench.clock())
    assert files(bench.service.artifacts) == []


def test_a_stale_lease_changes_nothing_and_leaves_no_file(bench: Bench) -> None:
    stale = bench.lease()
    attach(bench, stale, "a", b"first")
    bench.service.manager.expire(now=bench.clock.forward(61))
    bench.lease()
    before, kept = all_rows(bench.service), files(bench.service.artifacts)
    with pytest.raises(StaleLease):
        attach(bench, stale, "a", b"late")
    assert all_rows(bench.service) == before
    assert files(bench.service.artifacts) == kept


def test_a_trial_that_has_ended_takes_no_more(bench: Bench) -> None:
    lease = bench.lease()
    bench.finish(lease, 0.5)
    with pytest.raises(StaleLease):
        attach(bench, lease, "a", b"late")
    assert files(bench.service.artifacts) == []


def test_a_name_is_never_a_path() -> None:
    for name in ("", ".", "..", "../a", "a/b", "a\\b", "/etc/passwd", ".hidden", "a b", "a\n", "é", "a\0", "x" * 101):
        with pytest.raises(InvalidInput, match="name: must be"):
            check_name(name)


def test_usual_names_are_fine() -> None:
    for name in ("model.safetensors", "config.json", "a", "x" * 100, "1_b-c.D"):
        assert check_name(name) == name


def test_only_the_best_trial_keeps_its_files(bench: Bench) -> None:
    store = bench.service.artifacts
    for value in (0.5, 0.9, 0.7):
        lease = bench.lease()
        attach(bench, lease, "model", str(value).encode())
        attach(bench, lease, "config", b"{}")
        bench.finish(lease, value)
    running = bench.lease()
    attach(bench, running, "model", b"still running")
    assert store.keep_best(bench.study_id, now=bench.clock()) == 4
    assert [len(store.list(trial)) for trial in bench.trials()] == [0, 2, 0, 1]
    assert store.find(bench.trial(1), "model")[1].read_bytes() == b"0.9"
    assert len(files(store)) == 3
    assert store.keep_best(bench.study_id, now=bench.clock()) == 0
    assert store.keep_best("nothing", now=bench.clock()) == 0


def test_the_best_few_models_are_kept_and_what_went_is_told(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, keep_models=2)
    store = bench.service.artifacts
    for value in (0.5, 0.9, 0.7, 0.8):
        lease = bench.lease()
        attach(bench, lease, "model", b"x" * 1000)
        bench.finish(lease, value)
    store.keep_best(bench.study_id, now=bench.clock())
    assert [len(store.list(trial)) for trial in bench.trials()] == [0, 1, 0, 1]
    assert bench.study().freed_bytes == 2000
    store.keep_best(bench.study_id, now=bench.clock())
    assert bench.study().freed_bytes == 2000


def test_a_model_is_wanted_as_long_as_too_few_completed_trials_are_better(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, keep_models=2, objective={"metric": "accuracy", "direction": "minimize"})
    for value in (0.5, 0.3):
        bench.finish(bench.lease(), value)
    lease, store = bench.lease(), service.artifacts
    assert [store.wants_model(bench.trial(lease.trial), value) for value in (0.6, 0.5, 0.4)] == [False, True, True]


def test_what_trials_are_compared_by_is_kept_of_each(bench: Bench) -> None:
    store = bench.service.artifacts
    for value in (0.9, 0.5):
        lease = bench.lease()
        for name in ("model.safetensors", *RESULT_FILES):
            attach(bench, lease, name, name.encode())
        bench.finish(lease, value)
    assert store.keep_best(bench.study_id, now=bench.clock()) == 1
    assert {artifact.name for artifact in store.list(bench.trial(1))} == set(RESULT_FILES)


def test_the_files_of_a_deleted_study_can_be_removed(bench: Bench) -> None:
    store, lease = bench.service.artifacts, bench.lease()
    attach(bench, lease, "model", b"x")
    bench.service.lifecycle.stop(bench.study_id, actor=Actor(), now=bench.clock() + timedelta(seconds=1))
    paths = bench.service.lifecycle.delete(bench.study_id, actor=Actor(), now=bench.clock())
    assert loose(bench.service) == list(paths)
    store.remove(paths)
    store.remove(paths)
    assert files(store) == [] and loose(bench.service) == []


def test_what_a_dead_service_received_is_removed_a_day_later(bench: Bench) -> None:
    store, lease = bench.service.artifacts, bench.lease()
    attach(bench, lease, "whole", b"content")
    lost, begun = store.receive([b"lost"], now=bench.clock()), store.receive([b"begun"], now=bench.clock())
    (store.folder / begun.path).rename((store.folder / begun.path).with_suffix(".part"))
    assert sorted(loose(bench.service)) == sorted([lost.path, begun.path])
    assert store.sweep(now=bench.clock() + timedelta(hours=24)) == 0
    assert store.sweep(now=bench.clock() + timedelta(hours=25)) == 2
    assert [file.read_bytes() for file in files(store)] == [b"content"]
    assert loose(bench.service) == []


def test_an_upload_that_is_swept_away_becomes_no_artifact(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store, lease = bench.service.artifacts, bench.lease()
    upload = store.receive([b"slow"], now=bench.clock())
    asked: list[str] = []

    def meanwhile(path: str) -> None:
        asked.append(path)
        if len(asked) == 1:
            with pytest.raises(Unavailable, match="send it again"):
                store.attach(lease.id, bench.trial(0), "a", upload, now=bench.clock())

    monkeypatch.setattr(store.files, "remove", meanwhile)  # it is about to go
    store.sweep(now=bench.clock() + timedelta(hours=25))
    assert asked == [upload.path] * 2, "by the sweep, and by who came too late"
    assert store.list(bench.trial(0)) == [] and loose(bench.service) == []


def test_what_cannot_be_removed_just_now_is_removed_later(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: LocalFiles, name: str) -> None:
        raise Unavailable("away")

    store, lease = bench.service.artifacts, bench.lease()
    with monkeypatch.context() as patch:
        patch.setattr(LocalFiles, "remove", away)
        attach(bench, lease, "a", b"old")
        attach(bench, lease, "a", b"new")
        store.sweep(now=bench.clock() + timedelta(hours=25))
    assert len(files(store)) == 2 and len(loose(bench.service)) == 1
    store.sweep(now=bench.clock() + timedelta(hours=25))
    assert [file.read_bytes() for file in files(store)] == [b"new"]


def test_one_file_that_can_never_be_removed_keeps_no_other(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store = bench.service.artifacts
    uploads = [store.receive([b"lost"], now=bench.clock()) for _ in range(5)]
    remove = LocalFiles.remove

    def stubborn(self: LocalFiles, name: str) -> None:
        if name == uploads[0].path:
            raise Unavailable("no permission")
        remove(self, name)

    monkeypatch.setattr(LocalFiles, "remove", stubborn)
    assert store.sweep(now=bench.clock() + timedelta(hours=25)) == 4
    assert loose(bench.service) == [uploads[0].path] and len(files(store)) == 1


def test_a_store_that_is_away_is_not_asked_for_each_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = bench.service.artifacts, list[str]()

    def away(self: LocalFiles, name: str) -> None:
        asked.append(name)
        raise Unavailable("away")

    uploads = [store.receive([b"lost"], now=bench.clock()) for _ in range(9)]
    monkeypatch.setattr(LocalFiles, "remove", away)
    store.remove([upload.path for upload in uploads])
    assert len(asked) == 3 and len(loose(bench.service)) == 9


def test_a_sweep_ends_when_the_service_does(bench: Bench) -> None:
    store = bench.service.artifacts
    for _ in range(3):
        store.receive([b"lost"], now=bench.clock())
    later = bench.clock() + timedelta(hours=25)
    assert store.sweep(now=later, until=lambda: len(files(store)) == 1) == 2
    assert store.sweep(now=later) == 1 and loose(bench.service) == []


def test_a_file_that_arrives_after_it_was_swept_away_goes_at_once(bench: Bench) -> None:
    """A remote store shows a file only when it is whole, which may be after its row is gone."""
    store, lease = bench.service.artifacts, bench.lease()
    upload = store.receive([b"slow"], now=bench.clock())
    content = (store.folder / upload.path).read_bytes()
    store.sweep(now=bench.clock() + timedelta(hours=25))
    (store.folder / upload.path).write_bytes(content)
    with pytest.raises(Unavailable, match="send it again"):
        store.attach(lease.id, bench.trial(0), "a", upload, now=bench.clock())
    assert files(store) == []


def test_a_checkpoint_that_was_out_of_reach_is_not_forgotten(bench: Bench) -> None:
    store, lease = bench.service.artifacts, bench.lease()
    upload = store.receive([b"good"], now=bench.clock())
    store.attach_checkpoint(lease.id, bench.trial(0), upload, epoch=1, step=10, now=bench.clock())
    start_over(bench.service.ledger, lease.id, now=bench.clock())
    assert loose(bench.service) == [upload.path]
    with pytest.raises(NotFound):
        store.checkpoint(bench.trial(0))


def test_the_service_sweeps_now_and_then(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.service._SECONDS_BEFORE_SWEEPS", 0.02)
    monkeypatch.setattr("tuner.service._SECONDS_BETWEEN_SWEEPS", 0.02)
    with open_service(Settings(home=tmp_path), clock=clock) as service:
        service.artifacts.receive([b"lost"], now=clock())
        clock.forward(25 * 3600)
        wait_until(lambda: not loose(service), seconds=20)
        assert files(service.artifacts) == []


def test_an_artifact_that_comes_late_does_not_take_the_place_of_a_later_one(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, retries=1)
    store, lease = bench.service.artifacts, bench.lease()
    for content, sequence in ((b"first", 1), (b"second", 2), (b"first", 1), (b"second", 2)):
        attach(bench, lease, "a", content, sequence=sequence)
    assert [file.read_bytes() for file in files(store)] == [b"second"]
    service.manager.expire(now=clock.forward(61))
    attach(bench, bench.lease(), "a", b"of the next attempt", sequence=1)
    assert [file.read_bytes() for file in files(store)] == [b"of the next attempt"]
    assert loose(service) == []


def test_a_checkpoint_replaces_the_one_before_and_goes_with_a_failed_trial(bench: Bench) -> None:
    store, lease = bench.service.artifacts, bench.lease()
    for epoch in (1, 2):
        upload = store.receive([b"epoch %d" % epoch], now=bench.clock())
        store.attach_checkpoint(lease.id, bench.trial(0), upload, epoch=epoch, step=10 * epoch, now=bench.clock())
    kept, file = store.checkpoint(bench.trial(0))
    assert (kept.epoch, kept.step, file.read_bytes(), len(files(store))) == (2.0, 20, b"epoch 2", 1)
    bench.fail(lease)
    store.keep_best(bench.study_id, now=bench.clock())
    assert files(store) == []
    with pytest.raises(NotFound, match="trial 0 has no checkpoint"):
        store.checkpoint(bench.trial(0))


def test_the_best_finished_trials_keep_their_checkpoints_until_the_study_is_deleted(service: Service, clock: Clock) -> None:
    bench = make_bench(service, clock, budget={"trials": CHECKPOINTS_KEPT + 2})
    store = service.artifacts
    for number in range(CHECKPOINTS_KEPT + 2):
        lease = bench.lease()
        store.attach_checkpoint(
            lease.id, bench.trial(number), store.receive([b"%d" % number], now=bench.clock()), epoch=1, step=9, now=clock()
        )
        bench.finish(lease, 0.1 * number)
        store.keep_best(bench.study_id, now=bench.clock())
    assert sorted(file.read_bytes() for file in files(store)) == [b"%d" % n for n in range(2, CHECKPOINTS_KEPT + 2)]
    assert loose(service) == []


def test_a_checkpoint_that_comes_late_does_not_take_the_place_of_a_newer_one(bench: Bench) -> None:
    store, lease = bench.service.artifacts, bench.lease()
    for epoch in (1, 2, 1, 2):
        upload = store.receive([b"epoch %d" % epoch], now=bench.clock())
        store.attach_checkpoint(lease.id, bench.trial(0), upload, epoch=epoch, step=10 * epoch, now=bench.clock())
    kept, file = store.checkpoint(bench.trial(0))
    assert (kept.step, file.read_bytes(), len(files(store))) == (20, b"epoch 2", 1)


def test_a_checkpoint_under_a_stale_lease_changes_nothing(bench: Bench) -> None:
    store, lease = bench.service.artifacts, bench.lease()
    upload = store.receive([b"good"], now=bench.clock())
    store.attach_checkpoint(lease.id, bench.trial(0), upload, epoch=1, step=10, now=bench.clock())
    before = all_rows(bench.service)
    late = store.receive([b"late"], now=bench.clock())
    with pytest.raises(StaleLease):
        store.attach_checkpoint("another", bench.trial(0), late, epoch=2, step=20, now=bench.clock())
    assert all_rows(bench.service) == before
    assert [file.read_bytes() for file in files(store)] == [b"good"]

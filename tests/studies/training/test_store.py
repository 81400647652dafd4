from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from studies.training.store import Store


def put(store: Store, key: str, size: int) -> bool:
    return store.obtain(key, size, lambda file: _fill(file, size)) is not None


def _fill(file: Path, size: int) -> None:
    file.write_bytes(b"x" * size)


def names(store: Store) -> set[str]:
    return {file.name for file in store.folder.iterdir() if file.suffix != ".lock"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(folder=tmp_path / "shared", limit=100)


def age(store: Store, *oldest_first: str) -> None:
    for index, name in enumerate(oldest_first):
        os.utime(store.folder / name, (index, index))


def test_a_file_is_made_once(store: Store) -> None:
    made: list[Path] = []

    def make(file: Path) -> None:
        made.append(file)
        file.write_bytes(b"abc")

    first, second = store.obtain("a", 3, make), store.obtain("a", 3, make)
    assert first == (store.folder / "a", True)
    assert second == (store.folder / "a", False)
    assert len(made) == 1
    assert (store.folder / "a").read_bytes() == b"abc"


def test_the_least_recently_used_makes_room(store: Store) -> None:
    for key in ("a", "b", "c"):
        put(store, key, 30)
    age(store, "a", "b", "c")
    store.find("a")
    assert put(store, "d", 30)
    assert names(store) == {"a", "c", "d"}


def test_what_is_larger_than_the_limit_is_not_made_and_throws_nothing_away(store: Store) -> None:
    put(store, "a", 30)
    assert not put(store, "b", 101)
    assert names(store) == {"a"}


def test_what_fails_leaves_nothing(store: Store) -> None:
    def fail(file: Path) -> None:
        file.write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.obtain("a", 10, fail)
    assert names(store) == set()
    assert put(store, "a", 10)


def test_what_a_killed_process_left_half_written_makes_room(store: Store) -> None:
    put(store, "a", 10)
    (store.folder / "gone.part").write_bytes(b"x" * 80)
    assert put(store, "b", 50)
    assert "gone.part" not in names(store)


def test_what_is_being_written_counts_and_stays(store: Store) -> None:
    def make(file: Path) -> None:
        assert not put(store, "b", 60)
        assert file.stat().st_size == 70

    store.obtain("a", 70, make)
    assert names(store) == {"a"}


def test_a_mapped_file_stays_readable_when_it_is_thrown_away(store: Store) -> None:
    put(store, "a", 60)
    with (store.folder / "a").open("rb") as handle:
        put(store, "b", 60)
        assert names(store) == {"b"}
        assert handle.read() == b"x" * 60


def _obtain_slowly(store: Store, barrier: object, made: object) -> None:
    def make(file: Path) -> None:
        made.put(1)  # type: ignore[attr-defined]
        file.write_bytes(b"whole")

    barrier.wait()  # type: ignore[attr-defined]
    obtained = store.obtain("a", 5, make)
    assert obtained is not None and obtained[0].read_bytes() == b"whole"


def test_several_processes_make_it_once(store: Store) -> None:
    context = multiprocessing.get_context("fork")
    barrier, made = context.Barrier(4), context.Queue()
    processes = [context.Process(target=_obtain_slowly, args=(store, barrier, made)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert made.get(timeout=10) == 1
    assert made.empty()

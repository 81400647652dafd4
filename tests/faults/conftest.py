"""Faults are injected into the same real processes that the walk tests use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.walk.conftest import home, scratch, spawn

__all__ = ["home", "scratch", "spawn"]


def memory_folder() -> Path | None:
    """Where files cost no waiting for a disk, if the machine has such a place: what is simulated needs no durable bytes."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() else None


@pytest.fixture
def in_memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tuner", dir=memory_folder()) as folder:
        yield Path(folder)

"""Faults are injected into the same real processes that the walk tests use."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.walk.conftest import home, scratch, spawn

__all__ = ["home", "scratch", "spawn"]


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder that costs no waiting for a disk, where the machine has one: what is simulated needs no durable bytes."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="tuner", dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)

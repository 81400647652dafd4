"""Faults are injected into the same real processes that the walk tests use."""

from __future__ import annotations

from tests.walk.conftest import home, spawn

__all__ = ["home", "spawn"]

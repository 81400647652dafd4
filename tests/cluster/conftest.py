from __future__ import annotations

from tests.walk.conftest import home, scratch, spawn

__all__ = ["home", "scratch", "spawn"]

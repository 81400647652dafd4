"""The files that pages load: a fixed table of version and name, so that no path ever comes from a client.

The version is part of the address, so a browser may keep each file for ever and still gets the new one after an upgrade;
the modules import each other by relative address and so stay within one version.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class StaticFile:
    """Where a file lies and what it is."""

    path: Path
    media_type: str


@cache
def own_version() -> str:
    """A digest of this package's own files."""
    digest = hashlib.sha256()
    for path in _own_files():
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@cache
def plotly_version() -> str:
    return importlib.metadata.version("plotly")


@cache
def static_files() -> Mapping[tuple[str, str], StaticFile]:
    """(version, name) → file: our own, and plotly.js as the plotly package ships it."""
    table = {(own_version(), path.name): StaticFile(path, _MEDIA_TYPES[path.suffix]) for path in _own_files()}
    plotly_js = Path(str(importlib.resources.files("plotly"))) / "package_data" / "plotly.min.js"
    table[plotly_version(), "plotly.min.js"] = StaticFile(plotly_js, "text/javascript")
    return table


def _own_files() -> list[Path]:
    return sorted(path for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES)

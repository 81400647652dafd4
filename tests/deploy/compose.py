"""`docker-compose.yml` as data, and its commands as they run without containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
Service = Mapping[str, Any]


def services() -> dict[str, Service]:
    """Every service of the file, anchors and merges resolved."""
    found: dict[str, Service] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def in_order(wanted: Sequence[str]) -> list[str]:
    """`wanted` and all that they depend on, what others depend on first."""
    ordered: list[str] = []
    for name in wanted:
        for before in in_order(list(services()[name].get("depends_on", {}))):
            ordered.append(before)
        ordered.append(name)
    return list(dict.fromkeys(ordered))


def placed(text: str, places: Mapping[str, str]) -> str:
    """`text` with the paths and addresses of containers replaced by those of this machine, the longest first."""
    for inside in sorted(places, key=len, reverse=True):
        text = text.replace(inside, places[inside])
    return text


def environment(service: Service, places: Mapping[str, str]) -> dict[str, str]:
    """What the service's variables are on this machine; `${NAME:-default}` is its default."""
    given: Mapping[str, str] = service.get("environment", {})
    return {name: placed(_default(str(value)), places) for name, value in given.items()}


def _default(value: str) -> str:
    return value.partition(":-")[2].removesuffix("}") if value.startswith("${") else value

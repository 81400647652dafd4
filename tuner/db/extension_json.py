"""The column `trials.extension`: records as JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from math import isfinite
from typing import Any

from tuner.records import Ended, Extension


def extension_to_json(extension: Extension) -> dict[str, Any]:
    before = extension.before
    return {
        "until": extension.until,
        "legs": list(extension.legs),
        "first": _ended_to_json(extension.first),
        "before": None if before is None else _ended_to_json(before),
    }


def extension_from_json(row: Mapping[str, Any]) -> Extension:
    before = row["before"]
    return Extension(
        until=row["until"],
        legs=tuple(row["legs"]),
        first=_ended_from_json(row["first"]),
        before=None if before is None else _ended_from_json(before),
    )


def storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinities: they are kept as the contract's strings."""
    return {name: repr(value) if isinstance(value, float) and not isfinite(value) else value for name, value in values.items()}


def _ended_to_json(ended: Ended) -> dict[str, Any]:
    return storable(asdict(ended)) | {"values": storable(ended.values), "finished_at": ended.finished_at.isoformat()}


def _ended_from_json(row: Mapping[str, Any]) -> Ended:
    return Ended(
        **dict(row)
        | {
            "value": None if row["value"] is None else float(row["value"]),
            "values": {name: float(value) for name, value in row["values"].items()},
            "finished_at": datetime.fromisoformat(row["finished_at"]),
        }
    )

"""What is wrong with a service that runs, as those who run it are told by `/readyz`."""

from __future__ import annotations

import shutil
from pathlib import Path

from studies.errors import FieldError
from tuner.db.migrate import out_of_date
from tuner.errors import Unavailable
from tuner.files import LocalFiles
from tuner.leadership import owned_by_this_process
from tuner.service import Service

_MOST_RESERVED_BYTES = 100_000_000


def problems(service: Service) -> list[FieldError]:
    """Each with the part that it is about; empty: the service can do all that it should."""
    found = []
    try:
        with service.ledger.read() as connection:
            if (old := out_of_date(connection)) is not None:
                found.append(FieldError("schema", old))
            elif not owned_by_this_process(connection):
                found.append(FieldError("leadership", "another service owns the database now; this one ends"))
    except Unavailable as error:
        found.append(FieldError("database", str(error)))
    return found + _full_disks(service)


def free_bytes(folder: Path) -> int:
    """Of the disk on which the folder lies, or will."""
    return shutil.disk_usage(_existing(folder)).free


def _full_disks(service: Service) -> list[FieldError]:
    """Disks of ours with next to nothing free: no checkpoint, and on SQLite no result, could be kept."""
    found: dict[int, FieldError] = {}
    files = service.artifacts.files
    for folder in (service.settings.home, *([files.folder] if isinstance(files, LocalFiles) else [])):
        usage = shutil.disk_usage(_existing(folder))
        if usage.free < min(_MOST_RESERVED_BYTES, usage.total // 100):
            message = f"only {usage.free / 1e6:.0f} of {usage.total / 1e6:.0f} MB are free where {folder} lies: make room there"
            found.setdefault(_existing(folder).stat().st_dev, FieldError("disk", message))
    return list(found.values())


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())

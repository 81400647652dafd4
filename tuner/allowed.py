"""Which files and hub models a study may name: `TUNER_ALLOWED_SOURCES` of the service and of each worker.

A study comes over REST from people who need not have a login on the machines that read its data, so the machines decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path

from studies.errors import FieldError, InvalidInput
from studies.hub import DATA_PREFIX, without_revision
from studies.sources import local_path
from tuner.settings import Settings
from tuner.spec import StudySpec

# Where other machines can reach the service and nobody has said what is allowed: hub models, but no file of this machine.
NO_FILES = ("[!/]*",)


def allowed_by(settings: Settings) -> Sequence[str] | None:
    """The service's list: as set, else everything for people on this machine, and no files for others."""
    if settings.allowed_sources is not None or settings.host in ("127.0.0.1", "::1", "localhost"):
        return settings.allowed_sources
    return NO_FILES


def check_allowed(spec: StudySpec, patterns: Sequence[str] | None) -> None:
    """Raises InvalidInput at each source that matches no pattern. None allows all; what is built in always is.

    A pattern is matched with the absolute path, links followed, or with the hub id: `/data/*`, `sentence-transformers/*`.
    """
    if patterns is None:
        return
    sources = {
        "model": spec.model,
        "data.train": spec.data.train,
        "data.validation": spec.data.validation,
        "data.test": spec.data.test,
    }
    refused = [field for field, source in sources.items() if isinstance(source, str) and not _allowed(source, field, patterns)]
    if refused:
        listed = "hub models" if patterns is NO_FILES else ", ".join(patterns) or "no others"
        message = f"is not among TUNER_ALLOWED_SOURCES of this machine, which are built-in ones, and {listed}"
        raise InvalidInput([FieldError(field, message) for field in refused])


def _allowed(source: str, field: str, patterns: Sequence[str]) -> bool:
    if source.startswith("builtin:"):
        return True
    path = local_path(source, field)
    if source.startswith(DATA_PREFIX) or (field == "model" and not path.exists()):
        names = [without_revision(source.removeprefix(DATA_PREFIX))]
    else:
        # A glob counts as the files that it finds now: its text says nothing of the links in it.
        names = [str(Path(found).resolve()) for found in glob(str(path), recursive=True) or [str(path)]]
    return all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)

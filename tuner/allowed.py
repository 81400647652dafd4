"""Which files and hub models a study may name: `TUNER_ALLOWED_SOURCES` of the service and of each worker.

A study comes over REST from people who need not have a login on the machines that read its data, so the machines decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from studies.errors import FieldError, InvalidInput
from tuner.spec import StudySpec


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
        listed = ", ".join(patterns) or "none"
        message = f"is not among the sources that this machine allows; allowed: built-in ones, and {listed}"
        raise InvalidInput([FieldError(field, message) for field in refused])


def _allowed(source: str, field: str, patterns: Sequence[str]) -> bool:
    if source.startswith("builtin:"):
        return True
    path = Path(source).expanduser()
    hub_id = source.startswith("hf:") or (field == "model" and not path.exists())
    name = source.removeprefix("hf:") if hub_id else str(path.resolve())
    return any(fnmatchcase(name, pattern) for pattern in patterns)

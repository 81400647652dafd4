"""What can be wrong with what a user asked for, or with a trial.

StudiesError
├── InvalidInput     one or more fields of a study are wrong; nothing was started
└── TrialFailure     a trial can't go on; its kind says whether a retry could help
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FailureKind = Literal["oom", "preempted", "hardware", "nan", "timeout", "data", "code", "lost"]

# What CUDA says of a device that is broken or gone; whatever the trial did, another device would have done better.
_BROKEN_HARDWARE = ("uncorrectable ECC error", "no CUDA-capable device is detected", "device is lost", "has fallen off the bus")


class StudiesError(Exception):
    """Base of every error this package raises on purpose."""


@dataclass(frozen=True)
class FieldError:
    """One field and what would be right there; `field` is a dotted path, e.g. `data.columns.label`."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class InvalidInput(StudiesError):
    """Every wrong field at once, so that a user mends them in one go."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__("; ".join(str(error) for error in errors))
        self.errors = tuple(errors)

    @classmethod
    def at(cls, field: str, message: str) -> InvalidInput:
        return cls([FieldError(field, message)])


class TrialFailure(StudiesError):
    """The trial ends as failed; `kind` is one of the contract's failure kinds."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.message = message

    def __reduce__(self) -> tuple[type[TrialFailure], tuple[FailureKind, str]]:
        # It travels from a trial's process: left alone, it would be built again from its message only.
        return TrialFailure, (self.kind, self.message)


def failure_of(error: Exception) -> TrialFailure:
    """What an error that ended a training means for its trial."""
    if isinstance(error, TrialFailure):
        return error
    # torch's class for it is known by its name: the service knows errors and has no torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return TrialFailure("oom", str(error) or "out of memory")
    broken = any(words in str(error) for words in _BROKEN_HARDWARE)
    return TrialFailure("hardware" if broken else "code", "".join(traceback.format_exception(error)[-8:]))


def death_of(process: str, exitcode: int | None) -> TrialFailure:
    """What it means for a trial that a process of it ended without a word."""
    if exitcode is None or exitcode >= 0:
        return TrialFailure("code", f"{process} ended by itself with exit status {exitcode}")
    killed = -exitcode == signal.SIGKILL
    hint = "; perhaps this machine ran out of memory" if killed else ""
    return TrialFailure("lost" if killed else "code", f"{process} was ended by {signal.Signals(-exitcode).name}{hint}")


def known(names: Sequence[str]) -> str:
    """The tail of an "unknown name" message: the list of known ones."""
    return "known: " + ", ".join(sorted(names))

"""What can be wrong with what a user asked for, or with a trial.

StudiesError
├── InvalidInput     one or more fields of a study are wrong; nothing was started
└── TrialFailure     a trial can't go on; its kind says whether a retry could help
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

FailureKind = Literal["oom", "preempted", "hardware", "nan", "timeout", "data", "code", "lost"]


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


def known(names: Sequence[str]) -> str:
    """The tail of an "unknown name" message: the list of known ones."""
    return "known: " + ", ".join(sorted(names))

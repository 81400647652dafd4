"""What the service can refuse, and why. `api/errors.py` gives each its HTTP status.

    TunerError
    ├── NotFound             no such study, trial, lease, worker, token
    ├── Conflict             the state of things does not allow it
    │   ├── StaleLease       the lease is not the trial's current one: nothing was changed
    │   └── StaleVersion     the study has changed since the caller read it (If-Match)
    ├── Unavailable          the database can't be reached just now: nothing was changed, try again
    │   └── Deposed          another service owns the database now
    └── ServiceError         what a client of the service got instead of an answer
        ├── Refused          the service said no: wrong field, no such thing, no right
        └── Unreachable      no answer: wrong address, service down, connection lost

`studies.errors.InvalidInput` stands beside them for wrong fields of a request.
"""

from __future__ import annotations

from collections.abc import Sequence

from studies.errors import FieldError


class TunerError(Exception):
    """Base of every error this package raises on purpose."""


class NotFound(TunerError):
    """No such thing; the message names it."""


class Conflict(TunerError):
    """The state of things does not allow it; the message says which state would."""


class StaleLease(Conflict):
    """The lease is not the trial's current one: its trial was given to another worker, or has ended."""

    def __init__(self, lease_id: str) -> None:
        super().__init__(f"lease {lease_id} is not the current lease of its trial; stop working on it")


class StaleVersion(Conflict):
    """The study has changed since it was read; read it again and repeat."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class Unavailable(TunerError):
    """The database can't be reached just now; nothing was changed, try again."""


class Deposed(Unavailable):
    """Another service owns the database now; this one can change nothing more."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class ServiceError(TunerError):
    """What a client of the service got instead of an answer."""


class Refused(ServiceError):
    """The service answered with an error status."""

    def __init__(self, status: int, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)


class Unreachable(ServiceError):
    """The service gave no answer."""

from __future__ import annotations

from studies.errors import FieldError, InvalidInput, StudiesError, TrialFailure, known


def test_invalid_input_tells_every_field() -> None:
    error = InvalidInput([FieldError("model", "is missing"), FieldError("data.train", "is missing too")])
    assert str(error) == "model: is missing; data.train: is missing too"
    assert isinstance(error, StudiesError)


def test_a_trial_failure_carries_its_kind() -> None:
    failure = TrialFailure("oom", "out of memory")
    assert (failure.kind, str(failure)) == ("oom", "out of memory")
    assert isinstance(failure, StudiesError)


def test_known_names_are_sorted() -> None:
    assert known(["b", "a"]) == "known: a, b"

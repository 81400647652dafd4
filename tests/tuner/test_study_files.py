from __future__ import annotations

import pytest

from studies.errors import InvalidInput
from tuner.study_files import read, write


def test_what_is_written_is_read_back() -> None:
    study = {
        "name": "🍄 “x”",
        "parameters": {"lr": {"min": 1e-6, "log": True}},
        "tags": {},
        "limit": None,
        "c": ["a*b <= 3"],
    }
    assert read(write(study)) == study
    assert list(read(write(study))) == list(study)


def test_dates_and_odd_keys_are_text() -> None:
    assert read("name: 2026-11-25\n3: x\n") == {"name": "2026-11-25", "3": "x"}


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("a: 1\nb: [1\n", "line 3", "is not YAML"),
        ("a: 1\nb: !!python/object/apply:os.system [x]", "line 2", "constructor"),
        ("a: &x [1]\nb: *x", "line 2", "aliases"),
        ("a: " + "[" * 200 + "]" * 200, "line 1", "nested more than 20 deep"),
        ("just text", "text", "must hold an object"),
        ("", "text", "must hold an object"),
    ],
)
def test_a_wrong_text_is_refused_with_its_place(text: str, field: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(text)
    assert refused.value.errors[0].field == field
    assert message in refused.value.errors[0].message


def test_what_stands_for_gigabytes_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    with pytest.raises(InvalidInput, match="aliases"):
        read("\n".join(lines))

from __future__ import annotations

from collections.abc import Sequence

import pytest

from studies.definition import DataSpec
from studies.dividing import divide
from studies.errors import InvalidInput

Pair = tuple[int, str]


def rows(name: str, where: str) -> Sequence[Pair]:
    return [(number, "ab"[number % 2]) for number in range(20)] if name == "x" else [(100, "a")]


def test_shares_are_stratified_and_other_sources_read() -> None:
    splits = divide(DataSpec(train="x", validation=0.2, test="y"), 0, rows, stratum=lambda row: row[1])
    assert (len(splits.train), sorted(row[1] for row in splits.validation), list(splits.test)) == (
        16,
        ["a", "a", "b", "b"],
        [(100, "a")],
    )


def test_a_group_is_in_one_split_only() -> None:
    splits = divide(DataSpec(train="x", validation=0.3, test=0.3), 0, rows, group=lambda row: row[0] // 4)
    groups = [{row[0] // 4 for row in split} for split in (splits.train, splits.validation, splits.test)]
    assert [len(group) for group in groups] == [1, 2, 2] and len(set().union(*groups)) == 5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataSpec(train="x", validation=1.5), "data.validation: must be a source, or a share"),
        (DataSpec(train="x", validation=0.5, test=0.5), "data.test: together with data.validation"),
        (DataSpec(train="x", limit=0), "data.limit: must be at least 1"),
        (DataSpec(train="x", validation=0.01), "data.validation: this share of 20 rows is no row at all"),
    ],
)
def test_shares_that_make_no_sense(data: DataSpec, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        divide(data, 0, rows)

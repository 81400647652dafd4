"""From the `data` part of a study to its splits: shares held back, other sources read, rows limited."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.sources import Row
from studies.splits import Splits, hold_back, shuffled

RowT = TypeVar("RowT", bound=tuple[object, ...])


def divide(
    data: DataSpec,
    seed: int,
    read: Callable[[str, str], Sequence[RowT]],
    *,
    stratum: Callable[[RowT], str] = lambda row: "",
    group: Callable[[RowT], Any] | None = None,
) -> Splits[RowT]:
    """The splits that `data` asks for. `read` takes a source and the field that names it.

    `data.limit` keeps the first rows of each source after a shuffle by `seed`; shares of `data.train` are then held back for
    test and validation, the same share of each `stratum`. Rows of one `group` stay together, where there are groups.
    Raises InvalidInput naming the field of the study that is wrong.
    """
    check_shares(data)
    train = limited(read(data.train, "data.train"), data.limit, seed)
    # Both shares are of the same whole. Test goes first: its rows stay the same when only the validation share changes.
    whole = len(train)
    held: dict[str, list[RowT]] = {"test": [], "validation": []}
    for name in ("test", "validation"):
        share = getattr(data, name)
        if isinstance(share, str):
            held[name] = limited(read(share, f"data.{name}"), data.limit, seed)
        elif share is not None:
            train, held[name] = _held_back(train, share * whole, seed, f"data.{name}", stratum, group)
    return Splits(train=train, validation=held["validation"], test=held["test"])


def check_shares(data: DataSpec) -> None:
    """Raises InvalidInput for shares that leave nothing to train on."""
    shares = {f"data.{name}": share for name in ("validation", "test") if isinstance(share := getattr(data, name), int | float)}
    for where, share in shares.items():
        if not 0 < share < 1:
            raise InvalidInput.at(
                where, f"must be a source, or a share of the training rows between 0 and 1 (say 0.1), not {share}"
            )
    if sum(shares.values()) >= 1:
        raise InvalidInput.at("data.test", "together with data.validation leaves nothing to train on; their sum must be below 1")


def limited(rows: Sequence[RowT], limit: int | None, seed: int) -> list[RowT]:
    """The first `limit` rows after a shuffle by `seed`; all of them, in their order, without a limit."""
    if limit is not None and limit < 1:
        raise InvalidInput.at("data.limit", f"must be at least 1, not {limit}")
    return list(rows) if limit is None else shuffled(rows, seed)[:limit]


def refuse(where: str, what: str, rows: Sequence[Row]) -> None:
    """Raises InvalidInput at `where` if there are such `rows`, naming the first."""
    if rows:
        count = "1 row has" if len(rows) == 1 else f"{len(rows)} rows have"
        raise InvalidInput.at(where, f"{count} {what} (the first: {rows[0].place}); fill in or remove such rows")


def is_text(raw: object) -> bool:
    return isinstance(raw, str) and bool(raw.strip())


def texts(rows: Sequence[Row], role: str) -> list[str]:
    """The texts of one column. Raises InvalidInput where a row has none."""
    refuse(f"data.columns.{role}", f"no {role}", [row for row in rows if not is_text(row.values[role])])
    return [row.values[role] for row in rows]


def _held_back(
    rows: list[RowT],
    count: float,
    seed: int,
    where: str,
    stratum: Callable[[RowT], str],
    group: Callable[[RowT], Any] | None,
) -> tuple[list[RowT], list[RowT]]:
    if group is None:
        kept, held = hold_back(rows, [stratum(row) for row in rows], round(count), seed)
    else:
        groups = [(key,) for key in dict.fromkeys(group(row) for row in rows)]
        _, chosen = hold_back(groups, [""] * len(groups), round(count * len(groups) / len(rows)), seed)
        away = {key for (key,) in chosen}
        kept, held = [row for row in rows if group(row) not in away], [row for row in rows if group(row) in away]
    if not held:
        raise InvalidInput.at(where, f"this share of {len(rows)} rows is no row at all; take a larger share or give more rows")
    return kept, held

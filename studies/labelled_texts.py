"""Labelled texts: reading, checking and dividing the data of a text classification study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from studies.definition import DataFacts, DataSpec
from studies.errors import InvalidInput
from studies.sources import Row, read_rows
from studies.splits import Splits, hold_back, shuffled

COLUMNS: Mapping[str, str] = {"text": "text", "label": "label"}
# What programs write for "no value" where a file format has no null of its own.
_MISSING = ("", "nan", "null")


class Example(NamedTuple):
    """One labelled text."""

    text: str
    label: str


def read(data: DataSpec, seed: int) -> tuple[Splits[Example], tuple[str, ...]]:
    """The splits, and the classes (sorted) of the whole training source.

    `data.limit` keeps the first rows of each source after a shuffle by `seed`; shares of `data.train` are then held back
    for test and validation. Raises InvalidInput naming the field of the study that is wrong.
    """
    columns = dict(COLUMNS) | dict(data.columns)
    _check_shares(data)
    source = _examples(data.train, columns, "data.train")
    classes = tuple(sorted({example.label for example in source}))
    if len(classes) < 2:
        raise InvalidInput.at(
            "data.columns.label", f"every row of {data.train} has the label {classes[0]!r}; two classes are needed"
        )
    train = _limited(source, data.limit, seed)
    if len({example.label for example in train}) < 2:
        raise InvalidInput.at("data.limit", f"{data.limit} leaves rows of one class only; allow more rows")
    # Both shares are of the same whole. Test goes first: its rows stay the same when only the validation share changes.
    whole = len(train)
    test: list[Example] = []
    if isinstance(data.test, str):
        test = _limited(_other_source(data.test, columns, classes, "data.test"), data.limit, seed)
    elif data.test is not None:
        train, test = _held_back(train, data.test * whole, seed, "data.test")
    if isinstance(data.validation, str):
        validation = _limited(_other_source(data.validation, columns, classes, "data.validation"), data.limit, seed)
    else:
        train, validation = _held_back(train, data.validation * whole, seed, "data.validation")
    return Splits(train=train, validation=validation, test=test), classes


def inspect(data: DataSpec, seed: int) -> DataFacts:
    """What the data holds. The baseline is what the best answer that ignores the text would score in validation."""
    splits, classes = read(data, seed)
    shares = [count / len(splits.validation) for count in Counter(row.label for row in splits.validation).values()]
    majority = max(shares)
    return DataFacts(
        train_rows=len(splits.train),
        validation_rows=len(splits.validation),
        test_rows=len(splits.test),
        fingerprint=splits.fingerprint(),
        classes=classes,
        baseline={
            "accuracy": majority,
            # The majority class has precision `majority` and recall 1; every other class has F1 0.
            "macro_f1": 2 * majority / (1 + majority) / len(shares),
            "loss": -sum(share * math.log(share) for share in shares),
        },
    )


def _check_shares(data: DataSpec) -> None:
    shares = {f"data.{name}": share for name in ("validation", "test") if isinstance(share := getattr(data, name), int | float)}
    for where, share in shares.items():
        if not 0 < share < 1:
            raise InvalidInput.at(
                where, f"must be a source, or a share of the training rows between 0 and 1 (say 0.1), not {share}"
            )
    if sum(shares.values()) >= 1:
        raise InvalidInput.at("data.test", "together with data.validation leaves nothing to train on; their sum must be below 1")


def _examples(source: str, columns: Mapping[str, str], where: str) -> list[Example]:
    rows = read_rows(source, columns, where=where)
    labels = [_label(row.values["label"]) for row in rows]
    _refuse("data.columns.label", "no label", [row for row, label in zip(rows, labels, strict=True) if label is None])
    texts = [row.values["text"] for row in rows]
    _refuse("data.columns.text", "no text", [row for row, text in zip(rows, texts, strict=True) if not _is_text(text)])
    return [Example(text, label) for text, label in zip(texts, labels, strict=True) if label is not None]


def _label(raw: object) -> str | None:
    """`raw` as a class name, or None where it is no label. 3.0 is 3: a gap in a column of whole numbers makes them fractions."""
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if raw is None or not isinstance(raw, str | int | float):
        return None
    text = str(raw).strip()
    return None if text.casefold() in _MISSING else text


def _is_text(raw: object) -> bool:
    return isinstance(raw, str) and bool(raw.strip())


def _refuse(where: str, what: str, rows: Sequence[Row]) -> None:
    if rows:
        count = "1 row has" if len(rows) == 1 else f"{len(rows)} rows have"
        raise InvalidInput.at(where, f"{count} {what} (the first: {rows[0].place}); fill in or remove such rows")


def _other_source(source: str, columns: Mapping[str, str], classes: Sequence[str], where: str) -> list[Example]:
    examples = _examples(source, columns, where)
    unseen = sorted({example.label for example in examples} - set(classes))
    if unseen:
        named = ", ".join(map(repr, unseen[:5])) + (", …" if len(unseen) > 5 else "")
        raise InvalidInput.at(
            where, f"has labels that the training data never shows: {named}; training has: {', '.join(classes)}"
        )
    return examples


def _limited(examples: list[Example], limit: int | None, seed: int) -> list[Example]:
    if limit is not None and limit < 1:
        raise InvalidInput.at("data.limit", f"must be at least 1, not {limit}")
    return examples if limit is None else shuffled(examples, seed)[:limit]


def _held_back(examples: list[Example], count: float, seed: int, where: str) -> tuple[list[Example], list[Example]]:
    kept, held = hold_back(examples, [example.label for example in examples], round(count), seed)
    if not held:
        raise InvalidInput.at(
            where, f"this share of {len(examples)} rows is no row at all; take a larger share or give more rows"
        )
    return kept, held

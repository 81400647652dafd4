"""Labelled texts: reading, checking and dividing the data of a text classification study."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from studies.definition import DataFacts, DataSpec
from studies.dividing import check_shares, divide, limited, refuse, texts
from studies.errors import InvalidInput
from studies.sources import Row, read_rows
from studies.splits import Splits

COLUMNS: Mapping[str, str] = {"text": "text", "label": "label"}
# What programs write for "no value" where a file format has no null of its own.
_MISSING = ("", "nan", "null")


class Example(NamedTuple):
    """One labelled text, or something else written as one."""

    text: str
    label: str


def texts_of(rows: Sequence[Row]) -> list[str]:
    return texts(rows, "text")


def read(
    data: DataSpec, seed: int, columns: Mapping[str, str] = COLUMNS, contents: Callable[[Sequence[Row]], list[str]] = texts_of
) -> tuple[Splits[Example], tuple[str, ...]]:
    """The splits, and the classes (sorted) of the whole training source.

    `columns` are the default ones, `contents` tells what of each row is labelled.

    `data.limit` keeps the first rows of each source after a shuffle by `seed`; shares of `data.train` are then held back
    for test and validation. Raises InvalidInput naming the field of the study that is wrong.
    """
    columns = dict(columns) | dict(data.columns)
    check_shares(data)
    source = _examples(data.train, columns, contents, "data.train")
    classes = tuple(sorted({example.label for example in source}))
    if len(classes) < 2:
        raise InvalidInput.at(
            "data.columns.label", f"every row of {data.train} has the label {classes[0]!r}; two classes are needed"
        )
    if len({example.label for example in limited(source, data.limit, seed)}) < 2:
        raise InvalidInput.at("data.limit", f"{data.limit} leaves rows of one class only; allow more rows")

    def rows(name: str, where: str) -> Sequence[Example]:
        return source if where == "data.train" else _unseen_refused(_examples(name, columns, contents, where), classes, where)

    return divide(data, seed, rows, stratum=lambda example: example.label), classes


def inspect(data: DataSpec, seed: int) -> DataFacts:
    """What the data holds. The baseline is what the best answer that ignores the text would score in validation."""
    return facts(*read(data, seed))


def facts(splits: Splits[Example], classes: tuple[str, ...]) -> DataFacts:
    """What `read` showed, with the scores of the best answer that ignores what is labelled."""
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


def _examples(
    source: str, columns: Mapping[str, str], contents: Callable[[Sequence[Row]], list[str]], where: str
) -> list[Example]:
    rows = read_rows(source, columns, where=where)
    labels = [_label(row.values["label"]) for row in rows]
    refuse("data.columns.label", "no label", [row for row, label in zip(rows, labels, strict=True) if label is None])
    return [Example(text, label) for text, label in zip(contents(rows), labels, strict=True) if label is not None]


def _label(raw: object) -> str | None:
    """`raw` as a class name, or None where it is no label. 3.0 is 3: a gap in a column of whole numbers makes them fractions."""
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    if raw is None or not isinstance(raw, str | int | float):
        return None
    text = str(raw).strip()
    return None if text.casefold() in _MISSING else text


def _unseen_refused(examples: list[Example], classes: Sequence[str], where: str) -> list[Example]:
    unseen = sorted({example.label for example in examples} - set(classes))
    if unseen:
        named = ", ".join(map(repr, unseen[:5])) + (", …" if len(unseen) > 5 else "")
        raise InvalidInput.at(
            where, f"has labels that the training data never shows: {named}; training has: {', '.join(classes)}"
        )
    return examples

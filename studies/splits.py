"""Dividing rows into training, validation and test: by a seed, stratified, the same everywhere."""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

RowT = TypeVar("RowT", bound=tuple[object, ...])


@dataclass(frozen=True, kw_only=True)
class Splits(Generic[RowT]):
    """The rows of each split, no row in two of them."""

    train: Sequence[RowT]
    validation: Sequence[RowT]
    test: Sequence[RowT] = field(default=())

    def fingerprint(self) -> str:
        """Sha256, in hexadecimal, over every row of every split in order."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:  # a trial wants it three times
        digest = hashlib.sha256()
        for name in ("train", "validation", "test"):
            for row in getattr(self, name):
                digest.update(json.dumps([name, *row]).encode())
        return digest.hexdigest()

    def fingerprints(self) -> dict[str, str]:
        """Sha256, in hexadecimal, over the rows of each split by itself."""
        found = {}
        for name in ("train", "validation", "test"):
            digest = hashlib.sha256()
            for row in getattr(self, name):
                digest.update(json.dumps(row).encode())
            found[name] = digest.hexdigest()
        return found


def shuffled(rows: Sequence[RowT], seed: int) -> list[RowT]:
    return random.Random(seed).sample(rows, len(rows))


def hold_back(rows: Sequence[RowT], classes: Sequence[str], count: int, seed: int) -> tuple[list[RowT], list[RowT]]:
    """(kept, held back): `count` of `rows`, the same share of each class; both in the order of `rows`.

    `classes[i]` is the class of `rows[i]`. Every class keeps at least one row, so that nothing is held back that the
    kept rows do not know; where classes are that rare, fewer than `count` are held back.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(classes):
        members[label].append(index)
    generator = random.Random(seed)
    held: set[int] = set()
    due = 0.0
    for label in sorted(members):
        # A small class is due a fraction of a row: what rounding leaves is carried on to the next class.
        due += count * len(members[label]) / len(rows)
        taken = min(max(round(due) - len(held), 0), len(members[label]) - 1)
        held.update(generator.sample(members[label], taken))
    return [row for i, row in enumerate(rows) if i not in held], [row for i, row in enumerate(rows) if i in held]

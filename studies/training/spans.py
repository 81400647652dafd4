"""Spans of tagged words, and how well they are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Span(NamedTuple):
    """Words `start` to `end` (not included), and what they are."""

    start: int
    end: int
    kind: str


def spans(tags: Sequence[str]) -> set[Span]:
    """The spans that tags mark; words tagged `O` are in none.

    In `B-x`/`I-x` tags a B begins a span; any other tag makes one span of the words that bear it in a row.
    """
    found = set()
    start, kind = 0, OUTSIDE
    for index, tag in enumerate([*tags, OUTSIDE]):
        now = tag[2:] if tag[:2] in ("B-", "I-") else tag
        if now != kind or tag.startswith("B-"):
            if kind != OUTSIDE:
                found.add(Span(start, index, kind))
            start, kind = index, now
    return found


def span_scores(
    expected: Iterable[Sequence[str]], predicted: Iterable[Sequence[str]]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Precision, recall and F1 of spans over all sentences (Tjong Kim Sang & De Meulder, CoNLL-2003: a span counts only if
    both ends and its kind are right), and the same for each kind with `rows`, how many spans of it there are."""
    there, given, right = Counter[str](), Counter[str](), Counter[str]()
    for truth, answer in zip(expected, predicted, strict=True):
        wanted, got = spans(truth), spans(answer)
        for counter, marked in ((there, wanted), (given, got), (right, wanted & got)):
            counter.update(span.kind for span in marked)
    overall = _scores(right.total(), given.total(), there.total())
    return overall, {
        kind: _scores(right[kind], given[kind], there[kind]) | {"rows": float(there[kind])} for kind in sorted(there | given)
    }


def _scores(right: int, given: int, there: int) -> dict[str, float]:
    precision, recall = right / given if given else 0.0, right / there if there else 0.0
    return {"precision": precision, "recall": recall, "f1": 2 * right / (given + there) if given + there else 0.0}

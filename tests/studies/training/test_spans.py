from __future__ import annotations

import pytest

from studies.training.spans import Span, span_scores, spans


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("A A B O", {Span(0, 2, "A"), Span(2, 3, "B")}),
        ("O B-A I-A B-A O", {Span(1, 3, "A"), Span(3, 4, "A")}),
        ("I-A I-B", {Span(0, 1, "A"), Span(1, 2, "B")}),
        ("O O", set()),
        ("", set()),
    ],
)
def test_spans_of_both_ways_to_tag(tags: str, found: set[Span]) -> None:
    assert spans(tags.split()) == found


def test_a_span_counts_only_where_both_ends_and_its_kind_are_right() -> None:
    scores, kinds = span_scores([["A", "A", "B", "O"]], [["A", "B", "B", "O"]])
    assert scores == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    scores, kinds = span_scores([["A", "A", "B", "C"]], [["A", "A", "B", "B"]])
    assert scores == {"precision": 0.5, "recall": pytest.approx(1 / 3), "f1": pytest.approx(0.4)}
    assert {kind: (row["f1"], row["rows"]) for kind, row in kinds.items()} == {"A": (1.0, 1), "B": (0.0, 1), "C": (0.0, 1)}

from __future__ import annotations

import pytest

from tuner.attention_figure import attention_figure

MAPS = [[[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]], [[[0.2, 0.8], [0.4, 0.6]], [[0.2, 0.8], [0.4, 0.6]]]]


def test_one_map_a_block_the_last_one_shown_first() -> None:
    figure = attention_figure(["a", "a"], MAPS)
    assert [trace.visible for trace in figure.data] == [False, True]
    assert [list(row) for row in figure.data[0].z] == [[0.5, 0.5], [0.5, 0.5]]
    assert list(figure.layout.xaxis.ticktext) == ["a", "a"]
    assert [step.args[0]["visible"] for step in figure.layout.sliders[0].steps] == [[True, False], [False, True]]


def test_one_head() -> None:
    assert [list(row) for row in attention_figure(["a", "b"], MAPS, head=1).data[0].z] == [[0.0, 1.0], [0.5, 0.5]]
    with pytest.raises(IndexError):
        attention_figure(["a", "b"], MAPS, head=2)

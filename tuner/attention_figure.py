"""Attention maps as a plotly figure: one map a block, chosen by a slider."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

Maps = Sequence[Sequence[Sequence[Sequence[float]]]]  # [blocks][heads][tokens][tokens]


def attention_figure(tokens: Sequence[str], maps: Maps, head: int | None = None) -> go.Figure:
    """Rows look at columns, by one head of each block or by the mean of all. Raises IndexError for a head that there is not."""
    places = list(range(len(tokens)))
    figure = go.Figure()
    for number, heads in enumerate(maps):
        figure.add_heatmap(
            z=_mean(heads) if head is None else heads[head],
            x=places,
            y=places,
            zmin=0,
            zmax=1,
            colorscale="Blues",
            visible=number == len(maps) - 1,
            hovertemplate="%{y} looks at %{x}: %{z:.3f}<extra></extra>",
        )
    steps = [
        {"label": str(number + 1), "method": "update", "args": [{"visible": [index == number for index in range(len(maps))]}]}
        for number in range(len(maps))
    ]
    # A token may stand there twice, so places carry its text as a label.
    axis = {"tickmode": "array", "tickvals": places, "ticktext": list(tokens)}
    figure.update_layout(
        title="Attention, " + ("mean of all heads" if head is None else f"head {head + 1}"),
        sliders=[{"active": len(maps) - 1, "currentvalue": {"prefix": "block "}, "steps": steps}],
        xaxis=axis | {"title": "looked at"},
        yaxis=axis | {"title": "looking", "autorange": "reversed"},
    )
    return figure


def _mean(heads: Sequence[Sequence[Sequence[float]]]) -> list[list[float]]:
    return [[sum(column) / len(heads) for column in zip(*rows, strict=True)] for rows in zip(*heads, strict=True)]

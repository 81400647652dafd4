"""Figures by the names that `GET /api/v1/studies/{id}/figures/{name}` knows: records in, plotly figure out.

Pure: no database, no HTTP. Each takes a `FigureInput`; a study without trials gives a figure that says so.
A figure of 10,000 trials stays below 1 MB of JSON; what was left out for that is said in its subtitle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import plotly.graph_objects as go

from api.dashboard.figure_base import FigureInput
from api.dashboard.figures_of_objectives import pareto
from api.dashboard.figures_of_parameters import contour, importances, parallel, rank, slice_
from api.dashboard.figures_of_progress import curves, edf, history
from api.dashboard.timeline import timeline

__all__ = ["FIGURES", "FigureInput", "figure_json", "load_plotly"]

FIGURES: Mapping[str, Callable[[FigureInput], go.Figure]] = {
    "history": history,
    "curves": curves,
    "importances": importances,
    "parallel": parallel,
    "slice": slice_,
    "contour": contour,
    "rank": rank,
    "edf": edf,
    "pareto": pareto,
    "timeline": timeline,
}


def load_plotly() -> None:
    """Load what figures use of plotly: it loads its parts when they are first used, and two requests at once could deadlock."""
    text = {"text": ""}
    scatter = go.Scatter(line={}, marker={"line": {}, "colorbar": {"title": text}})
    layout = go.Layout(
        template=go.layout.Template(),
        title={"subtitle": text},
        xaxis={"title": text},
        yaxis={"title": text},
        legend={},
        margin={},
        annotations=[text | {"font": {}}],
    )
    figure_json(go.Figure([scatter, go.Bar(marker={"line": {}, "pattern": {}}), go.Contour()], layout))


def figure_json(figure: go.Figure) -> str:
    """The figure as plotly.js takes it; never with NaN or infinities, which JSON does not know."""
    return str(figure.to_json(engine="orjson"))

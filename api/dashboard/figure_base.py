"""What every figure is made from and made of: the input, the palette, the empty canvas, and few enough points."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar

import plotly.graph_objects as go

from studies.definition import ParamValue
from studies.errors import InvalidInput, known
from tuner.records import Attempt, MetricPoint, Study, Trial, Worker
from tuner.spec import direction_of, objective_of

T = TypeVar("T")
Position = Callable[[ParamValue], float | None]  # where on an axis a value stands; None: the axis can't show it

# Okabe and Ito's palette, told apart with every kind of colour blindness; black is left out for the dark theme.
ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#8A8F98"
# From poor or early to good or late: both ends are seen on either theme and by every eye.
COLORSCALE = [[0, ORANGE], [0.5, "#93A1A8"], [1, BLUE]]

# Shape as well as colour: no state is told by colour alone.
STATE_MARKS: Mapping[str, tuple[str, str]] = {
    "completed": (BLUE, "circle"),
    "pruned": (ORANGE, "triangle-down"),
    "running": (SKY, "diamond"),
    "stopped": (GREY, "square"),
    "failed": (VERMILLION, "x"),
}
OUTLINE = {"width": 0.5, "color": "rgba(128,128,128,0.7)"}  # keeps the points of the colour scale apart where they overlap
MAX_POINTS = 500  # in one trace: what a browser draws again while a study is live
FEWER_POINTS = 300  # of more than that, where some have to be left out anyway


@dataclass(frozen=True, kw_only=True)
class FigureInput:
    """What a figure may look at. The functions are called only by the figures that need them, with few numbers."""

    study: Study
    trials: Sequence[Trial]  # all of them, by number
    metrics: Callable[[Sequence[int]], Mapping[int, Sequence[MetricPoint]]]  # trial numbers → their points
    attempts: Callable[[Sequence[int]], Mapping[int, Sequence[Attempt]]]  # trial numbers → their attempts
    importances: Callable[[], Mapping[str, float]]  # parameter → share of the objective's variance it explains
    now: datetime  # where the bars of running attempts end
    workers: Callable[[], Mapping[str, Worker]] = dict  # by id; of those seen last
    metric: str | None = None  # "accuracy" (validation) or "train/loss"; None: the objective
    x: str | None = None  # a parameter; for curves epoch, step or time; None: the figure chooses
    y: str | None = None
    kept: frozenset[int] = frozenset()  # numbers of trials that are drawn whatever is left out

    @property
    def objective(self) -> str:
        return objective_of(self.study.spec).metric

    @property
    def maximize(self) -> bool:
        return direction_of(self.study.spec) == "maximize"

    @cached_property
    def scored(self) -> list[Trial]:
        """Completed trials with a finite value, by number: the ones that count."""
        return [trial for trial in self.trials if trial.state == "completed" and finite(trial.value)]

    @cached_property
    def best(self) -> Trial | None:
        """The completed trial with the best value; the earliest of equals."""
        return min(self.scored, key=self.badness, default=None)

    def thinned(self, trials: Sequence[Trial], most: int = 0) -> list[Trial]:
        """At most `most` of `trials` (0: as many as a trace may have), evenly spread, and those to be kept."""
        few = thinned(trials, most)
        taken = {trial.number for trial in few}
        added = [trial for trial in trials if trial.number in self.kept and trial.number not in taken]
        return sorted([*few, *added], key=lambda trial: trial.number) if added else few

    def badness(self, trial: Trial) -> float:
        """Smaller is better, whatever the direction."""
        value = trial.value or 0.0
        return -value if self.maximize else value


def finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def rounded(value: float | None) -> float | None:
    """Six digits are more than a screen shows and halve the JSON; what is not finite can't be drawn."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def pale(colour: str) -> str:
    """A colour for what matters less. An opacity would have a browser put each point on a layer of its own."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.7)"


def label(value: object, longest: int = 40) -> str:
    """User text for plotly, which would read `<b>` and `<a>` in it as markup."""
    text = f"{value:.4g}" if isinstance(value, float) else "none" if value is None else str(value)
    return html.escape(text if len(text) <= longest else text[: longest - 1] + "…", quote=False)


def thinned(items: Sequence[T], most: int = 0) -> list[T]:
    """At most `most` of `items` (0: as many as a trace may have), evenly spread, the first and the last among them."""
    most = most or (MAX_POINTS if len(items) <= MAX_POINTS else FEWER_POINTS)
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / (most - 1)
    return [items[round(index * step)] for index in range(most)]


def canvas(title: str, note: str = "", **layout: Any) -> go.Figure:
    """A figure without data. `note` says what was left out; colours of text and grid are the page's to set."""
    figure = go.Figure()
    figure.update_layout(
        template=go.layout.Template(),  # plotly's own would add 7 kB of colours to each answer
        title={"text": title, "subtitle": {"text": note}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 16, "t": 56, "b": 44},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hovermode="closest",
        uirevision="keep",  # a redraw with newer data leaves the user's zoom alone
    )
    return figure.update_layout(**layout)


def empty(title: str, message: str) -> go.Figure:
    """A figure that says in words why there is nothing to see yet."""
    figure = canvas(title, xaxis={"visible": False}, yaxis={"visible": False}, height=160)
    return figure.add_annotation(text=message, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper", font={"size": 14})


@dataclass(frozen=True)
class Axis:
    """How the values of one parameter lie on an axis."""

    name: str
    log: bool
    levels: tuple[ParamValue, ...]  # of a parameter without an order between numbers; () for ranges
    whole: bool = False  # its values are whole numbers

    def position(self, value: ParamValue) -> float | None:
        """Where `value` stands: the exponent on a log axis, the index of a level; None where it can't be shown."""
        if self.levels:
            return float(self.levels.index(value)) if value in self.levels else None
        if isinstance(value, str) or value is None or not math.isfinite(value) or (self.log and value <= 0):
            return None
        return math.log10(value) if self.log else float(value)

    def coordinate(self, value: ParamValue) -> float | str | None:
        """The value as plotly takes it on this axis."""
        if self.levels:
            return label(value) if value in self.levels else None
        return None if self.position(value) is None else rounded(float(value or 0))

    @property
    def layout(self) -> dict[str, Any]:
        title = {"text": label(self.name)}
        if self.levels:
            order = [label(level) for level in self.levels]
            return {"title": title, "type": "category", "categoryorder": "array", "categoryarray": order}
        if self.log:
            return {"title": title, "type": "log", "exponentformat": "power"}
        return {"title": title, "type": "linear"}


def axes(given: FigureInput, trials: Sequence[Trial]) -> dict[str, Axis]:
    """The parameters of which `trials` have more than one value, in the order of the study file."""
    spec = given.study.spec.parameters
    bodies: Mapping[str, Any] = spec if isinstance(spec, Mapping) else {}
    names = [*bodies, *sorted({name for trial in trials for name in trial.params} - set(bodies))]
    found = {name: _axis(name, bodies.get(name), [t.params[name] for t in trials if name in t.params]) for name in names}
    return {name: axis for name, axis in found.items() if axis is not None}


def _axis(name: str, body: object, values: Sequence[ParamValue]) -> Axis | None:
    distinct = list(dict.fromkeys(values))
    if len(distinct) < 2:
        return None
    listed = isinstance(body, Mapping) and "values" in body
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in distinct)
    if listed or not numeric:
        # As in the study file where it can be told; 8, 16, 32 in order of size.
        return Axis(name, log=False, levels=tuple(sorted(distinct, key=_by_size)))
    whole = all(isinstance(value, int) for value in distinct)
    return Axis(name, log=isinstance(body, Mapping) and body.get("log") is True, levels=(), whole=whole)


def _by_size(value: ParamValue) -> tuple[bool, float, str]:
    is_number = isinstance(value, int | float)
    return (not is_number, float(value) if isinstance(value, int | float) else 0.0, str(value))


def chosen_axis(found: Mapping[str, Axis], wanted: str | None, where: str, otherwise: Sequence[str]) -> Axis:
    """The axis asked for, or the first of `otherwise`. Raises InvalidInput at `where` for a name that is none."""
    name = wanted if wanted is not None else otherwise[0]
    if name not in found:
        raise InvalidInput.at(where, f"{name!r} is no parameter that varies in this study; {known(list(found))}")
    return found[name]

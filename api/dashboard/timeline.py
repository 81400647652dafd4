"""The timeline: what each place trained when, and when it trained nothing. A place is a worker, or one of its GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import plotly.graph_objects as go

from api.dashboard.figure_base import (
    BLUE,
    GREY,
    ORANGE,
    OUTLINE,
    PURPLE,
    SKY,
    VERMILLION,
    FigureInput,
    canvas,
    empty,
    label,
)
from tuner.records import Attempt, Worker

MAX_TRIALS = 200
LEAST_GAP = 0.005  # of the time shown: a shorter pause between two trials is none
SILENCE = timedelta(seconds=10)  # a worker that was heard of so short ago is there
ROW_HEIGHTS = (18, 34)  # px, least and most
_ROOM = 680  # px that many rows share

# What a lease ended with: colour and hatching.
_OUTCOMES: Mapping[str, tuple[str, str]] = {
    "completed": (BLUE, ""),
    "pruned": (ORANGE, "/"),
    "running": (SKY, ""),
    "stopped": (GREY, "-"),
    "failed": (VERMILLION, "x"),
    "released": (PURPLE, "."),
    "lost": (VERMILLION, "\\"),
}
Place = tuple[str, str | None]  # worker id, id of one of its GPUs; None: trained without, or not told


@dataclass(frozen=True, kw_only=True)
class _Bar:
    """One attempt in one place."""

    trial: int
    attempt: Attempt
    end: datetime

    @property
    def begin(self) -> datetime:
        return self.attempt.granted_at

    @property
    def outcome(self) -> str:
        return self.attempt.outcome or "running"


@dataclass(frozen=True, kw_only=True)
class _Row:
    """Bars that do not overlap, by time, and the time in which the place was there for them."""

    label: str
    bars: Sequence[_Bar]
    there: tuple[datetime, datetime] | None  # None: it is not known to have been free

    def gaps(self, least: timedelta) -> Iterator[tuple[datetime, datetime]]:
        if self.there is None:
            return
        free_from = self.there[0]
        for bar in self.bars:
            if bar.begin - free_from > least:
                yield free_from, bar.begin
            free_from = bar.end
        if self.there[1] - free_from > least:
            yield free_from, self.there[1]


def timeline(given: FigureInput) -> go.Figure:
    """Who trained what when: a bar for each attempt and GPU, a row for each GPU of each worker that told which it used.

    A worker that told of none has one row. What a place trained side by side gets rows of its own, as few as will do.
    """
    title = "Timeline"
    started = [trial for trial in given.trials if trial.started_at is not None]
    shown = started[-MAX_TRIALS:]
    attempts = given.attempts([trial.number for trial in shown])
    bars = [
        _Bar(trial=trial.number, attempt=attempt, end=max(attempt.ended_at or given.now, attempt.granted_at))
        for trial in shown
        for attempt in attempts.get(trial.number, ())
    ]
    if not bars:
        return empty(title, "No trial has started yet")
    note = f"The latest {len(shown)} of {len(started):,} trials" if len(started) > len(shown) else ""
    rows = _rows(given, bars)
    height = max(ROW_HEIGHTS[0], min(ROW_HEIGHTS[1], _ROOM // len(rows)))
    figure = canvas(
        title,
        note,
        barmode="overlay",
        bargap=0.3,
        height=130 + height * len(rows),
        xaxis={"type": "date", "title": {"text": _busy(rows)}},
        yaxis={
            "range": [len(rows) - 0.5, -0.5],
            "tickvals": list(range(len(rows))),
            "ticktext": [row.label for row in rows],
            "showgrid": False,
            "zeroline": False,
        },
    )
    _add_idle(figure, rows)
    for outcome in _OUTCOMES:
        matching = [(y, bar) for y, row in enumerate(rows) for bar in row.bars if bar.outcome == outcome]
        if matching:
            figure.add_trace(_trace(outcome, matching))
    return figure


def _rows(given: FigureInput, bars: Sequence[_Bar]) -> list[_Row]:
    """By worker, GPU and lane."""
    lanes: dict[Place, list[list[_Bar]]] = {}
    for bar in sorted(bars, key=lambda bar: bar.begin):
        for gpu in bar.attempt.gpus or (None,):
            _put(lanes.setdefault((bar.attempt.worker_id, gpu), []), bar)
    workers = given.workers()
    on_gpus = {worker_id for worker_id, gpu in lanes if gpu is not None}
    for worker_id in on_gpus & workers.keys():  # one that had nothing to do is a place as well
        for gpu in _gpus(workers[worker_id]):
            lanes.setdefault((worker_id, gpu), [[]])
    begin = min(bar.begin for bar in bars)
    end = given.now if given.study.state == "running" else max(bar.end for bar in bars)
    shown = {worker_id for worker_id, _ in lanes}
    rows = []
    for place in sorted(lanes, key=lambda place: _order(workers, place)):
        worker_id, gpu = place
        unsure = gpu is None and worker_id in on_gpus  # without a GPU the worker has no place that could be free
        for index, lane in enumerate(lanes[place]):
            name = _name(workers, shown, place) + (f" · {index + 1}" if len(lanes[place]) > 1 else "")
            there = None if unsure else _there(workers.get(worker_id), lane, begin, end)
            rows.append(_Row(label=name, bars=lane, there=there))
    return rows


def _put(lanes: list[list[_Bar]], bar: _Bar) -> None:
    """Into the first lane that is free by then."""
    free = next((lane for lane in lanes if lane[-1].end <= bar.begin), None)
    if free is None:
        lanes.append([bar])
    else:
        free.append(bar)


def _there(worker: Worker | None, lane: Sequence[_Bar], begin: datetime, end: datetime) -> tuple[datetime, datetime]:
    """From when till when the worker was there, as far as the figure shows it."""
    came = [bar.begin for bar in lane[:1]] + ([] if worker is None else [worker.registered_at])
    heard = [bar.end for bar in lane[-1:]] + ([] if worker is None else [worker.seen_at + SILENCE])
    return max(begin, min(came)), min(end, max(heard))


def _gpus(worker: Worker | None) -> list[str]:
    """Ids of its GPUs, in its own order."""
    return [str(gpu["id"]) for gpu in worker.gpus if "id" in gpu] if worker else []


def _order(workers: Mapping[str, Worker], place: Place) -> tuple[str, int, str, int, str]:
    worker_id, gpu = place
    worker = workers.get(worker_id)
    known = _gpus(worker)
    index = -1 if gpu is None else known.index(gpu) if gpu in known else len(known)
    return (worker.host if worker else "", worker.pid if worker else 0, worker_id, index, gpu or "")


def _name(workers: Mapping[str, Worker], shown: Set[str], place: Place) -> str:
    """As short as it can be told from the others that are `shown`."""
    worker_id, gpu = place
    worker = workers.get(worker_id)
    beside = sum(worker is not None and other in workers and workers[other].host == worker.host for other in shown)
    name = label(_cut(worker.host if worker else worker_id)) + (f":{worker.pid}" if worker and beside > 1 else "")
    if gpu is None:
        return name
    known = _gpus(worker)
    return f"{name} · GPU {known.index(gpu) if gpu in known else label(_cut(gpu))}"


def _cut(name: str, longest: int = 18) -> str:
    """In the middle: some machines differ in how their names begin, some in how they end."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"


def _busy(rows: Sequence[_Row]) -> str:
    there = sum((row.there[1] - row.there[0] for row in rows if row.there), timedelta())
    held = sum((bar.end - bar.begin for row in rows if row.there for bar in row.bars), timedelta())
    return f"busy for {min(1.0, held / there):.0%} of the time" if there else ""


def _add_idle(figure: go.Figure, rows: Sequence[_Row]) -> None:
    shown = [(bar.begin, bar.end) for row in rows for bar in row.bars] + [row.there for row in rows if row.there]
    least = LEAST_GAP * (max(end for _, end in shown) - min(begin for begin, _ in shown))
    gaps = [(y, begin, end) for y, row in enumerate(rows) for begin, end in row.gaps(least)]
    if gaps:
        figure.add_bar(
            name="idle",
            orientation="h",
            y=[y for y, _, _ in gaps],
            base=[_time(begin) for _, begin, _ in gaps],
            x=[_milliseconds(end - begin) for _, begin, end in gaps],
            hovertext=[f"no trial of this study for {_length(end - begin)}" for _, begin, end in gaps],
            hovertemplate="%{hovertext}",
            marker={"color": "rgba(0,0,0,0)", "line": OUTLINE, "pattern": {"shape": ".", "fgcolor": GREY, "solidity": 0.15}},
            width=0.3,
        )


def _trace(outcome: str, bars: Sequence[tuple[int, _Bar]]) -> go.Bar:
    colour, pattern = _OUTCOMES[outcome]
    marker: dict[str, Any] = {"color": colour, "line": OUTLINE, "pattern": {"shape": pattern, "solidity": 0.3}}
    return go.Bar(
        name=outcome,
        orientation="h",
        y=[y for y, _ in bars],
        base=[_time(bar.begin) for _, bar in bars],
        x=[_milliseconds(bar.end - bar.begin) for _, bar in bars],
        customdata=[bar.trial for _, bar in bars],
        text=[f"{bar.trial}" for _, bar in bars],
        hovertext=[_told(bar) for _, bar in bars],
        hovertemplate="%{hovertext}",
        marker=marker,
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        width=0.7,
    )


def _told(bar: _Bar) -> str:
    gpus = f"<br>on {label(', '.join(bar.attempt.gpus), 100)}" if bar.attempt.gpus else ""
    return f"trial {bar.trial}, attempt {bar.attempt.attempt}: {_length(bar.end - bar.begin)}{gpus}"


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _milliseconds(length: timedelta) -> int:
    """plotly measures the length of a bar on a date axis in these."""
    return round(length.total_seconds() * 1000)


def _length(length: timedelta) -> str:
    seconds = length.total_seconds()
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"

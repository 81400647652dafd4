from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import plotly.graph_objects as go

from api.dashboard.timeline import MAX_TRIALS, SILENCE, timeline
from tests.api.dashboard.factories import START, a_study, a_trial, a_worker, an_attempt, figure_input, many_trials
from tuner.records import Attempt, Worker

HELD = 25  # seconds that an attempt of the factory takes; the trials begin 30 s after one another


def drawn(attempts: Sequence[Sequence[Attempt]], *workers: Worker, **changes: Any) -> go.Figure:
    """The attempts at trials 0, 1, … of a study that is over."""
    trials = [a_trial(number, value=0.5) for number in range(len(attempts))]
    given: dict[str, Any] = {
        "attempts": lambda numbers: {number: attempts[number] for number in numbers},
        "workers": lambda: {worker.id: worker for worker in workers},
        "study": a_study(state="completed"),
    }
    return timeline(figure_input(trials, **(given | changes)))


def attempt(number: int, *gpus: str, worker: str = "w1", later: float = 0, outcome: str | None = "completed") -> Attempt:
    made = an_attempt(a_trial(number), worker, outcome)
    begin = made.granted_at + timedelta(seconds=later)
    return replace(made, granted_at=begin, ended_at=begin + timedelta(seconds=HELD) if outcome else None, gpus=gpus or None)


def bars(figure: go.Figure, name: str) -> list[tuple[str, str]]:
    """(row, text) of each bar of a name."""
    labels = figure.layout.yaxis.ticktext
    found = [trace for trace in figure.data if trace.name == name]
    return [(labels[y], text) for trace in found for y, text in zip(trace.y, trace.text or trace.hovertext, strict=True)]


def idle(figure: go.Figure) -> Mapping[str, list[float]]:
    """Row → the lengths of its gaps in seconds."""
    gaps: dict[str, list[float]] = {label: [] for label in figure.layout.yaxis.ticktext}
    for trace in figure.data:
        for y, length in zip(trace.y, trace.x, strict=True):
            if trace.name == "idle":
                gaps[figure.layout.yaxis.ticktext[y]].append(length / 1000)
    return gaps


def test_a_bar_for_each_attempt_by_worker_and_outcome() -> None:
    figure = drawn([[attempt(0, outcome="lost"), attempt(0, worker="w2")]], a_worker("w1"))
    assert bars(figure, "lost") == [("node-a", "0")]
    assert bars(figure, "completed") == [("w2", "0")]
    assert [list(trace.x) for trace in figure.data if trace.name == "completed"] == [[HELD * 1000]]


def test_each_gpu_has_a_row_and_a_trial_of_two_is_on_both() -> None:
    one, two, both = attempt(0, "GPU-b"), attempt(0, "GPU-a", later=1), attempt(1, "GPU-a", "GPU-b")
    figure = drawn([[one], [two], [both]], a_worker("w1", "GPU-b", "GPU-a"))
    assert list(figure.layout.yaxis.ticktext) == ["node-a · GPU 0", "node-a · GPU 1"], "in the worker's own order"
    assert sorted(bars(figure, "completed")) == [
        ("node-a · GPU 0", "0"), ("node-a · GPU 0", "2"), ("node-a · GPU 1", "1"), ("node-a · GPU 1", "2"),
    ]  # fmt: skip


def test_a_gpu_that_had_nothing_to_do_is_seen_to_be_idle() -> None:
    figure = drawn([[attempt(0, "a")], [attempt(1, "a")]], a_worker("w1", "a", "b"))
    assert idle(figure) == {"node-a · GPU 0": [5], "node-a · GPU 1": [55]}
    assert figure.layout.xaxis.title.text == "busy for 45% of the time"


def test_a_worker_is_idle_only_while_it_is_there() -> None:
    came = a_worker("w1", registered_at=START + timedelta(seconds=10), seen_at=START + timedelta(seconds=85) - SILENCE)
    figure = drawn([[attempt(0, worker="w2")], [attempt(1)], [attempt(2, worker="w2")], [attempt(3, worker="w2")]], came)
    assert idle(figure)["node-a"] == [20, 30]


def test_pauses_are_seen_while_the_study_runs_until_now() -> None:
    trials = {"now": START + timedelta(seconds=100), "study": a_study()}
    assert idle(drawn([[attempt(0)], [attempt(1)]], a_worker("w1"), **trials)) == {"node-a": [5, 45]}


def test_a_worker_nothing_is_known_of_has_only_the_pauses_between_its_trials() -> None:
    figure = drawn([[attempt(0)], [attempt(1)]])
    assert idle(figure) == {"w1": [5]}
    assert figure.layout.xaxis.title.text == "busy for 91% of the time"


def test_a_running_attempt_reaches_until_now() -> None:
    figure = drawn([[attempt(0, outcome=None)]], now=START + timedelta(seconds=90))
    assert [list(trace.x) for trace in figure.data if trace.name == "running"] == [[90_000]]


def test_what_a_place_trains_side_by_side_gets_rows_of_its_own() -> None:
    for gpus, name in (((), "node-a"), (("a",), "node-a · GPU 0")):
        side_by_side = [[attempt(0, *gpus)], [attempt(0, *gpus, later=5)], [attempt(0, *gpus, later=26)]]
        figure = drawn(side_by_side, a_worker("w1", *gpus))
        assert sorted(bars(figure, "completed")) == [(f"{name} · 1", "0"), (f"{name} · 1", "2"), (f"{name} · 2", "1")]


def test_a_trial_on_a_worker_of_gpus_that_told_of_none_has_a_row_that_is_never_idle() -> None:
    figure = drawn([[attempt(0)], [attempt(1)], [attempt(3, "a")]], a_worker("w1", "a"))
    assert idle(figure) == {"node-a": [], "node-a · GPU 0": [90]}


def test_workers_of_one_host_have_rows_of_their_own_and_are_told_apart() -> None:
    long = "a-node-with-a-name-that-is-cut-somewhere"
    figure = drawn([[attempt(0)], [attempt(0, worker="w2")]], a_worker("w1", host=long), a_worker("w2", host=long, pid=8))
    assert list(figure.layout.yaxis.ticktext) == ["a-node-w…somewhere:7", "a-node-w…somewhere:8"]
    assert sorted(y for trace in figure.data if trace.name == "completed" for y in trace.y) == [0, 1]


def test_the_height_follows_the_rows_but_not_for_ever() -> None:
    def height(rows: int) -> int:
        return int(drawn([[attempt(0, worker=f"w{number}") for number in range(rows)]]).layout.height)

    assert height(2) - height(1) == 34
    assert height(100) == 130 + 18 * 100


def test_only_the_latest_trials_are_drawn() -> None:
    figure = timeline(figure_input(many_trials(1000)))
    assert sum(len(trace.y) for trace in figure.data if trace.name != "idle") == MAX_TRIALS
    assert figure.layout.title.subtitle.text == "The latest 200 of 999 trials"

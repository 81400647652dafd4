from __future__ import annotations

from datetime import timedelta

import pytest

from api.dashboard.figures import figure_json
from api.dashboard.figures_of_studies import STUDY_FIGURES, StudyLine, by_hour, by_trial, edf
from tests.api.dashboard.factories import START, a_study, a_trial, many_trials

HOUR = timedelta(hours=1)


def line(*values: float, direction: str = "maximize", gpus: bool = True) -> StudyLine:
    trials = [a_trial(number, value=value) for number, value in enumerate(values)]
    held = [(t.started_at, t.finished_at, [{"name": "L4"}] if gpus else []) for t in trials if t.started_at is not None]
    return StudyLine(study=a_study(direction=direction), trials=trials, held=held)


def test_the_best_so_far_rises_or_falls_with_the_direction() -> None:
    figure = by_trial([line(0.2, 0.5, 0.3), line(0.2, 0.5, 0.1, direction="minimize")], START)
    assert [list(trace.y) for trace in figure.data] == [[0.2, 0.5, 0.5], [0.2, 0.2, 0.1]]
    assert figure.data[0].line.dash != figure.data[1].line.dash


def test_hours_count_trials_side_by_side() -> None:
    first, second = a_trial(0, value=0.3), a_trial(1, value=0.4)  # 25 s each, the second starts after 30 s
    both = StudyLine(study=a_study(), trials=[first, second], held=[(START, START + HOUR, [1]), (START, None, [1])])
    figure = by_hour([both], START + HOUR)
    assert list(figure.data[0].x) == pytest.approx([2 * 25 / 3600, 2 * 55 / 3600], rel=1e-4)
    assert figure.layout.xaxis.title.text == "GPU-hours"
    assert by_hour([line(0.2, gpus=False)], START).layout.xaxis.title.text == "hours of workers"


def test_shares_end_at_one() -> None:
    figure = edf([line(0.4, 0.2)], START)
    assert (list(figure.data[0].x), list(figure.data[0].y)) == ([0.2, 0.4], [0.5, 1.0])


@pytest.mark.parametrize("name", STUDY_FIGURES)
def test_figures_stay_small_and_say_when_there_is_nothing(name: str) -> None:
    many = StudyLine(study=a_study(), trials=many_trials(10_000), held=[])
    assert len(figure_json(STUDY_FIGURES[name]([many, many], START))) < 1_000_000
    nothing = STUDY_FIGURES[name]([line(), line()], START)
    assert "None of the studies" in nothing.layout.annotations[0].text

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from tuner.pruners import HyperbandPruner, Pruner
from tuner.pruning import Race, bracket_of, quantile
from tuner.records import Trial

NAN = math.nan


def trial(number: int, **changes: Any) -> Trial:
    fields: dict[str, Any] = {
        "id": number,
        "study_id": "s",
        "number": number,
        "state": "running",
        "origin": "sampled",
        "attempt": 1,
        "retries": 0,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    fields |= {name: {} for name in ("params", "values", "search_attrs", "details")}
    unknown = {entry.name: None for entry in dataclasses.fields(Trial) if entry.default is dataclasses.MISSING}
    return Trial(**(unknown | fields | changes))


def race(maximize: bool = True, **pruner: Any) -> Race:
    if pruner["name"] in ("asha", "hyperband"):
        pruner = {"promotion": False} | pruner
    return Race(TypeAdapter(Pruner).validate_python(pruner), maximize=maximize)


def run(race: Race, number: int, values: Sequence[float], *, every: float = 1.0, exempt: bool = False) -> float | None:
    """Report until told to stop; the epoch at which that was, or None."""
    for index, value in enumerate(values):
        at = (index + 1) * every
        race.report(number, at, value)
        if race.judge(number, exempt=exempt).action == "stop":
            return at
    return None


def side_by_side(race: Race, curves: Sequence[Sequence[float]]) -> list[float | None]:
    """All trials report epoch 1, then all that are left epoch 2, …; when each was stopped."""
    stopped: list[float | None] = [None] * len(curves)
    for epoch in range(1, max(map(len, curves)) + 1):
        for number, values in enumerate(curves):
            if stopped[number] is None and epoch <= len(values):
                race.report(number, epoch, values[epoch - 1])
                if race.judge(number).action == "stop":
                    stopped[number] = epoch
                    race.end(trial(number, state="pruned"))
    return stopped


@pytest.mark.parametrize("seed", range(8))
def test_what_is_kept_in_order_is_what_a_look_at_every_curve_finds(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.pruning._MOST_BARS", 3)  # fewer than there are epochs, so that some are made anew
    rng, running = random.Random(seed), race(name="median", startup_trials=2)
    curves: dict[int, list[float]] = {}
    ended: set[int] = set()
    for _ in range(400):
        number = rng.randrange(40)
        if number in ended:
            continue
        if number in curves and rng.random() < 0.15:
            running.end(trial(number, state="pruned"))
            ended.add(number)
            continue
        scores = curves.setdefault(number, [])
        scores.append(rng.choice([NAN, rng.random(), 0.5]))
        running.report(number, len(scores), scores[-1])
        others = [
            [value for value in other[: len(scores)] if value == value]
            for key, other in curves.items()
            if key != number and (key not in ended or len(other) >= len(scores))
        ]
        best = sorted(max(values) for values in others if values)
        own = [value for value in scores if value == value]
        behind = not own or (len(best) >= 2 and max(own) < quantile(best, 0.5))
        assert (running.judge(number).action == "stop") == behind


def test_median_counts_trials_that_still_run() -> None:
    # Eight side by side, none of which has ended: the worst are known after one epoch all the same.
    stopped = side_by_side(race(name="median"), [[level / 10] * 4 for level in range(8)])
    assert stopped == [2, 2, 2, 2, None, None, None, None]


@pytest.mark.parametrize("maximize", [True, False])
def test_median_compares_the_best_so_far_at_the_same_epoch(maximize: bool) -> None:
    sign = 1 if maximize else -1
    running = race(maximize, name="median", startup_trials=3)
    for number, level in enumerate((0.2, 0.4, 0.6)):
        run(running, number, [sign * level, sign * (level + 0.2), sign * (level + 0.3)])
    assert run(running, 3, [sign * 0.5, sign * 0.1, sign * 0.1]) == 2, "0.5 is above 0.4, but behind 0.6 an epoch later"
    assert run(running, 4, [sign * 0.9, 0.0, 0.0]) is None, "its best so far counts"


@pytest.mark.parametrize("min_epochs", [1, 2, 3])
@pytest.mark.parametrize("name", ["median", "percentile", "threshold"])
def test_nothing_is_stopped_before_min_epochs(name: str, min_epochs: int) -> None:
    options: dict[str, Any] = {"lower": 0.3} if name == "threshold" else {"startup_trials": 2}
    running = race(name=name, min_epochs=min_epochs, **options)
    for number in range(3):
        run(running, number, [0.9] * 4, exempt=True)
    assert run(running, 3, [0.1] * 4) == min_epochs


def test_nothing_is_stopped_before_enough_others_came_so_far() -> None:
    running = race(name="median", startup_trials=3)
    assert [run(running, number, [0.9 - number / 10] * 2) for number in range(3)] == [None, None, None]
    assert run(running, 3, [0.1] * 2) == 1


@pytest.mark.parametrize(("percentile", "kept"), [(10, 1), (25, 3), (50, 5), (90, 9)])
def test_percentile_keeps_that_share_of_the_best(percentile: float, kept: int) -> None:
    running = race(name="percentile", percentile=percentile)
    for number in range(10):
        running.report(number, 1, number)
    assert [running.judge(number).action for number in range(10)].count("go on") == pytest.approx(kept, abs=1)
    assert running.judge(9).action == "go on"


def test_fractional_epochs_are_a_resource_like_any() -> None:
    running = race(name="asha", min_epochs=0.1, reduction_factor=3)
    assert run(running, 0, [0.9] * 10, every=0.1) is None
    assert run(running, 1, [0.1] * 10, every=0.1) == 0.1, "a diverging trial dies in the first tenth of its epoch"
    assert run(running, 2, [0.95, 0.5, 0.5, 0.5], every=0.1) == pytest.approx(0.3)


def test_trials_that_report_at_other_points_are_compared_by_what_they_had_by_then() -> None:
    running = race(name="median", startup_trials=2)
    for number in range(2):
        run(running, number, [0.2, 0.6], every=1.5)
    assert run(running, 2, [0.1, 0.1]) == 2, "the others had 0.2 after 1.5 of their epochs"


def test_asha_lets_the_best_third_of_each_rung_go_on() -> None:
    running = race(name="asha", reduction_factor=3)
    stopped = [run(running, number, [number / 100] * 9) for number in range(9)]
    assert stopped == [None] * 9, "each was the best so far"
    assert [run(running, 9 + number, [value] * 9) for number, value in enumerate((0.01, 0.2, 0.015))] == [1, None, 1]
    late_bloomer_and_not = [run(running, 12, [0.5, 0.5, 0.5]), run(running, 13, [0.5, 0.5, 0.01])]
    assert late_bloomer_and_not == [None, 3]


def test_an_exempt_trial_goes_on_but_counts_for_the_others() -> None:
    running = race(name="asha", reduction_factor=2)
    run(running, 0, [0.9, 0.9])
    assert run(running, 1, [0.1, 0.1], exempt=True) is None
    assert run(running, 2, [0.8, 0.8]) == 1, "one of three may go on, and two of the three are known to be behind"
    assert run(running, 3, [0.85]) is None, "two of four"


def test_threshold_bounds_both_sides() -> None:
    running = race(maximize=False, name="threshold", lower=0.0, upper=2.0)
    assert run(running, 0, [1.9, 2.0, 2.1]) == 3
    assert run(running, 1, [0.0, -0.1]) == 2


def test_patience_asks_for_a_gain() -> None:
    running = race(name="patient", patience=2, min_delta=0.1)
    assert run(running, 0, [0.1, 0.3, 0.5, 0.7, 0.9]) is None
    assert run(running, 1, [0.1, 0.3, 0.35, 0.35, 0.9]) == 4
    assert run(race(maximize=False, name="patient", patience=0.5), 0, [3, 2, 2.5, 2.5], every=0.25) == 1.0


@pytest.mark.parametrize(
    "pruner",
    [
        {"name": "median", "startup_trials": 1},
        {"name": "percentile", "startup_trials": 1},
        {"name": "asha"},
        {"name": "threshold", "upper": 9},
        {"name": "patient"},
    ],
    ids=lambda pruner: str(pruner["name"]),
)
def test_a_score_that_is_not_a_number_stops_a_trial_and_hurts_no_other(pruner: dict[str, Any]) -> None:
    running = race(**pruner)
    assert run(running, 0, [NAN] * 4) == 1
    assert run(running, 1, [0.5, 0.6, 0.7, 0.8]) is None
    assert "not a number" in str(race_reason(running))


def race_reason(running: Race) -> str | None:
    running.report(2, 1, NAN)
    return running.judge(2).reason


def test_infinite_scores_are_the_worst_and_the_best() -> None:
    running = race(maximize=False, name="median", startup_trials=2)
    for number in range(3):
        running.report(number, 1, math.inf)
    assert [running.judge(number).action for number in range(3)] == ["go on"] * 3
    running.report(3, 1, -math.inf)
    assert running.judge(3).action == "go on"
    assert quantile([-math.inf, -math.inf, math.inf], 0.5) == -math.inf


def test_a_report_that_comes_again_changes_nothing() -> None:
    running = race(name="asha")
    for _ in range(3):
        running.report(0, 1, 0.5)
        running.report(1, 1, 0.6)
    assert running.judge(1).action == "go on"
    assert running.judge(0).reason == "asha: 1 of 2 trials did better at epoch 1"


def test_a_rung_that_was_passed_is_not_judged_again() -> None:
    running = race(name="asha")
    running.enter(trial(0, search_attrs={"passed_rungs": 1}), [(1, 0.2)])
    running.enter(trial(1, search_attrs={"passed_rungs": 1}), [(1, 0.9)])
    running.report(0, 2, 0.2)
    assert running.judge(0).action == "go on"
    running.report(0, 3, 0.2)
    running.report(1, 2, 0.9)
    running.report(1, 3, 0.9)
    assert running.judge(0).action == "stop"
    assert running.memory(0) == {"passed_rungs": 1}


def test_hyperband_s_brackets_share_the_trials() -> None:
    pruner = HyperbandPruner(name="hyperband", min_epochs=1, max_epochs=9, reduction_factor=3)
    found = Counter(bracket_of(pruner, number) for number in range(850))
    # 9/3 : 3/2 : 1
    assert found[0] == pytest.approx(850 * 3 / 5.5, abs=3)
    assert found[1] == pytest.approx(850 * 1.5 / 5.5, abs=3)
    assert found[2] == pytest.approx(850 * 1 / 5.5, abs=3)
    assert {bracket_of(pruner, number) for number in range(6)} == {0, 1, 2}, "also of the first few"
    assert bracket_of(pruner.model_copy(update={"max_epochs": 2}), 5) == 0


def test_hyperband_judges_a_trial_at_the_rungs_of_its_bracket() -> None:
    pruner = HyperbandPruner(name="hyperband", min_epochs=1, max_epochs=9, reduction_factor=3, promotion=False)
    running = Race(pruner, maximize=True)
    last = next(number for number in range(20) if bracket_of(pruner, number) == 1)
    following = next(number for number in range(last + 1, 20) if bracket_of(pruner, number) == 1)
    assert run(running, last, [0.9] * 9) is None
    assert run(running, following, [0.1] * 9) == 3


# ---- promotion


def rungs(running: Race, scores: Sequence[float], *, epoch: float = 1, first: int = 0) -> list[str]:
    """What becomes of new trials that come to a rung with these scores, one after the other."""
    found = []
    for index, score in enumerate(scores):
        running.report(first + index, epoch, score)
        found.append(str(running.judge(first + index).action))
    return found


def test_a_trial_goes_on_at_once_if_it_is_among_the_best_third_of_its_rung_and_waits_otherwise() -> None:
    running = race(name="asha", promotion=True)
    assert rungs(running, [0.5, 0.4, 0.6, 0.1, 0.7]) == ["set aside", "set aside", "go on", "set aside", "go on"]
    assert list(running.promotable()) == [], "of five one may go on, and the second best has"
    assert rungs(running, [0.2], first=5) == ["set aside"]
    assert list(running.promotable()) == []
    assert rungs(running, [0.3, 0.3, 0.3], first=6) == ["set aside"] * 3
    assert list(running.promotable()) == [0], "of nine three may go on"
    running.go_on(0)
    assert list(running.promotable()) == []
    assert running.memory(0) == {"passed_rungs": 1}


def test_of_equals_no_more_go_on_than_there_is_room_for() -> None:
    running = race(name="asha", promotion=True)
    assert rungs(running, [0.5] * 9).count("go on") == 0
    assert list(running.promotable()) == [0, 1, 2]


def test_higher_rungs_go_first() -> None:
    running = race(name="asha", promotion=True, reduction_factor=2)
    rungs(running, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert list(running.promotable()) == [0, 1, 2]
    for number in (0, 1, 2):
        running.go_on(number)
    assert rungs(running, [0.9, 0.8, 0.7], epoch=2) == ["set aside"] * 3
    assert list(running.promotable()) == [0]
    rungs(running, [0.3, 0.2], first=6)
    assert list(running.promotable()) == [0, 3], "one of three from the second rung, then four of eight from the first"


def test_the_last_ones_are_promoted_where_a_rung_has_too_few() -> None:
    running = race(name="asha", promotion=True)
    assert rungs(running, [0.4, 0.5]) == ["set aside"] * 2
    assert (list(running.promotable()), list(running.last_promotable())) == ([], [1, 0])
    running.go_on(1)
    assert list(running.last_promotable()) == [], "one has left the rung"
    assert rungs(running, [0.7], epoch=3, first=1) == ["set aside"]
    assert list(running.last_promotable()) == [1]
    running.go_on(1)
    running.end(trial(1, state="failed"))
    assert list(running.last_promotable()) == [0], "the one that left has failed"


def test_the_untuned_default_takes_no_searched_trial_s_last_chance() -> None:
    running = race(name="asha", promotion=True)
    running.enter(trial(0, origin="default"), [(1, 0.9), (3, 0.9)])
    running.judge(0, exempt=True)
    assert rungs(running, [0.4], first=1) == ["set aside"]
    assert list(running.last_promotable()) == [1]


def test_what_has_ended_is_not_promoted() -> None:
    running = race(name="asha", promotion=True, reduction_factor=2)
    rungs(running, [0.5, 0.4])
    running.end(trial(0, state="stopped"))
    assert (list(running.promotable()), list(running.last_promotable())) == ([], [1])


def test_a_changed_rule_keeps_those_waiting_that_stand_at_one_of_its_rungs() -> None:
    running = race(name="asha", promotion=True, min_epochs=2)
    running.enter(trial(0, set_aside_at=datetime(2026, 1, 1, tzinfo=UTC)), [(1, 0.5)])
    running.enter(trial(1, set_aside_at=datetime(2026, 1, 1, tzinfo=UTC)), [(1, 0.5), (2, 0.5), (3, 0.6)])
    assert [running.may_wait(number) for number in (0, 1)] == [False, True]
    running.restart(1, aside=True)
    assert list(running.last_promotable()) == [1]
    assert not race(name="median").may_wait(1)

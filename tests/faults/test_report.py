from __future__ import annotations

from tests.faults.report import BEGINS, ENDS, PAGE, table


def line(**changes: object) -> dict[str, object]:
    shared = {"run": "kill", "database": "SQLite", "seed": 1, "strikes": 100, "workers_killed": 2, "network": 3, "calls": 4}
    return shared | {"trials": 5, "broken": []} | changes


def test_runs_of_one_kind_share_a_row_and_its_bound() -> None:
    row = table([line(), line(seed=2, strikes=200)]).splitlines()[2]
    assert row == "| kill | SQLite | 300 | 0 | < 1.0 % | 8 | 6 | 4 | 10 | 1–2 |"


def test_a_bound_is_rounded_up() -> None:
    assert "| < 0.1 % |" in table([line(strikes=6158)])


def test_seeds_that_follow_each_other_are_a_span() -> None:
    assert table([line(seed=seed) for seed in (7, 3, 2, 1, 9)]).splitlines()[2].endswith("| 1–3, 7, 9 |")


def test_a_broken_promise_leaves_no_bound() -> None:
    assert "| 100 | 1 | – |" in table([line(broken=["I1: gone"])])


def test_the_page_has_a_place_for_the_table() -> None:
    assert PAGE.read_text().count(BEGINS) == PAGE.read_text().count(ENDS) == 1

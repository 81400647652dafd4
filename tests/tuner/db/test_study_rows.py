from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Clock
from tests.tuner.helpers import Bench, plain_study
from tuner.db import study_rows
from tuner.db.engine import Connection
from tuner.lifecycle import Actor
from tuner.service import Service

NAMES = ["Ärger", "topics_1", "Topics 2", "100%"]


@pytest.fixture
def many(service: Service, clock: Clock) -> Service:
    """Four studies, one a second; the second has ended, the last is tagged."""
    for name in NAMES:
        tags = {"team": "nlp", 'a "quoted" key.': "x"} if name == NAMES[-1] else {}
        study = plain_study(service, clock.forward(1), name=name, tags=tags)
        if name == NAMES[1]:
            service.lifecycle.stop(study.id, actor=Actor(), now=clock())
    return service


def names(service: Service, **options: Any) -> list[str]:
    with service.ledger.read() as connection:
        return [study.name for study in study_rows.list_studies(connection, **options)[0]]


def test_newest_first(many: Service) -> None:
    assert names(many) == NAMES[::-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"text": "topics"}, ["Topics 2", "topics_1"]),
        ({"text": "TOPICS_"}, ["topics_1"]),
        ({"text": "Ärg"}, ["Ärger"]),
        ({"text": "%"}, ["100%"]),
        ({"text": "nothing"}, []),
        ({"states": ["stopped"]}, ["topics_1"]),
        ({"states": ["running"]}, ["100%", "Topics 2", "Ärger"]),
        ({"tag": ("team", None)}, ["100%"]),
        ({"tag": ("team", "nlp")}, ["100%"]),
        ({"tag": ("team", "vision")}, []),
        ({"tag": ("nothing", None)}, []),
    ],
)
def test_filtering(many: Service, options: dict[str, Any], expected: list[str]) -> None:
    assert names(many, **options) == expected


def test_pages_follow_each_other_even_among_equals(service: Service, clock: Clock) -> None:
    made = {plain_study(service, clock(), name=f"s{number}").id for number in range(5)}
    seen: list[str] = []
    before = None
    for _ in range(3):
        with service.ledger.read() as connection:
            page, total = study_rows.list_studies(connection, before=before, limit=2)
        assert total == 5
        seen += [study.id for study in page]
        before = (page[-1].created_at, page[-1].id)
    assert len(seen) == 5 and set(seen) == made


def test_a_study_is_found_by_id_or_name(bench: Bench) -> None:
    with bench.service.ledger.read() as connection:
        assert study_rows.find_study(connection, bench.study_id) == bench.study()
        assert study_rows.find_study(connection, "simulated") == bench.study()
        assert study_rows.find_study(connection, "nothing") is None


def test_counts_name_every_state(bench: Bench) -> None:
    bench.complete(0.5)
    bench.lease()
    with bench.service.ledger.read() as connection:
        counts = study_rows.counts(connection, [bench.study_id, "nothing"])
        assert study_rows.counts(connection, []) == {}
    assert counts[bench.study_id] == {"waiting": 0, "running": 1, "completed": 1, "pruned": 0, "stopped": 0, "failed": 0}
    assert set(counts["nothing"].values()) == {0}


def test_a_number_is_granted_only_while_all_conditions_hold(bench: Bench) -> None:
    claim = bench.service.ledger.database.write
    assert claim(lambda connection: study_rows.claim_number(connection, bench.study_id)) == 1
    assert claim(lambda connection: study_rows.claim_number(connection, "nothing")) is None
    bench.service.lifecycle.pause(bench.study_id, actor=Actor(), now=bench.clock())
    assert claim(lambda connection: study_rows.claim_number(connection, bench.study_id)) is None
    assert claim(lambda connection: study_rows.claim_enqueued_number(connection, bench.study_id)) == 2


def test_no_number_beyond_the_budget_is_granted(service: Service, clock: Clock) -> None:
    study = plain_study(service, clock(), budget={"trials": 3})

    def claim_all(connection: Connection) -> list[int | None]:
        claims = (study_rows.claim_number, study_rows.claim_enqueued_number) * 2
        return [claim(connection, study.id) for claim in claims]

    # Trial 0 exists already.
    assert service.ledger.database.write(claim_all) == [1, 2, None, None]


def test_a_spec_is_replaced_only_at_the_version_it_was_read(bench: Bench) -> None:
    study = bench.study()

    def replace_all(connection: Connection) -> list[bool]:
        versions = (study.version + 1, study.version, study.version)
        return [study_rows.set_spec(connection, study.id, study.spec, version=v, now=bench.clock()) for v in versions]

    assert bench.service.ledger.database.write(replace_all) == [False, True, False]
    assert bench.study().version == study.version + 1

"""The benchmarks' load on the real service, in small: whatever they would report as an error fails here."""

from __future__ import annotations

import pytest

from benchmarks.servers import tuner_server
from benchmarks.workers import attend
from tests.api.helpers import run

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk")]


def test_a_crowd_of_workers_is_answered_without_an_error() -> None:
    with tuner_server() as tuner:
        crowd = run(attend(tuner, workers=10, seconds=3, every=1.0))
    assert crowd.errors == []
    assert len(crowd.heartbeats.seconds) >= 10 and len(crowd.reports.seconds) >= 20

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from studies.definition import Checkpoint, Metric, Verdict
from tests.api.conftest import Live, serving
from tests.simulation import study_body
from tuner.client import Client
from tuner.errors import Refused, Unreachable
from tuner.leased_trial import LOST, LeasedTrial
from tuner.service import Service, utc_now
from tuner.settings import Settings

LEASE_SECONDS = 1.2  # so a heartbeat comes every 0.3 seconds


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", check_data=False, lease_seconds=LEASE_SECONDS)


@pytest.fixture
def live(settings: Settings) -> Iterator[Live]:
    with serving(settings) as server:
        yield server


@pytest.fixture
def service(live: Live) -> Service:
    found: Service = live.server.app.state.service
    return found


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with Client(live.url, live.token) as opened:
        opened.post("/studies", study_body(retries=1))
        yield opened


@pytest.fixture
def trial(client: Client) -> LeasedTrial:
    leased = client.lease(client.register())
    assert leased is not None
    return leased


def state(client: Client) -> tuple[str, str | None]:
    found = client.get("/studies/simulated/trials/0")
    return found["state"], found["failure"] and found["failure"]["kind"]


def lose(service: Service) -> None:
    assert service.manager.expire(now=utc_now() + timedelta(seconds=60)) == 1


def test_heartbeats_keep_a_silent_trial_and_bring_the_users_word(client: Client, trial: LeasedTrial) -> None:
    with trial:
        time.sleep(2 * LEASE_SECONDS)  # two heartbeats too few, and the service's own timer would have taken it back
        assert state(client) == ("running", None)
        client.post(f"/studies/{trial.study_id}/pause")
        deadline = time.monotonic() + 10
        while not trial.verdict.stop and time.monotonic() < deadline:
            time.sleep(0.05)
    assert trial.verdict == Verdict(stop=True, reason="paused")
    assert state(client) == ("waiting", None)


def test_a_trial_taken_away_is_lost_and_nothing_more_is_said_of_it(client: Client, service: Service, trial: LeasedTrial) -> None:
    with trial:
        lose(service)
        assert trial.report(step=1, accuracy=0.5) == LOST
    assert state(client) == ("waiting", None)


def test_reports_bring_verdicts(trial: LeasedTrial, client: Client) -> None:
    metrics = [Metric(name="accuracy", value=0.5, step=1, epoch=1.0), Metric(name="loss", value=0.7, step=1, epoch=1.0)]
    with trial:
        assert trial.report_metrics(metrics) == Verdict()
        assert trial.report(step=2, epoch=2.0, accuracy=0.6) == Verdict()
        client.post(f"/studies/{trial.study_id}/trials/0/stop")
        assert trial.report(step=3, accuracy=0.7) == Verdict(stop=True, reason="stopped")
        trial.finish({"accuracy": 0.7}, {"seconds": 1})
    found = client.get("/studies/simulated/trials/0")
    assert (found["state"], found["value"]) == ("stopped", 0.6)


def test_a_finish_when_told_to_pause_gives_the_trial_back(client: Client, trial: LeasedTrial) -> None:
    with trial:
        client.post(f"/studies/{trial.study_id}/pause")
        assert trial.report(step=1, epoch=1.0, accuracy=0.5) == Verdict(stop=True, reason="paused")
        trial.finish({"accuracy": 0.5})
    assert state(client) == ("waiting", None)


def test_a_result_stands_whatever_was_said_meanwhile(client: Client, trial: LeasedTrial) -> None:
    with trial:
        client.post(f"/studies/{trial.study_id}/pause")
        assert trial.report(step=1, epoch=1.0, accuracy=0.5).stop
        trial.complete({"accuracy": 0.5})
    assert state(client) == ("completed", None)


@pytest.mark.parametrize("told", [True, False])
def test_a_finish_of_a_lost_trial_is_no_error(client: Client, service: Service, trial: LeasedTrial, told: bool) -> None:
    with trial:
        lose(service)
        if told:
            assert trial.report(step=1, accuracy=0.5) == LOST
        trial.finish({"accuracy": 0.5})
    assert trial.verdict == LOST
    assert state(client) == ("waiting", None)


def test_what_is_finished_is_not_given_back(client: Client, trial: LeasedTrial) -> None:
    with trial:
        trial.finish({"accuracy": 0.5})
    assert state(client) == ("completed", None)


def test_what_is_not_finished_is_given_back(client: Client, trial: LeasedTrial) -> None:
    with trial:
        trial.report(step=1, accuracy=0.5)
    assert state(client) == ("waiting", None)


def test_a_mistake_in_the_training_fails_the_trial(client: Client, trial: LeasedTrial) -> None:
    with pytest.raises(ZeroDivisionError), trial:
        trial.report(step=1, accuracy=1 / 0)
    assert state(client) == ("failed", "code")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Unreachable("cut off"), Refused(503, "busy")])
def test_what_is_no_mistake_of_the_training_gives_the_trial_back(
    client: Client, trial: LeasedTrial, error: BaseException
) -> None:
    with pytest.raises(type(error)), trial:
        raise error
    assert state(client) == ("waiting", None)


def test_logs_arrive(client: Client, trial: LeasedTrial, tmp_path: Path) -> None:
    with trial:
        trial.log("one\ntwo")
    client.download("/studies/simulated/trials/0/logs", tmp_path / "log")
    assert (tmp_path / "log").read_text() == "one\ntwo\n"


def test_lines_that_are_sent_again_are_there_once(client: Client, trial: LeasedTrial, tmp_path: Path) -> None:
    with trial:
        for text, after in (("one\ntwo", 0), ("one\ntwo", 0), ("two\nthree", 1), ("four", 3)):
            client.post(f"/leases/{trial.id}/logs", {"text": text, "after": after})
    client.download("/studies/simulated/trials/0/logs", tmp_path / "log")
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree\nfour\n"


def test_a_checkpoint_goes_to_the_next_worker(client: Client, trial: LeasedTrial, tmp_path: Path) -> None:
    assert trial.resume is None
    kept, fetched = tmp_path / "kept", tmp_path / "fetched"
    kept.write_bytes(b"weights")
    with trial:
        trial.report(step=5, epoch=1.0, accuracy=0.5)
        trial.save_checkpoint(Checkpoint(file=kept, epoch=1.0, step=5))
        trial.report(step=10, epoch=2.0, accuracy=0.6)
    again = client.lease(client.register())
    assert again is not None and again.resume == {"epoch": 1.0, "step": 5}
    with again:
        again.load_checkpoint(fetched)
        assert client.get("/studies/simulated/trials/0")["value"] == 0.5
    assert fetched.read_bytes() == b"weights"


def test_the_gpus_of_a_trial_are_told_at_once(client: Client, trial: LeasedTrial) -> None:
    trial.gpus = ["GPU-1"]

    def told() -> object:
        return client.get("/studies/simulated/trials/0")["attempts"][0]["gpus"]

    assert told() is None
    with trial:
        deadline = time.monotonic() + 10
        while told() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert told() == ["GPU-1"]

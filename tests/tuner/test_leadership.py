from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import make_url, update
from structlog.testing import capture_logs

from tests.conftest import Clock, administer
from tests.tuner.helpers import all_rows
from tests.walk.conftest import wait_until
from tuner.db import leader_rows
from tuner.db.engine import Connection, Database
from tuner.db.leader_rows import get_leader
from tuner.db.migrate import upgrade
from tuner.db.tables import leader
from tuner.errors import Conflict, Deposed, Unavailable
from tuner.leadership import LEAD_SECONDS, Leadership
from tuner.service import Service, open_service, wait_for_lead
from tuner.settings import Settings
from tuner.workforce import add_worker


def register(service: Service, clock: Clock) -> str:
    return add_worker(service.ledger, host="here", pid=1, gpus=[], versions={}, now=clock()).id


def test_a_second_service_is_refused_while_the_first_one_lives(service: Service, settings: Settings, clock: Clock) -> None:
    clock.forward(LEAD_SECONDS - 1)
    with pytest.raises(Conflict, match="another service owns this database"), open_service(settings, clock=clock):
        pass
    register(service, clock)  # the refused one has done no harm


def test_a_service_that_was_closed_leaves_the_database_at_once(settings: Settings, clock: Clock) -> None:
    for _ in range(2):
        with open_service(settings, clock=clock) as opened:
            assert register(opened, clock)


def test_a_silent_service_is_deposed_and_can_change_nothing(service: Service, settings: Settings, clock: Clock) -> None:
    register(service, clock)
    clock.forward(LEAD_SECONDS + 1)
    with open_service(settings, clock=clock) as successor:
        before = all_rows(successor)
        with pytest.raises(Deposed):
            register(service, clock)
        assert all_rows(successor) == before
        register(successor, clock)


def test_every_write_renews_the_claim(service: Service, settings: Settings, clock: Clock) -> None:
    for _ in range(3):
        clock.forward(LEAD_SECONDS - 1)
        register(service, clock)
    with pytest.raises(Conflict), open_service(settings, clock=clock):
        pass


def test_the_claim_of_a_process_that_died_here_is_taken_at_once(service: Service, settings: Settings, clock: Clock) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    service.ledger.database.write(lambda c: c.execute(update(leader).values(owner=f"{socket.gethostname()} {ended.pid}/1")))
    with open_service(settings, clock=clock) as successor:
        assert register(successor, clock)
    with pytest.raises(Deposed):
        register(service, clock)


def test_a_claim_from_another_machine_is_waited_for(service: Service, settings: Settings, clock: Clock) -> None:
    service.ledger.database.write(lambda c: c.execute(update(leader).values(owner="elsewhere 1/1")))
    with pytest.raises(Conflict), open_service(settings, clock=clock):
        pass


def test_one_that_stands_by_goes_on_when_the_owner_leaves(settings: Settings, clock: Clock) -> None:
    with open_service(settings, clock=clock):
        waiting = threading.Thread(target=wait_for_lead, args=(settings,), kwargs={"clock": clock, "every": 0.01})
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


def test_one_that_stands_by_outlasts_a_database_that_is_away(postgres_server: str, postgres_url: str, clock: Clock) -> None:
    settings, name = Settings(database_url=postgres_url), make_url(postgres_url).database
    owner = Database(postgres_url)
    owner.write(lambda c: leader_rows.take_lead(c, after=None, owner="elsewhere 1/1", now=clock()))
    taken: list[Leadership] = []
    with capture_logs() as said:
        waiting = threading.Thread(target=lambda: taken.append(wait_for_lead(settings, clock=clock, every=0.01)), daemon=True)
        waiting.start()
        wait_until(lambda: [line["waits_for"] for line in said] == ["elsewhere 1/1"], seconds=20)
        administer(postgres_server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        administer(postgres_server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        wait_until(lambda: "cannot be reached" in said[-1]["waits_for"], seconds=20)
        waiting.join(0.2)
        assert waiting.is_alive() and not taken
        administer(postgres_server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        wait_until(lambda: said[-1]["waits_for"] == "elsewhere 1/1", seconds=20)
        clock.forward(LEAD_SECONDS + 1)
        waiting.join(20)
    assert len(taken) == 1
    owner.close()


def test_of_two_that_stand_by_one_takes_over_and_the_other_goes_on_waiting(settings: Settings, clock: Clock) -> None:
    taken: list[Leadership] = []

    def stand_by() -> None:
        taken.append(wait_for_lead(settings, clock=clock, every=0.01))

    waiting = [threading.Thread(target=stand_by, daemon=True) for _ in range(2)]
    with open_service(settings, clock=clock):
        for thread in waiting:
            thread.start()
    wait_until(lambda: taken)
    waiting[0].join(0.2)
    assert len(taken) == 1
    with open_service(settings, clock=clock, leadership=taken[0]) as heir:
        assert register(heir, clock)
    for thread in waiting:
        thread.join(10)
    assert len(taken) == 2


def test_who_looked_before_another_one_came_does_not_become_the_owner(settings: Settings, clock: Clock) -> None:
    upgrade(settings.url)
    database = Database(settings.url)
    for after in (None, 1):  # the first ever, and a later one
        epoch = 1 if after is None else after + 1
        assert database.write(partial(leader_rows.take_lead, after=after, owner="one", now=clock())) == epoch
        assert database.write(partial(leader_rows.take_lead, after=after, owner="two", now=clock())) is None
    with database.read() as connection:
        found = get_leader(connection)
    assert found is not None and (found.epoch, found.owner) == (2, "one")
    database.close()


def test_each_owner_has_an_epoch_of_its_own(settings: Settings, clock: Clock) -> None:
    epochs = []
    for _ in range(3):
        with open_service(settings, clock=clock) as opened, opened.ledger.read() as connection:
            found = get_leader(connection)
            assert found is not None
            epochs.append(found.epoch)
    assert epochs == [epochs[0], epochs[0] + 1, epochs[0] + 2]


def pause_in_a_transaction(driver: Any, wait: Callable[[], object]) -> None:
    wait()


def pause_after_a_pipeline(driver: Any, wait: Callable[[], object]) -> None:
    with driver.pipeline():
        driver.execute("SELECT 1")
    wait()


def pause_in_a_pipeline(driver: Any, wait: Callable[[], object]) -> None:
    with driver.pipeline():
        driver.execute("SELECT 1")
        wait()


@pytest.mark.parametrize("pause", [pause_in_a_transaction, pause_after_a_pipeline, pause_in_a_pipeline])
def test_an_owner_that_sleeps_within_a_write_is_cut_off_by_who_takes_over(
    pause: Callable[[Any, Callable[[], object]], None], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(postgres_url)
    monkeypatch.setattr("tuner.leadership.LEAD_SECONDS", 0.5)
    clock, asleep, awake = Clock(), Database(postgres_url), Database(postgres_url)
    owner, heir = Leadership(clock), Leadership(clock)
    assert asleep.write(owner.take)
    asleep.guard = owner.confirm
    sleeping, waking = threading.Event(), threading.Event()

    def sleep(connection: Connection) -> None:
        def wait() -> None:
            sleeping.set()
            waking.wait(30)

        pause(connection.connection.driver_connection, wait)

    late = asleep.begin(sleep)
    assert sleeping.wait(30)
    clock.forward(1)
    assert not awake.write(heir.take), "the row is in use, and not yet for long"
    wait_until(lambda: awake.write(heir.take), seconds=10)
    waking.set()
    assert isinstance(late.exception(30), Deposed | Unavailable)
    assert (heir.epoch, owner.epoch) == (2, 1)
    asleep.close()
    awake.close()

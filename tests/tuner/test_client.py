from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.api.conftest import Live, serving
from tests.simulation import study_body
from tests.tuner.something_else import something_else
from tuner.client import Client, local_service
from tuner.errors import Refused, ServiceError, Unreachable
from tuner.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", check_data=False)


@pytest.fixture
def live(settings: Settings) -> Iterator[Live]:
    with serving(settings) as server:
        yield server


@pytest.fixture
def client(live: Live, settings: Settings) -> Iterator[Client]:
    """Someone who gave neither address nor token: both come from the service of this machine."""
    with Client(settings=settings) as opened:
        yield opened


def test_the_service_of_this_machine_is_found_without_a_word(client: Client, live: Live) -> None:
    assert client.server == live.url
    assert client.get("/studies")["items"] == []


def test_a_given_address_and_token_come_first(client: Client, live: Live, settings: Settings) -> None:
    with Client(live.url + "/", "wrong", settings=settings) as other:
        assert other.server == live.url
        with pytest.raises(Refused) as refusal:
            other.get("/studies")
    assert refusal.value.status == 401


def test_the_local_token_goes_to_no_other_machine(live: Live, settings: Settings) -> None:
    for elsewhere in ("http://node1:8321", "http://127.0.0.1.example:8321", "http://192.0.2.1"):
        with pytest.raises(ServiceError, match=f"no token for {elsewhere}: set TUNER_TOKEN"):
            Client(elsewhere, settings=settings)
        Client(elsewhere, "given", settings=settings).close()
        Client(elsewhere, settings=settings.model_copy(update={"token": SecretStr("given")})).close()
    with Client(live.url.replace("127.0.0.1", "localhost"), settings=settings) as here:
        assert here.get("/studies")["items"] == []


def test_a_token_may_stand_in_a_file(live: Live, settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "given"
    with_file = settings.model_copy(update={"token_file": file})
    with pytest.raises(ServiceError, match=f"TUNER_TOKEN_FILE: {file} can't be read: No such file"):
        Client("http://node1:8321", settings=with_file)
    file.write_text("\n")
    with pytest.raises(ServiceError, match="is empty"):
        Client("http://node1:8321", settings=with_file)
    file.write_text(live.token + "\n")
    with Client(live.url, settings=with_file) as client:
        assert client.get("/tokens")["total"] > 0
    with Client(live.url, settings=with_file.model_copy(update={"token": SecretStr("wrong")})) as client:
        with pytest.raises(Refused):
            client.get("/studies")


def test_a_worker_token_is_enough_to_take_part(client: Client, live: Live, settings: Settings) -> None:
    client.post("/studies", study_body())
    with Client(live.url, live.worker_token, settings=settings) as worker:
        for trial in worker.trials("simulated"):
            trial.finish({"accuracy": 0.5})
            break
        with pytest.raises(Refused, match="no study 'another'"):
            next(worker.trials("another"))
    assert client.get("/studies/simulated/trials/0")["state"] == "completed"


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"<html>", "the answer is not JSON"), (b'{"id": "l1"}', "the answer is not a lease"), (b"[]", "the answer is not a lease")],
)
def test_an_answer_of_something_else_is_no_answer(body: bytes, message: str) -> None:
    with something_else((200, body)) as url, Client(url, "token") as client, pytest.raises(Unreachable, match=message):
        client.lease("w1")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"errors": 1}', b'{"errors": [{}]}', b"{}"])
def test_an_error_page_of_something_else_is_a_refusal(body: bytes) -> None:
    with something_else((502, body)) as url, Client(url, "token") as client:
        with pytest.raises(Refused, match="the service answered 502"):
            client.lease("w1")


def test_without_a_service_one_is_told_how_to_start_it(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="tuner serve"):
        Client(settings=Settings(home=tmp_path / "nothing"))


def test_a_service_that_is_gone_is_unreachable(settings: Settings) -> None:
    with serving(settings) as live, Client(live.url, live.token, settings=settings) as client:
        client.get("/studies")
        live.server.should_exit = True
        with pytest.raises(Unreachable, match="no answer from"):
            for _ in range(1000):
                client.get("/studies")
    assert local_service(settings) is None


def test_wrong_fields_arrive_by_name(client: Client) -> None:
    with pytest.raises(Refused) as refusal:
        client.post("/studies", study_body(parallelism=0, sampler={"name": "magic"}))
    assert refusal.value.status == 422
    assert {error.field for error in refusal.value.errors} == {"parallelism", "sampler.name"}


def test_what_json_lacks_travels_as_text(client: Client) -> None:
    client.post("/studies", study_body(pruner={"name": "none"}))
    for trial in client.trials("simulated"):
        trial.report(step=1, epoch=1.0, accuracy=-math.inf, loss=math.nan)
        trial.finish({"accuracy": -math.inf, "loss": math.inf})
        break
    found = client.get("/studies/simulated/trials/0")
    assert (found["state"], found["value"], found["values"]) == ("completed", "-inf", {"accuracy": "-inf", "loss": "inf"})


def test_a_whole_study_in_ten_lines_of_ones_own(client: Client) -> None:
    study = client.post("/studies", study_body(budget={"trials": 6}))
    for trial in client.trials("simulated"):
        for epoch in range(1, int(str(trial.params["epochs"])) + 1):
            accuracy = 0.1 * epoch / (1 + trial.number)
            if trial.report(epoch=epoch, step=epoch, accuracy=accuracy).stop:
                break
        trial.finish({"accuracy": accuracy})
    found = client.get(f"/studies/{study['id']}")
    assert found["state"] == "completed"
    assert found["counts"]["completed"] + found["counts"]["pruned"] == 6


def test_a_trial_that_the_loop_leaves_is_given_back(client: Client) -> None:
    client.post("/studies", study_body())
    with pytest.raises(ZeroDivisionError):
        for trial in client.trials("simulated"):
            trial.report(step=1, accuracy=1 / 0)
    for trial in client.trials("simulated"):
        assert (trial.number, trial.attempt) == (0, 2)
        break
    assert client.get("/studies/simulated/trials/0")["state"] == "waiting"


def test_files_go_up_and_come_down_whole(client: Client, tmp_path: Path) -> None:
    client.post("/studies", study_body())
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"before")
    with_trial = client.lease(client.register())
    assert with_trial is not None
    with_trial.upload("model.bin", source)
    first = source.rename(tmp_path / "first")
    source.write_bytes(bytes(range(256)) * 10_000)
    with_trial.upload("model.bin", source)
    client.upload(f"/leases/{with_trial.id}/artifacts/model.bin", first, sequence=1)  # the network had it still
    first.unlink()
    with_trial.finish({"accuracy": 0.5})
    where = f"/studies/{with_trial.study_id}/trials/0/artifacts"
    client.download(f"{where}/model.bin", copy)
    assert copy.read_bytes() == source.read_bytes()
    with pytest.raises(Refused):
        client.download(f"{where}/nothing", tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["copy", "source"]


def test_a_service_file_says_where(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    assert local_service(settings) is None
    settings.service_file.write_text(json.dumps({"url": "http://127.0.0.1:9", "pid": 1}))
    assert local_service(settings) == "http://127.0.0.1:9"

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import Live, serving
from tests.simulation import study_body
from tuner.cli import main
from tuner.client import Client
from tuner.settings import Settings

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `tuner …` here; gives its exit status and what it printed."""

    def run_command(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tuner", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return run_command


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with serving(Settings(home=tmp_path / "home", check_data=False)) as server:
        yield server


def test_the_command_line_brings_no_library_that_only_some_commands_need() -> None:
    heavy = "{'sqlalchemy', 'alembic', 'optuna', 'torch', 'fastapi', 'plotly'}"
    program = f"import sys, tuner.cli; print(*{heavy} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "\n"


def test_a_wrong_flag_is_misuse(run: Run) -> None:
    status, printed = run("studies", "list", "--nonsense")
    assert status == 2 and "--nonsense" in printed


def test_a_wrong_study_is_misuse_and_every_wrong_field_is_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("task: text-classification\nmodel: builtin:minilm\nparallelism: 0\nparameters: auto\n")
    status, printed = run("run", str(file))
    assert status == 2
    assert "error data: is missing" in printed and "error parallelism: " in printed


def test_what_a_service_refuses_is_misuse_only_where_fields_are_wrong(run: Run, live: Live, tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    file.write_text('{"task": "magic"}')
    status, printed = run("studies", "start", str(file))
    assert status == 2 and "error model: is missing" in printed
    status, printed = run("studies", "show", "[/nothing]")
    assert status == 1 and "[/nothing]" in printed


def test_a_wrong_setting_is_misuse(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_ALLOWED_HOSTS", '["node1"')
    status, printed = run("studies", "list")
    assert status == 2 and "error TUNER_ALLOWED_HOSTS: " in printed and "must be a list such as a,b" in printed


def test_without_a_service_it_says_how_to_start_one(run: Run) -> None:
    status, printed = run("studies", "list")
    assert status == 1 and "start one with `tuner serve`" in printed


def test_control_over_rest(run: Run, live: Live, tmp_path: Path) -> None:
    file = tmp_path / "study.json"
    file.write_text(json.dumps(study_body()))
    assert run("studies", "start", str(file))[0] == 0
    for action, past in (("pause", "paused"), ("resume", "resumed"), ("stop", "stopped")):
        status, printed = run("studies", action, "simulated")
        assert status == 0 and f"{past} simulated" in printed
    assert '"state": "stopped"' in run("studies", "list", "--json")[1]
    assert "simulated" in run("studies", "show", "simulated")[1]
    assert run("studies", "export", "simulated", str(tmp_path / "trials.csv"))[0] == 0
    assert (tmp_path / "trials.csv").read_text().count("\n") == 2
    assert run("studies", "delete", "simulated")[0] == 0
    assert "No studies yet" in run("studies", "list")[1]


def test_tokens_are_made_listed_and_revoked(run: Run, live: Live) -> None:
    status, printed = run("tokens", "create", "worker", "--name", "n1")
    assert status == 0 and printed.startswith("tuner_worker_")
    assert "n1" in run("tokens", "list")[1]
    assert run("tokens", "revoke", printed.split("_")[2])[0] == 0
    assert run("tokens", "revoke", printed.split("_")[2])[0] == 1


def test_the_schema_can_be_brought_up_to_date(run: Run, tmp_path: Path) -> None:
    status, printed = run("db", "upgrade", "--database", f"sqlite:///{tmp_path / 'new.db'}")
    assert (status, printed.strip()) == (0, "the schema is up to date")
    assert (tmp_path / "new.db").stat().st_size > 0


def test_a_study_and_its_trials_are_controlled_from_the_command_line(run: Run, live: Live) -> None:
    with Client(live.url, live.token) as client:
        client.post("/studies", study_body(budget={"trials": 2}))
        [trial] = [client.lease(client.register())]
        assert trial is not None
        with trial:
            trial.report(step=1, epoch=1.0, accuracy=0.5)
            trial.finish({"accuracy": 0.5})

    def told(*arguments: str) -> Any:
        status, printed = run(*arguments, "--json")
        assert status == 0, printed
        return json.loads(printed)

    version = told("studies", "show", "simulated")["version"]
    changed = told("studies", "set", "simulated", "budget.trials=3", "parallelism=8", "pruner.name=median", "notes=é")
    assert (changed["budget"]["trials"], changed["parallelism"], changed["notes"]) == (3, 8, "é")
    assert (changed["pruner"]["name"], changed["version"]) == ("median", version + 1)
    status, printed = run("studies", "set", "simulated", "parallelism=9", "--if-version", str(version))
    assert status == 1 and "changed since" in printed
    status, printed = run("studies", "set", "simulated", "parallelism=0")
    assert status == 2 and "error parallelism: " in printed
    assert run("studies", "set", "simulated", "parallelism")[0] == 2

    assert told("trials", "extend", "simulated", "0", "--epochs", "2")["extension"]["until"] == 3
    assert told("trials", "stop", "simulated", "0")["state"] == "completed"
    clone = told("trials", "clone", "simulated", "0", "learning_rate=1e-4")
    assert (clone["number"], clone["state"], clone["params"]["learning_rate"]) == (1, "waiting", 1e-4)
    assert told("trials", "add", "simulated", "batch_size=16")["params"]["batch_size"] == 16
    assert [t["number"] for t in told("trials", "list", "simulated", "--state", "waiting")] == [1, 2]
    assert told("trials", "show", "simulated", "0")["attempts"][0]["outcome"] == "completed"
    assert run("trials", "clone", "simulated", "0", "nonsense=1")[0] == 2
    assert run("trials", "extend", "simulated", "1")[0] == 1
    for command in (("list", "simulated"), ("show", "simulated", "0"), ("stop", "simulated", "1")):
        assert run("trials", *command)[0] == 0

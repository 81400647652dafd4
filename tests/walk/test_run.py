"""`tuner run`, from a study file to a model folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.definition import DataSpec
from studies.labelled_texts import read
from tests.walk.conftest import Spawn, connect, quick_study, wait_until

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk")]
Tuner = Callable[..., tuple[int, str]]


def test_run_ends_with_a_table_and_a_model_that_gives_the_recorded_score(tuner: Tuner, study_file: Any, tmp_path: Path) -> None:
    status, output = tuner("run", study_file())
    assert status == 0, output
    assert "Best of 3 trials" in output
    assert "always answering the commonest class" in output and "the untuned default" in output
    assert score_of_plain_transformers(tmp_path / "models" / "quick") == pytest.approx(recorded_score(output), abs=5e-5)


def recorded_score(output: str) -> float:
    line = next(line for line in output.splitlines() if line.startswith("Best: trial"))
    return float(line.partition("accuracy ")[2].split()[0])


def score_of_plain_transformers(folder: Path) -> float:
    """Validation accuracy with nothing of ours but the split; in a process of its own, because it imports torch."""
    splits, _ = read(DataSpec(**(quick_study()["data"] | {"columns": {"text": "text", "label": "label"}})), 0)
    code = """
import json, sys, torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder, rows = sys.argv[1], json.load(sys.stdin)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
right = 0
with torch.no_grad():
    for text, label in rows:
        logits = model(**tokenizer(text, return_tensors="pt", truncation=True)).logits
        right += model.config.id2label[int(logits.argmax())] == label
print(right / len(rows))
"""
    rows = json.dumps([[example.text, example.label] for example in splits.validation])
    done = subprocess.run([sys.executable, "-c", code, str(folder)], input=rows, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_ctrl_c_stops_cleanly_and_a_second_run_goes_on(spawn: Spawn, tuner: Tuner, study_file: Any, home: Path) -> None:
    file = study_file("interrupted", budget={"trials": 4})
    process = spawn("run", file)
    with connect(home) as client:
        wait_until(lambda: client.get("/studies")["items"])
        wait_until(lambda: client.get("/studies/interrupted")["counts"]["running"])
    process.send_signal(signal.SIGINT)
    output = process.ended(60)
    assert process.returncode == 1, output
    assert "goes on from here" in output
    status, output = tuner("run", file)
    assert status == 0, output
    assert "going on with study interrupted" in output
    assert "Best of 4 trials" in output


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_leaves_no_process_behind(spawn: Spawn, study_file: Any, home: Path, ending: signal.Signals) -> None:
    process = spawn("run", study_file("ended", budget={"trials": 50}))
    with connect(home) as client:
        worker = wait_until(lambda: client.get("/workers")["items"])[0]["pid"]
        service = json.loads((home / "service.json").read_text())["pid"]
    process.send_signal(ending)
    output = process.ended(60)
    assert process.returncode == 1 and "goes on from here" in output, output
    assert not any(Path(f"/proc/{pid}").exists() for pid in (worker, service))


def test_run_brings_its_own_worker_to_a_service_that_has_none(
    spawn: Spawn, tuner: Tuner, study_file: Any, home: Path, tmp_path: Path
) -> None:
    spawn("serve", "--port", "0")
    with connect(home) as client:
        status, output = tuner("run", study_file("attached", budget={"trials": 1}), "--json")
        assert status == 0, output
        assert client.get("/studies/attached")["state"] == "completed"
        assert [token["revoked_at"] is None for token in client.get("/tokens")["items"] if token["name"] == "tuner run"] == [
            False
        ]


def test_run_tells_how_its_worker_ended(spawn: Spawn, study_file: Any, home: Path) -> None:
    process = spawn("run", study_file("orphaned", budget={"trials": 50}))
    with connect(home) as client:
        os.kill(wait_until(lambda: client.get("/workers")["items"])[0]["pid"], signal.SIGKILL)
        output = process.ended(60)
    assert process.returncode == 1, output
    assert "error the worker ended (exit status -9)" in output and "worker ready" in output


def test_run_with_json_prints_nothing_else_on_standard_output(study_file: Any, home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tuner", "run", study_file("told", budget={"trials": 1}), "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"TUNER_HOME": str(home)}, capture_output=True, timeout=280)
    assert done.returncode == 0, done.stderr
    study = json.loads(done.stdout)
    assert (study["state"], study["best"]["number"], study["counts"]["completed"]) == ("completed", 0, 1)
    assert b"Best of 1 trials" in done.stderr


def test_a_second_run_of_a_complete_study_shows_its_result_again(tuner: Tuner, study_file: Any) -> None:
    file = study_file("twice", budget={"trials": 1})
    assert tuner("run", file)[0] == 0
    status, output = tuner("run", file)
    assert status == 0, output
    assert "is complete" in output and "Best of 1 trials" in output
    study_file("twice", budget={"trials": 1}, seed=5)
    status, output = tuner("run", file)
    assert (status, "exists with other settings" in output) == (2, True), output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "text-clasification"}, "task: "),
        ({"model": "builtin:minlm"}, "model: "),
        ({"data": {"train": "nowhere.csv"}}, "data.train: "),
        ({"parameters": {"learning_rate": {"min": 1e-3, "max": 1e-5}}}, "parameters.learning_rate.min: "),
        ({"sampler": {"name": "tpee"}}, "sampler.name: "),
    ],
)
def test_bad_input_is_one_clear_message_and_nothing_is_started(
    tuner: Tuner, study_file: Any, home: Path, changes: dict[str, Any], message: str
) -> None:
    status, output = tuner("run", study_file(**changes))
    assert status == 2, output
    assert message in output
    assert "Traceback" not in output
    assert not home.exists()

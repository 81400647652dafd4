from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.tuner.test_retraining import RECIPE
from tuner.cli import app
from tuner.commands.again import command


def test_the_command_that_is_printed_trains_the_job(tmp_path: Path) -> None:
    words = shlex.split(command(dict(RECIPE) | {"note": "it's"}))
    assert words[:2] == ["tuner", "train"] and json.loads(words[2])["note"] == "it's"
    words = shlex.split(command(dict(RECIPE)))
    done = CliRunner().invoke(app, [*words[1:], "--json", "-o", str(tmp_path / "model")])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    # A folder's own record will do as well.
    again = CliRunner().invoke(app, ["train", str(tmp_path / "model" / "tuner.json"), "--json"])
    assert json.loads(again.stdout)["values"] == answer["values"]


@pytest.mark.parametrize("job", ["no-such-file.json", "{}", "{"])
def test_what_is_no_job(job: str) -> None:
    done = CliRunner().invoke(app, ["train", job])
    assert "job: " in str(done.exception)

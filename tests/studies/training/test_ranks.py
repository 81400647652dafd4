"""Trials of two processes on a CPU, in processes of their own as a worker starts them: what is forked may have no threads."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from studies.definition import RESULT_FILES, Checkpoint, DataSpec, Job, Metric, Outcome, Verdict
from studies.errors import TrialFailure
from studies.piped import Trained
from studies.training.loop import shares
from studies.training.ranks import Ranks
from tests.studies.conftest import Write
from tests.studies.training.conftest import MakeJob
from tuner.process_tree import members
from tuner.trial_process import TrialProcess

ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
Reports = list[Sequence[Metric]]


class Trial:
    """A job in a process of its own; `reports` and the file of the last checkpoint are kept."""

    def __init__(self, job: Job) -> None:
        self.process = TrialProcess(job, ENVIRONMENT)
        self.reports: Reports = []
        self.checkpoint: Path | None = None
        self.wants_model = True

    def report(self) -> Outcome | TrialFailure | None:
        """Wait for the next report, which stays without an answer; how the trial ended if that comes first."""
        while True:
            message = self.process.receive(120)
            assert message is not None
            if isinstance(message, Outcome | TrialFailure):
                return message
            if isinstance(message, Checkpoint):
                self.checkpoint = message.file
            elif isinstance(message, Trained):
                self.process.reply(self.wants_model)
            else:
                self.reports.append(message)
                return None

    def end(self, stop_at: int | None = None, reason: str = "pruned") -> Outcome | TrialFailure:
        """Answer each report until the trial ends."""
        while (ending := self.report()) is None:
            self.process.reply(Verdict(stop=len(self.reports) == stop_at, reason=reason))
        self.process.end(10)
        return ending

    @property
    def leader(self) -> int:
        pid = self.process._process.pid
        assert pid is not None
        return pid

    @property
    def ranks(self) -> list[int]:
        """Their processes. The one that was forked before them ends the trial with its worker."""
        found = [pid for pid in members(self.leader) if parent(pid) == self.leader]
        assert len(found) == 3
        return found[1:]


def outcome_of(job: Job) -> tuple[Outcome, Reports]:
    trial = Trial(job)
    outcome = trial.end()
    assert isinstance(outcome, Outcome), outcome
    return outcome, trial.reports


def values(reports: Reports) -> list[float]:
    return [metric.value for report in reports for metric in report]


# Each leaves something else to each rank: a last batch of one example, a frozen prefix, gradients in parts, LoRA.
@pytest.mark.parametrize(
    "params",
    [
        {"batch_size": 67, "frozen_layers": 2},
        {"batch_size": 8, "accumulation": 2, "train": "lora", "optimizer": "sgd"},
        {"gradual_unfreezing": 1, "max_grad_norm": 0.1, "job_eval_every": 0.5},
    ],
    ids=["one-left", "parts", "unfreezing"],
)
def test_two_ranks_learn_what_one_process_learns(make_job: MakeJob, tmp_path: Path, params: dict[str, object]) -> None:
    jobs = [make_job(dropout=0.0, **params, job_folder=tmp_path / str(count), job_ranks=count) for count in (1, 2)]
    for job in jobs:
        job.folder.mkdir()
    (one, reports), (two, reports_of_two) = map(outcome_of, jobs)
    assert values(reports_of_two) == pytest.approx(values(reports), abs=2e-4)
    assert two.values == pytest.approx(one.values, abs=2e-4)
    assert two.details["steps"] == one.details["steps"] and two.details["job"]["ranks"] == 2


def test_a_model_that_nobody_wants_is_not_saved(make_job: MakeJob) -> None:
    job = make_job(epochs=1, job_ranks=2)
    trial = Trial(job)
    trial.wants_model = False
    assert isinstance(trial.end(), Outcome)
    assert sorted(path.name for path in (job.folder / "model").iterdir()) == sorted(RESULT_FILES)


def test_texts_count_by_their_tokens(make_job: MakeJob, write: Write, word_decoder: str, tmp_path: Path) -> None:
    """A text of one token, from which nothing is to be told, and long ones: a mean of two means would be another one."""
    texts = ["cat", *("the very red dog is so blue " * (1 + index % 3) for index in range(40))]
    data = DataSpec(train=write("texts.jsonl", [(text, "") for text in texts]), validation=0.25)
    jobs = [
        make_job(batch_size=5, epochs=1, dropout=None, job_ranks=count, job_task="text-generation", job_model=word_decoder)
        for count in (1, 2)
    ]
    told = [outcome_of(replace(job, data=data, metric="perplexity", direction="minimize"))[1] for job in jobs]
    assert values(told[1]) == pytest.approx(values(told[0]), rel=1e-4)


def test_what_is_frozen_is_bit_equal_afterwards(make_job: MakeJob, tiny_model: str) -> None:
    job = make_job(frozen_layers=2, weight_decay=0.1, epochs=1, job_ranks=2)
    outcome_of(job)
    before, after = load_file(f"{tiny_model}/model.safetensors"), load_file(job.folder / "model" / "model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[f"bert.{name}"])}
    assert same == {name for name in before if name.startswith(("embeddings.", "encoder.layer.0.", "encoder.layer.1."))}


def test_both_ranks_use_the_states_that_the_first_has_stored(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(frozen_layers=2, epochs=1, job_ranks=2, job_shared=tmp_path / "shared", job_shared_bytes=10**8)
    outcome, _ = outcome_of(job)
    assert outcome.details["prefix"]["depth"] == 2 and not outcome.details["prefix"]["found"]


@pytest.mark.parametrize("ranks_before", [1, 2])
def test_a_trial_goes_on_from_its_checkpoint(make_job: MakeJob, tmp_path: Path, ranks_before: int) -> None:
    """Bit for bit with as many ranks as before, up to rounding with another number where nothing is drawn."""
    job = make_job(epochs=3, dropout=0.0 if ranks_before == 1 else 0.2, job_ranks=2)
    _, whole = outcome_of(job)
    first = Trial(replace(job, ranks=ranks_before))
    stopped = first.end(stop_at=1, reason="paused")
    assert isinstance(stopped, Outcome) and stopped.stopped == "paused" and first.checkpoint is not None
    _, rest = outcome_of(replace(job, resume=first.checkpoint))
    if ranks_before == 2:
        assert first.reports + rest == whole
    else:
        assert values(first.reports + rest) == pytest.approx(values(whole), abs=2e-4)


def test_a_verdict_ends_all_ranks_and_leaves_no_process(make_job: MakeJob) -> None:
    trial = Trial(make_job(epochs=50, job_ranks=2))
    assert trial.report() is None
    assert trial.ranks
    trial.process.reply(Verdict(stop=True, reason="pruned"))
    outcome = trial.report()
    assert isinstance(outcome, Outcome) and outcome.stopped == "pruned"
    trial.process.end(10)
    assert members(trial.leader) == []


def test_a_trial_that_is_killed_leaves_no_rank(make_job: MakeJob) -> None:
    trial = Trial(make_job(epochs=50, job_ranks=2))
    assert trial.report() is None and trial.ranks
    trial.process.end()
    assert members(trial.leader) == []


@pytest.mark.parametrize("index", [0, 1])
def test_a_rank_that_is_killed_fails_the_trial(make_job: MakeJob, index: int) -> None:
    trial = Trial(make_job(epochs=50, job_ranks=2))
    assert trial.report() is None
    os.kill(trial.ranks[index], signal.SIGKILL)
    trial.process.reply(Verdict())
    failure = trial.end()
    assert isinstance(failure, TrialFailure)
    assert failure.kind == "lost" and f"rank {index} of the trial was ended by SIGKILL" in failure.message
    assert members(trial.leader) == []


def test_ranks_end_with_the_trials_own_process(make_job: MakeJob) -> None:
    trial = Trial(make_job(epochs=50, job_ranks=2))
    assert trial.report() is None
    ranks = trial.ranks
    os.kill(trial.leader, signal.SIGKILL)
    ending = trial.report()
    assert isinstance(ending, TrialFailure) and ending.kind == "lost"
    # A process that ends closes its files, by which the worker hears of it, just before it is gone from the list.
    deadline = time.monotonic() + 10
    while (left := set(ranks) & set(members(trial.leader))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, "the worker hears of its end only when they end"
    trial.process.end()


# What the second rank alone meets. The first waits for it meanwhile, and is not to be taken for the cause.
FAILING = """
import sys
from pathlib import Path
import torch
from studies.definition import DataSpec, Job
from studies.errors import TrialFailure
from studies.training.ranks import CutOff, in_ranks

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    ZeroDivisionError("division by zero"),
    SystemExit(3),
    CutOff("connection reset by peer"),
]
job = Job(task="", model="", data=DataSpec(train=""), metric="", direction="maximize", params={}, data_seed=0, seed=0,
          fingerprint=None, device="cpu", threads=1, ranks=2, folder=Path(sys.argv[1]))
for error in ERRORS:
    def train(job, report, keep, ranks):
        if ranks.index == 1:
            raise error
        ranks.add_up([], 0.0)

    try:
        in_ranks(train, job, None, None)
    except TrialFailure as failure:
        print(failure.kind, failure.message.strip().splitlines()[-1], sep=": ")
"""


def test_what_one_rank_meets_is_the_trials_failure(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(tmp_path)], stdout=subprocess.PIPE, text=True, timeout=100, check=True
    )
    assert done.stdout.splitlines()[:4] == [
        "oom: CUDA out of memory. Tried to allocate 2.00 GiB",
        "hardware: RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "code: ZeroDivisionError: division by zero",
        "code: rank 1 of the trial ended by itself with exit status 3",
    ]
    assert done.stdout.splitlines()[4].startswith("hardware: the processes of the trial lost each other: ")


def test_a_loss_that_is_no_number_is_the_same_failure_on_several_ranks(make_job: MakeJob) -> None:
    failure = Trial(make_job(learning_rate=1e30, optimizer="sgd", max_grad_norm=0.0, job_ranks=2)).end()
    assert isinstance(failure, TrialFailure) and failure.kind == "nan"


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_shares_are_those_of_the_tokens_that_count() -> None:
    counts = [1, 0, 3, 4]
    batch = [0, 1, 2, 3]
    assert shares(batch, [0, 2], None, 1) == [([0, 2], 0.5)]
    assert shares(batch, [0, 2], counts, 2) == [([0], 1 / 8), ([2], 3 / 8)]
    assert shares(batch, [1], counts, 2) == [], "it has no mean"
    assert shares(batch, [], None, 2) == []
    whole = [share for rank in range(3) for _, share in shares(batch, Ranks(rank, 3).share(batch), counts, 2)]
    assert math.fsum(whole) == pytest.approx(1.0)


def test_alone_nothing_is_exchanged() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    assert Ranks().add_up([parameter], 0.5) == 0.5 and parameter.grad is None
    assert Ranks().told("this") == "this" and Ranks().share([3, 1, 2]) == [3, 1, 2]

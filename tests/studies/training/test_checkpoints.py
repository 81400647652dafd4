from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from studies.definition import Checkpoint, Job, Keep, Metric, Outcome, Verdict
from studies.text_classification import DEFINITION
from studies.training.checkpoints import worth_keeping
from tests.studies.training.conftest import MakeJob


class Observer(Keep):
    """Notes reports and checkpoints; tells the trial to stop at an epoch if asked to."""

    def __init__(self, stop_at: float | None = None, reason: str = "preempted") -> None:
        self.reports: list[list[Metric]] = []
        self.left: list[Checkpoint] = []
        self.stop_at, self.reason = stop_at, reason

    def report(self, metrics: Sequence[Metric]) -> Verdict:
        self.reports.append(list(metrics))
        return Verdict(stop=True, reason=self.reason) if metrics[0].epoch == self.stop_at else Verdict()

    def train(self, job: Job) -> Outcome:
        return DEFINITION.train(job, self.report, self)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        self.left.append(checkpoint)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"frozen_layers": 2},
        {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1},
        {"optimizer": "adam", "schedule": "cosine", "warmup_ratio": 0.3, "weight_decay": 0.1},
        # So large a step that the best epoch is not the last one before the interruption.
        {"learning_rate": 0.2, "schedule": "constant", "job_metric": "loss", "job_direction": "minimize"},
        {"accumulation": 2, "layer_decay": 0.5, "patience": 3, "warmup_ratio": 0.1},
        {"gradual_unfreezing": 2, "optimizer": "sgd", "learning_rate": 0.1},
        {"gradual_unfreezing": 1, "token_drop": 0.3, "token_swap": 0.3, "class_weights": "balanced"},
        {"train": "lora", "frozen_layers": 1, "lora_dropout": 0.1, "gradual_unfreezing": 1},
    ],
    ids=lambda params: "-".join(f"{value}" for value in params.values()) or "default",
)
@pytest.mark.parametrize("stopped_at", [0.5, 2])
def test_a_resumed_trial_ends_bit_for_bit_as_one_never_interrupted(
    make_job: MakeJob, tmp_path: Path, params: dict[str, object], stopped_at: float
) -> None:
    job = make_job(epochs=3, job_eval_every=0.5, **params)
    whole = Observer()
    expected = whole.train(replace(job, folder=_new(tmp_path / "whole")))

    first = Observer(stop_at=stopped_at)
    assert first.train(replace(job, folder=_new(tmp_path / "first"))).stopped == "preempted"
    second = Observer()
    resumed = second.train(replace(job, folder=_new(tmp_path / "second"), resume=first.left[-1].file))

    assert first.reports + second.reports == whole.reports
    assert (resumed.values, resumed.epoch) == (expected.values, expected.epoch)
    file = "adapter_model.safetensors" if params.get("train") == "lora" else "model.safetensors"
    ours, theirs = (load_file(tmp_path / name / "model" / file) for name in ("second", "whole"))
    assert ours.keys() == theirs.keys()
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_a_checkpoint_is_kept_after_every_epoch_but_the_last(make_job: MakeJob) -> None:
    observer = Observer()
    observer.train(make_job(epochs=3))
    assert [checkpoint.epoch for checkpoint in observer.left] == [1.0, 2.0]
    assert [checkpoint.step for checkpoint in observer.left] == [report[0].step for report in observer.reports[:2]]


def test_a_large_checkpoint_waits_until_it_takes_a_tenth_of_the_time_at_most() -> None:
    small, large = ({"weight": torch.zeros(millions, 250_000)} for millions in (16, 100))  # 16 and 100 MB
    assert worth_keeping(small, 0.0)
    assert not worth_keeping(large, 24.0)
    assert worth_keeping(large, 26.0)


def test_a_large_checkpoint_within_an_epoch_is_left_out_unless_the_trial_is_told_to_go_on_later(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.training.loop.worth_keeping", lambda state, seconds: False)
    undisturbed, observer = Observer(), Observer(stop_at=0.5)
    undisturbed.train(replace(make_job(epochs=3), eval_every=0.5))
    assert [checkpoint.epoch for checkpoint in undisturbed.left] == [1.0, 2.0]
    assert observer.train(replace(make_job(epochs=3), eval_every=0.5)).stopped == "preempted"
    assert [checkpoint.epoch for checkpoint in observer.left] == [0.5]


@pytest.mark.parametrize("reason", ["pruned", "stopped", "lost"])
def test_a_trial_that_will_not_go_on_leaves_no_checkpoint(make_job: MakeJob, reason: str) -> None:
    observer = Observer(stop_at=1, reason=reason)
    assert observer.train(make_job(epochs=3)).stopped == reason
    assert observer.left == []


def test_frozen_parameters_take_no_place_in_a_checkpoint(make_job: MakeJob, tmp_path: Path) -> None:
    sizes = {}
    for layers in (0, 3):
        observer = Observer(stop_at=1)
        observer.train(make_job(frozen_layers=layers, job_folder=_new(tmp_path / str(layers))))
        sizes[layers] = observer.left[0].file.stat().st_size
    assert sizes[3] < sizes[0] / 3


@pytest.mark.parametrize("damage", ["cut off", "overwritten", "of another depth"])
def test_without_a_usable_checkpoint_a_trial_starts_anew(
    make_job: MakeJob, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    whole, observer = Observer(), Observer(stop_at=1)
    whole.train(make_job(job_folder=_new(tmp_path / "whole")))
    observer.train(make_job(frozen_layers=2 if damage == "of another depth" else 0))
    file = observer.left[0].file
    if damage == "cut off":
        file.write_bytes(file.read_bytes()[:-100])
    if damage == "overwritten":
        file.write_bytes(b"PK\x03\x04 not a safetensors file")
    again = Observer()
    again.train(make_job(job_resume=file, job_folder=_new(tmp_path / "again")))
    assert again.reports == whole.reports
    assert "starting from epoch 0: the checkpoint checkpoint-1.safetensors can't be used" in caplog.text


def test_random_states_of_gpus_that_are_not_here_are_left_alone(make_job: MakeJob, tmp_path: Path) -> None:
    first, second = Observer(stop_at=1), Observer()
    first.train(make_job())
    file = first.left[0].file
    with safe_open(file, framework="pt") as handle:
        metadata, tensors = handle.metadata(), {name: handle.get_tensor(name) for name in handle.keys()}
    save_file(tensors | {"rng.cuda.0": torch.zeros(16, dtype=torch.uint8)}, file, metadata=metadata)
    second.train(make_job(job_resume=file, job_folder=_new(tmp_path / "second")))
    assert [report[0].epoch for report in second.reports] == [2.0]


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def extended(observer: Observer, job: Job, folder: Path, *, until: int, legs: tuple[int, ...], resume: Path) -> Outcome:
    """As a worker trains an extended trial: from its last checkpoint to a later epoch."""
    params = dict(job.params) | {"epochs": until}
    return observer.train(replace(job, params=params, legs=legs, resume=resume, folder=_new(folder)))


def test_a_constant_schedule_goes_on_bit_for_bit_as_one_planned_longer(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(epochs=3, schedule="constant")
    planned_longer, first, more = Observer(), Observer(), Observer()
    expected = planned_longer.train(replace(job, params=dict(job.params) | {"epochs": 5}, folder=_new(tmp_path / "whole")))
    first.train(replace(job, folder=_new(tmp_path / "first")))
    outcome = extended(more, job, tmp_path / "more", until=5, legs=(3, 5), resume=first.left[-1].file)
    assert first.reports[:2] + more.reports == planned_longer.reports
    assert (outcome.values, outcome.epoch) == (expected.values, expected.epoch)
    ours, theirs = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("more", "whole"))
    assert all(bool((ours[name] == theirs[name]).all()) for name in theirs)


def test_a_pruned_trial_goes_on_bit_for_bit_as_if_it_had_not_been_pruned(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(epochs=4, schedule="linear", warmup_ratio=0.2)
    whole, pruned, more = Observer(), Observer(stop_at=2, reason="pruned"), Observer()
    expected = whole.train(replace(job, folder=_new(tmp_path / "whole")))
    pruned.train(replace(job, folder=_new(tmp_path / "pruned")))
    outcome = extended(more, job, tmp_path / "more", until=4, legs=(4,), resume=pruned.left[-1].file)
    assert pruned.reports[:1] + more.reports == whole.reports
    assert (outcome.values, outcome.epoch) == (expected.values, expected.epoch)


def test_beyond_the_planned_epochs_the_schedule_starts_again_and_what_was_reported_before_comes_out_alike(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job(epochs=2, schedule="linear")
    first, more = Observer(), Observer()
    first.train(replace(job, folder=_new(tmp_path / "first")))
    extended(more, job, tmp_path / "more", until=4, legs=(2, 4), resume=first.left[-1].file)
    assert more.reports[0] == first.reports[1], "the last planned epoch is trained again"
    losses = [next(m.value for m in report if m.split == "train") for report in more.reports]
    assert losses[2] != losses[1] != losses[0], "a learning rate of 0 would change nothing any more"

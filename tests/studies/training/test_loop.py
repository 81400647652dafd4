from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
import torch
from safetensors.torch import load_file
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from studies.definition import DataSpec, Job, Keep, Metric, Outcome, Verdict
from studies.errors import TrialFailure
from studies.labelled_texts import inspect, read
from studies.text_classification import DEFINITION
from studies.training.hardware import computes_bfloat16
from studies.training.loop import evaluation_points
from tests.studies.training.conftest import MakeJob


class Recorder:
    """Takes reports, and stops the trial at the epoch it was told."""

    def __init__(self, stop_at: int | None = None, reason: str = "pruned") -> None:
        self.reports: list[Sequence[Metric]] = []
        self.stop_at, self.reason = stop_at, reason

    def __call__(self, metrics: Sequence[Metric]) -> Verdict:
        self.reports.append(metrics)
        return Verdict(stop=True, reason=self.reason) if len(self.reports) == self.stop_at else Verdict()


def run(job: Job, recorder: Recorder | None = None) -> Outcome:
    return DEFINITION.train(job, recorder or Recorder(), Keep())


def plain_accuracy(job: Job) -> float:
    """Validation accuracy of the saved model by transformers alone: one text at a time, so without any padding."""
    folder = job.folder / "model"
    model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = read(job.data, job.data_seed)[0].validation
    with torch.inference_mode():
        logits = [model(**tokenizer(row.text, truncation=True, return_tensors="pt")).logits for row in rows]
    names: dict[int, str] = model.config.id2label  # type: ignore[assignment]
    hits = [names[int(row.argmax())] == example.label for row, example in zip(logits, rows, strict=True)]
    return sum(hits) / len(hits)


def test_it_learns_and_reports_every_epoch(make_job: MakeJob) -> None:
    recorder = Recorder()
    outcome = run(make_job(epochs=5, job_seed=1), recorder)
    assert outcome.values["accuracy"] > 0.9
    assert [report[0].epoch for report in recorder.reports] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [report[0].step for report in recorder.reports] == [17, 34, 51, 68, 85]
    assert {(metric.split, metric.name) for metric in recorder.reports[0]} == {
        ("validation", "accuracy"),
        ("validation", "macro_f1"),
        ("validation", "loss"),
        ("train", "loss"),
    }


def test_the_same_job_twice_gives_bit_equal_metrics(make_job: MakeJob) -> None:
    first, second, other = Recorder(), Recorder(), Recorder()
    run(make_job(), first)
    run(make_job(), second)
    run(make_job(job_seed=1), other)
    assert first.reports == second.reports
    assert first.reports != other.reports


def test_values_are_those_of_the_best_epoch(make_job: MakeJob) -> None:
    recorder = Recorder()
    # So large a step that the loss goes up and down: the best epoch is not simply the last.
    job = make_job(epochs=4, learning_rate=0.2, schedule="constant", job_metric="loss", job_direction="minimize")
    outcome = run(job, recorder)
    losses = [next(m.value for m in report if m.name == "loss") for report in recorder.reports]
    assert outcome.values["loss"] == min(losses)
    assert outcome.epoch == losses.index(min(losses)) + 1 < 4
    assert plain_accuracy(job) == outcome.values["accuracy"]


def test_the_saved_model_gives_the_recorded_accuracy(make_job: MakeJob) -> None:
    job = make_job(frozen_layers=1, epochs=1)
    outcome = run(job)
    assert plain_accuracy(job) == outcome.values["accuracy"]


def test_the_record_beside_the_model_says_what_was_asked_and_what_came_of_it(make_job: MakeJob) -> None:
    job = make_job(dropout=0.2)
    outcome = run(job)
    record = json.loads((job.folder / "model" / "tuner.json").read_text("utf-8"))
    assert record["params"] == DEFINITION.completed(job.params)
    assert record["values"] == outcome.values
    assert record["fingerprint"] == inspect(job.data, 0).fingerprint
    assert record["details"]["versions"]["torch"] == torch.__version__


def test_frozen_tensors_are_bit_equal_afterwards_and_have_no_optimizer_state(make_job: MakeJob, tiny_model: str) -> None:
    optimizers: list[Optimizer] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: optimizers.append(optimizer))
    job = make_job(frozen_layers=2, weight_decay=0.1)
    outcome = run(job)
    hook.remove()
    before, after = load_file(f"{tiny_model}/model.safetensors"), load_file(job.folder / "model" / "model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[f"bert.{name}"])}
    assert same == {name for name in before if name.startswith(("embeddings.", "encoder.layer.0.", "encoder.layer.1."))}
    trained = sum(tensor.numel() for name, tensor in after.items() if name.removeprefix("bert.") not in same)
    assert sum(parameter.numel() for parameter in optimizers[-1].state) == outcome.details["trained_parameters"] == trained


def test_nothing_frozen_trains_everything(make_job: MakeJob, tiny_model: str) -> None:
    job = make_job(frozen_layers=0, weight_decay=0.1)
    run(job)
    before, after = load_file(f"{tiny_model}/model.safetensors"), load_file(job.folder / "model" / "model.safetensors")
    assert not [name for name in before if torch.equal(before[name], after[f"bert.{name}"])]


@pytest.mark.parametrize("reason", ["pruned", "stopped", "paused", "lost"])
def test_a_verdict_ends_the_trial_without_a_model(make_job: MakeJob, reason: str) -> None:
    recorder = Recorder(stop_at=2, reason=reason)
    job = make_job(epochs=5)
    outcome = run(job, recorder)
    assert (outcome.stopped, len(recorder.reports)) == (reason, 2)
    assert outcome.values["accuracy"] == max(report[0].value for report in recorder.reports)
    assert not (job.folder / "model").exists()


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "sgd", "momentum": 0.9},
        {"optimizer": "adam", "schedule": "cosine"},
        {"schedule": "constant", "warmup_ratio": 0.5},
        {"label_smoothing": 0.5},
        {"max_grad_norm": 0.01},
        {"dropout": 0.0},
        {"weight_decay": 1.0},
        {"max_length": 4},
        {"layer_decay": 0.1},
        {"gradual_unfreezing": 1},
        {"token_drop": 0.3},
        {"token_swap": 0.5},
        {"train": "lora"},
        {"batch_size": 64},
        {"frozen_layers": 3},
    ],
    ids=str,
)
def test_every_hyperparameter_changes_what_is_trained(make_job: MakeJob, params: dict[str, float]) -> None:
    plain, changed = Recorder(), Recorder()
    run(make_job(epochs=1), plain)
    run(make_job(epochs=1, **params), changed)
    assert changed.reports != plain.reports
    assert all(math.isfinite(metric.value) for metric in changed.reports[0])


def test_evaluations_within_an_epoch_come_at_its_shares(make_job: MakeJob) -> None:
    recorder = Recorder()
    run(make_job(job_eval_every=0.4), recorder)
    # Two epochs of 17 steps.
    assert [(report[0].epoch, report[0].step) for report in recorder.reports] == [
        (0.4, 7),
        (0.8, 14),
        (1.2, 20),
        (1.6, 27),
        (2.0, 34),
    ]


def test_fewer_steps_than_evaluations() -> None:
    assert evaluation_points(2, 1, 0.1) == [(1, 0.7), (2, 1.0)]


@pytest.mark.parametrize("every", [0.3, 0.5, 1.0])
def test_training_does_not_depend_on_when_it_is_evaluated(make_job: MakeJob, every: float) -> None:
    often, seldom = Recorder(), Recorder()
    run(make_job(job_eval_every=every), often)
    run(make_job(), seldom)
    values = [metric.value for metric in often.reports[-1] if metric.split == "validation"]
    assert values == [metric.value for metric in seldom.reports[-1] if metric.split == "validation"]


def test_a_batch_in_parts_is_the_same_step(make_job: MakeJob) -> None:
    whole, parts = Recorder(), Recorder()
    run(make_job(dropout=0.0), whole)
    run(make_job(dropout=0.0, accumulation=3), parts)
    for one, other in zip(whole.reports, parts.reports, strict=True):
        assert [metric.value for metric in one] == pytest.approx([metric.value for metric in other], abs=1e-4)


def test_patience_ends_training_when_nothing_gets_better(make_job: MakeJob) -> None:
    recorder = Recorder()
    # Steps so small that the accuracy never moves.
    outcome = run(make_job(epochs=5, learning_rate=1e-12, patience=2), recorder)
    assert (len(recorder.reports), outcome.epoch, outcome.stopped) == (3, 1.0, None)
    assert (make_job().folder / "model").exists()


def test_the_target_ends_training_at_the_evaluation_that_reaches_it(make_job: MakeJob) -> None:
    whole, cut = Recorder(), Recorder()
    run(make_job(epochs=3), whole)
    target = next(metric.value for metric in whole.reports[0] if metric.name == "accuracy")
    outcome = run(make_job(epochs=3, job_target=target), cut)
    assert cut.reports == whole.reports[:1]
    assert (outcome.epoch, outcome.stopped, outcome.values["accuracy"]) == (1.0, None, target)
    assert (make_job().folder / "model").exists()


def test_bfloat16_where_the_hardware_has_it(make_job: MakeJob) -> None:
    outcome = run(make_job(epochs=1, precision="bfloat16"))
    assert outcome.details["precision"] == ("bfloat16" if computes_bfloat16("cpu") else "float32")


def test_a_loss_that_is_no_number(make_job: MakeJob) -> None:
    with pytest.raises(TrialFailure, match=r"training loss became (nan|inf) at step \d+, learning rate 1e\+30") as caught:
        run(make_job(learning_rate=1e30, optimizer="sgd", schedule="constant", max_grad_norm=0))
    assert caught.value.kind == "nan"


def test_data_that_changed_since_the_study_was_checked(make_job: MakeJob) -> None:
    with pytest.raises(TrialFailure, match="the data changed since the study was checked") as caught:
        run(make_job(job_fingerprint="0" * 64))
    assert caught.value.kind == "data"
    assert run(make_job(job_fingerprint=inspect(make_job().data, 0).fingerprint)).stopped is None


def test_data_that_is_gone(make_job: MakeJob) -> None:
    with pytest.raises(TrialFailure, match="data.train: there is no file") as caught:
        run(make_job(job_data=DataSpec(train="gone.csv")))
    assert caught.value.kind == "data"


@pytest.mark.parametrize("error", [MemoryError("none left"), torch.OutOfMemoryError("none left")])
def test_memory_that_runs_out(make_job: MakeJob, error: BaseException) -> None:
    def report(metrics: Sequence[Metric]) -> Verdict:
        raise error

    with pytest.raises(TrialFailure, match="out of memory on cpu with batch_size 8, max_length 16: none left") as caught:
        DEFINITION.train(make_job(), report, Keep())
    assert caught.value.kind == "oom"


def test_memory_that_runs_out_on_a_cpu(make_job: MakeJob) -> None:
    def report(metrics: Sequence[Metric]) -> Verdict:
        torch.empty(2**60)
        return Verdict()

    with pytest.raises(TrialFailure, match="out of memory on cpu") as caught:
        DEFINITION.train(make_job(), report, Keep())
    assert caught.value.kind == "oom"


def test_other_errors_keep_their_name(make_job: MakeJob) -> None:
    def report(metrics: Sequence[Metric]) -> Verdict:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        DEFINITION.train(make_job(), report, Keep())


def test_the_real_model_on_real_questions(make_job: MakeJob) -> None:
    data = DataSpec(train="builtin:trec", validation=0.2, limit=120)
    job = make_job(job_model="builtin:minilm", job_data=data, learning_rate=5e-4, epochs=2, frozen_layers=4, max_length=64)
    outcome = run(job)
    assert outcome.values["accuracy"] > inspect(data, 0).baseline["accuracy"]
    assert plain_accuracy(job) == outcome.values["accuracy"]
    assert outcome.details["parameters"] == 22_715_526
    assert 0 < outcome.details["latency_seconds"] < outcome.details["seconds"]["evaluate"]

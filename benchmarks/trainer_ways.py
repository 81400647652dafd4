"""The scripts that users write around Hugging Face's Trainer: Optuna with a median pruner, and Ray Tune with ASHA.

    python -m benchmarks.trainer_ways optuna --data builtin:trec --rows 600 --target 0.85 --trials 15 --seed 0 --threads 2

Each follows its library's documentation and searches the space of `time_to_target.py` on the same rows, one trial at a time.
The last line printed is JSON: the time at which the target was first reached (else the end), whether it was, by which trial, and
the seconds of CPU of all processes until then.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.servers import cpu_seconds
from studies.definition import DataSpec
from studies.labelled_texts import read
from studies.models import resolve

MODEL = "builtin:minilm"
VALIDATION = 1 / 3  # of the rows
RATES, BATCHES, EPOCHS, BLOCKS = (1e-5, 1e-3), [8, 16, 32], (1, 4), 6


@dataclass(frozen=True)
class Rows:
    """Tokens and labels of both splits, the same rows that our study divides."""

    training: Sequence[Mapping[str, Any]]
    validation: Sequence[Mapping[str, Any]]
    classes: int


def read_rows(data: str, limit: int, seed: int) -> Rows:
    splits, classes = read(DataSpec(train=data, validation=VALIDATION, limit=limit), seed)
    tokenizer = AutoTokenizer.from_pretrained(resolve(MODEL))

    def encoded(rows: Sequence[Any]) -> list[Mapping[str, Any]]:
        tokens = tokenizer([row.text for row in rows], truncation=True, max_length=128)
        return [{name: tokens[name][i] for name in tokens} | {"labels": classes.index(row.label)} for i, row in enumerate(rows)]

    return Rows(encoded(splits.train), encoded(splits.validation), len(classes))


def accuracy_of(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}


def fine_tune(config: Mapping[str, Any], rows: Rows, seed: int, threads: int, callback: TrainerCallback) -> float:
    """One trial: the best accuracy of its epochs."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(resolve(MODEL), num_labels=rows.classes)
    if config["frozen_layers"]:
        for part in [model.bert.embeddings, *model.bert.encoder.layer[: config["frozen_layers"]]]:
            part.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=config["epochs"],
                learning_rate=config["learning_rate"],
                per_device_train_batch_size=config["batch_size"],
                per_device_eval_batch_size=64,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=rows.training,
            eval_dataset=rows.validation,
            data_collator=DataCollatorWithPadding(AutoTokenizer.from_pretrained(resolve(MODEL))),
            compute_metrics=accuracy_of,
            callbacks=[callback],
        )
        trainer.train()
    return max(entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry)


class Report(TrainerCallback):
    """Hands the accuracy after each epoch on, with the epoch."""

    def __init__(self, told: Callable[[float, int], None]) -> None:
        self.told = told

    def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self.told(more["metrics"]["eval_accuracy"], round(state.epoch or 0))


@dataclass
class Found:
    """The first score that reached the target."""

    target: float
    at: float | None = None
    trial: int | None = None
    cpu: float = 0.0

    def note(self, accuracy: float, trial: int) -> bool:
        """Whether it is reached."""
        if self.at is None and accuracy >= self.target:
            self.at, self.trial, self.cpu = time.time(), trial, cpu_seconds(os.getpid())
        return self.at is not None

    def told(self) -> str:
        reached = self.at is not None
        return json.dumps([self.at or time.time(), reached, self.trial, self.cpu or cpu_seconds(os.getpid())])


def search_with_optuna(options: argparse.Namespace, found: Found) -> None:
    import optuna

    rows = read_rows(options.data, options.rows, options.seed)

    def objective(trial: Any) -> float:
        config = {
            "learning_rate": trial.suggest_float("learning_rate", *RATES, log=True),
            "batch_size": trial.suggest_categorical("batch_size", BATCHES),
            "epochs": trial.suggest_int("epochs", *EPOCHS),
            "frozen_layers": trial.suggest_int("frozen_layers", 0, BLOCKS),
        }

        def told(accuracy: float, epoch: int) -> None:
            trial.report(accuracy, epoch)
            if found.note(accuracy, trial.number):
                trial.study.stop()
                raise optuna.TrialPruned
            if trial.should_prune():
                raise optuna.TrialPruned

        return fine_tune(config, rows, options.seed, options.threads, Report(told))

    sampler, pruner = optuna.samplers.TPESampler(seed=options.seed), optuna.pruners.MedianPruner()
    optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner).optimize(objective, n_trials=options.trials)


def search_with_ray(options: argparse.Namespace, found: Found) -> None:
    """ASHA's first rung is an epoch; trials are drawn at random, and each is a process of Ray's."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    class Target(tune.Stopper):
        def __init__(self) -> None:
            self.trials: list[str] = []

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            if trial_id not in self.trials:
                self.trials.append(trial_id)
            return found.note(result["accuracy"], self.trials.index(trial_id))

        def stop_all(self) -> bool:
            return found.at is not None

    def trainable(config: dict[str, Any], rows: Rows) -> None:
        from benchmarks.trainer_ways import Report, fine_tune  # by name: of a script's own functions Ray would send copies

        told = lambda accuracy, epoch: tune.report({"accuracy": accuracy, "epoch": epoch})  # noqa: E731
        fine_tune(config, rows, options.seed, options.threads, Report(told))

    ray.init(num_cpus=options.threads, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    rows = read_rows(options.data, options.rows, options.seed)
    space = {
        "learning_rate": tune.loguniform(*RATES),
        "batch_size": tune.choice(BATCHES),
        "epochs": tune.randint(EPOCHS[0], EPOCHS[1] + 1),
        "frozen_layers": tune.randint(0, BLOCKS + 1),
    }
    scheduler = ASHAScheduler(time_attr="epoch", max_t=EPOCHS[1], grace_period=1, reduction_factor=3)
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            tune.with_resources(tune.with_parameters(trainable, rows=rows), {"cpu": options.threads}),
            param_space=space,
            tune_config=tune.TuneConfig(metric="accuracy", mode="max", num_samples=options.trials, scheduler=scheduler),
            run_config=tune.RunConfig(storage_path=folder, stop=Target(), verbose=0),
        ).fit()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("way", choices=["optuna", "ray"])
    parser.add_argument("--data", default="builtin:trec")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--target", type=float, default=0.85)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    found = Found(options.target)
    (search_with_optuna if options.way == "optuna" else search_with_ray)(options, found)
    print(found.told())


if __name__ == "__main__":
    main()

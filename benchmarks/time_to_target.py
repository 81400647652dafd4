"""How long a search takes until a trial reaches a score: ours, and what a user would write with Optuna and the Trainer.

    python -m benchmarks.time_to_target --data builtin:trec --target 0.85 --seeds 3 [--ways ours optuna …] [--json FILE]

The same space, rows, model, machine and one worker. Ours is a real `tuner serve` with a real worker; the other is one script:
Optuna (TPE, MedianPruner) around Hugging Face's Trainer, evaluated and pruned each epoch. Seconds count from the start of
the processes, imports included, to the first validation accuracy of at least the target. The other ways are ours with one of its
means switched off. Who does not get there within the trials counts with all its time (`*`).

Needs `accelerate`, which `make install` brings with peft.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.servers import trained, tuner_server
from tuner.client import Client

MODEL = "builtin:minilm"
RATES, BATCHES, EPOCHS, BLOCKS = (1e-5, 1e-3), [8, 16, 32], (1, 4), 6
# What each way changes in our study or in the environment of its worker.
WAYS: dict[str, dict[str, Any]] = {
    "ours": {},
    "no-prefix-cache": {"environment": {"TUNER_ACTIVATION_BYTES": "0"}},
    "no-pruning": {"pruner": {"name": "none"}},
    "whole-epochs": {"eval_every": 1.0, "pruner": {"name": "asha"}},
    "float32": {"precision": "float32"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:trec")
    parser.add_argument("--rows", type=int, default=800, help="half of them to train on, half to evaluate")
    parser.add_argument("--target", type=float, default=0.85)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="*", default=["optuna", *WAYS], choices=["optuna", *WAYS])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--by-optuna", type=int, help=argparse.SUPPRESS)  # a seed: this process is the script
    options = parser.parse_args()
    if options.by_optuna is not None:
        search_with_optuna(options, options.by_optuna)
        return
    found: dict[str, list[tuple[float, bool]]] = {way: [] for way in options.ways}
    for seed in range(options.seeds):
        for way in options.ways:  # one after the other, so that a busier minute hits all alike
            found[way].append(optuna_seconds(options, seed) if way == "optuna" else our_seconds(options, seed, dict(WAYS[way])))
            seconds, reached = found[way][-1]
            print(f"seed {seed}  {way:16} {seconds:7.1f} s{'' if reached else ' *'}", flush=True)
    for way, times in found.items():
        mean = statistics.fmean(seconds for seconds, _ in times)
        print(f"{way:16} {mean:7.1f} s{'' if all(reached for _, reached in times) else ' *'}")
    if options.json:
        options.json.write_text(json.dumps({"target": options.target, "data": options.data, "seconds": found}, indent=2) + "\n")


def our_seconds(options: argparse.Namespace, seed: int, change: dict[str, Any]) -> tuple[float, bool]:
    """Seconds from the worker's start to the report that reached the target, and whether one did."""
    os.environ.update(environment := change.pop("environment", {}))
    precision = change.pop("precision", "bfloat16")
    body = {
        "task": "text-classification",
        "model": MODEL,
        "data": {"train": options.data, "validation": 0.5, "limit": options.rows},
        "seed": seed,
        "parameters": {
            "learning_rate": {"min": RATES[0], "max": RATES[1], "log": True},
            "batch_size": {"values": BATCHES},
            "epochs": {"min": EPOCHS[0], "max": EPOCHS[1]},
            "frozen_layers": {"min": 0, "max": BLOCKS},
            "precision": {"value": precision},
        },
        "eval_every": 0.5,
        "pruner": {"name": "asha", "min_epochs": 0.5},
        "budget": {"trials": options.trials, "target": options.target},
        **change,
    }
    try:
        with tuner_server() as server, Client(server.url, server.token) as client:
            os.environ["TUNER_HOME"] = str(server.home)
            began = time.time()
            whole = trained(server, client, client.post("/studies", body)["id"])
            reached = whole["best"] is not None and whole["best"]["value"] >= options.target
            return datetime.fromisoformat(whole["finished_at"]).timestamp() - began, reached
    finally:
        for name in environment:
            del os.environ[name]


def optuna_seconds(options: argparse.Namespace, seed: int) -> tuple[float, bool]:
    command = [sys.executable, "-m", "benchmarks.time_to_target", "--by-optuna", str(seed), "--data", options.data]
    command += ["--rows", str(options.rows), "--target", str(options.target), "--trials", str(options.trials)]
    began = time.time()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    ended, reached = json.loads(done.stdout.splitlines()[-1])
    return ended - began, reached


def search_with_optuna(options: argparse.Namespace, seed: int) -> None:
    """What a user writes: an objective that builds a Trainer, its callback that reports and prunes, and `optimize`."""
    import optuna
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from studies.definition import DataSpec
    from studies.labelled_texts import read
    from studies.models import resolve

    torch.set_num_threads(os.cpu_count() or 1)
    splits, classes = read(DataSpec(train=options.data, validation=0.5, limit=options.rows), seed)
    location = resolve(MODEL)
    tokenizer = AutoTokenizer.from_pretrained(location)

    def encoded(rows: Any) -> list[dict[str, Any]]:
        tokens = tokenizer([row.text for row in rows], truncation=True, max_length=128)
        return [{name: tokens[name][i] for name in tokens} | {"labels": classes.index(row.label)} for i, row in enumerate(rows)]

    def accuracy_of(found: Any) -> dict[str, float]:
        return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}

    training, validation = encoded(splits.train), encoded(splits.validation)
    ended: list[float] = []

    class Report(TrainerCallback):
        def __init__(self, trial: Any) -> None:
            self.trial = trial

        def on_evaluate(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            accuracy = more["metrics"]["eval_accuracy"]
            if accuracy >= options.target:
                ended.append(time.time())
                control.should_training_stop = True
                return
            self.trial.report(accuracy, round(state.epoch or 0))
            if self.trial.should_prune():
                raise optuna.TrialPruned

    def objective(trial: Any) -> float:
        rate = trial.suggest_float("learning_rate", *RATES, log=True)
        batch = trial.suggest_categorical("batch_size", BATCHES)
        epochs = trial.suggest_int("epochs", *EPOCHS)
        frozen = trial.suggest_int("frozen_layers", 0, BLOCKS)
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(location, num_labels=len(classes))
        if frozen:
            for part in [model.bert.embeddings, *model.bert.encoder.layer[:frozen]]:
                part.requires_grad_(False)
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=model,
                args=TrainingArguments(
                    output_dir=folder,
                    num_train_epochs=epochs,
                    learning_rate=rate,
                    per_device_train_batch_size=batch,
                    per_device_eval_batch_size=64,
                    eval_strategy="epoch",
                    save_strategy="no",
                    report_to="none",
                    disable_tqdm=True,
                    use_cpu=not torch.cuda.is_available(),
                ),
                train_dataset=training,
                eval_dataset=validation,
                data_collator=DataCollatorWithPadding(tokenizer),
                compute_metrics=accuracy_of,
                callbacks=[Report(trial)],
            )
            trainer.train()
        return max(entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry)

    def enough(study: Any, trial: Any) -> None:
        if ended:
            study.stop()

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner()
    )
    study.optimize(objective, n_trials=options.trials, callbacks=[enough])
    print(json.dumps([ended[0] if ended else time.time(), bool(ended)]))


if __name__ == "__main__":
    main()

"""How long a fine-tuning takes with frozen blocks: Hugging Face Trainer, our loop, and our loop on stored states.

Side by side in one process, one after the other, the same texts, model, batch size, epochs and threads:

    python benchmarks/prefix_cache.py --rows 2000 --epochs 2 --threads 2

Needs `pip install accelerate` besides what `make install` brings (the Trainer wants it). Prints a table and, with --json,
writes it. `cpu` counts seconds of processor time: on a machine that others use as well it is the fairer figure.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments
from transformers.utils import logging

from studies.definition import DataSpec, Job, Keep, Metric, Verdict
from studies.labelled_texts import read
from studies.models import resolve
from studies.text_classification import DEFINITION
from studies.training.freezing import freeze

LEARNING_RATE, BATCH_SIZE, EVALUATION_BATCH_SIZE = 5e-4, 16, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="builtin:trec")
    parser.add_argument("--model", default="builtin:minilm")
    parser.add_argument("--rows", type=int, default=2000, help="training texts; a quarter as many are evaluated each epoch")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--depths", type=int, nargs="*", default=[0, 3, 6])
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32", help="of every way")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(options.threads)
    data = DataSpec(train=options.data, validation=0.2, limit=options.rows * 5 // 4)
    results = [row for depth in options.depths for row in compare(options, data, depth)]
    if options.json:
        options.json.write_text(json.dumps(vars(options) | {"json": None, "results": results}, indent=2) + "\n")


def compare(options: argparse.Namespace, data: DataSpec, depth: int) -> list[dict[str, Any]]:
    """Training with `depth` frozen blocks in every way; seconds of training and evaluation alone, loading left out."""
    rows: list[dict[str, Any]] = [{"way": "trainer", "depth": depth, **by_trainer(options, data, depth)}]
    with tempfile.TemporaryDirectory() as folder:
        rows.append({"way": "loop", "depth": depth, **by_loop(options, data, depth, None)})
        if depth:
            rows.append({"way": "filling", "depth": depth, **by_loop(options, data, depth, Path(folder))})
            rows.append({"way": "stored", "depth": depth, **by_loop(options, data, depth, Path(folder))})
    for row in rows:
        faster = {kind: rows[0][kind] / row[kind] for kind in ("wall", "cpu")}
        row["faster"] = {kind: round(value, 2) for kind, value in faster.items()}
        print(
            f"depth {depth}  {row['way']:8}  {row['wall']:7.2f} s wall  {row['cpu']:7.2f} s cpu  "
            f"× {faster['wall']:6.2f} wall  × {faster['cpu']:6.2f} cpu  accuracy {row['accuracy']:.3f}  "
            f"filling {row.get('fill_seconds', 0.0):.2f} s",
            flush=True,
        )
    return rows


def by_trainer(options: argparse.Namespace, data: DataSpec, depth: int) -> dict[str, float]:
    splits, classes = read(data, 0)
    location = resolve(options.model)
    tokenizer = AutoTokenizer.from_pretrained(location)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(location, num_labels=len(classes))
    freeze(model, depth)

    def encoded(rows: Sequence[Any]) -> list[dict[str, Any]]:
        tokens = tokenizer([row.text for row in rows], truncation=True, max_length=128)
        return [{name: tokens[name][i] for name in tokens} | {"labels": classes.index(row.label)} for i, row in enumerate(rows)]

    def accuracy_of(found: Any) -> dict[str, float]:
        return {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}

    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=options.epochs,
                learning_rate=LEARNING_RATE,
                per_device_train_batch_size=BATCH_SIZE,
                per_device_eval_batch_size=EVALUATION_BATCH_SIZE,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=not torch.cuda.is_available(),
                bf16=options.precision == "bfloat16",
            ),
            train_dataset=encoded(splits.train),
            eval_dataset=encoded(splits.validation),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy_of,
        )
        seconds = timed(trainer.train)
    accuracy = [entry["eval_accuracy"] for entry in trainer.state.log_history if "eval_accuracy" in entry]
    return {**seconds, "accuracy": max(accuracy)}


def by_loop(options: argparse.Namespace, data: DataSpec, depth: int, shared: Path | None) -> dict[str, float]:
    """Our own training; what it says of itself, or the difference to a run that is told to stop before it begins."""
    params = {
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH_SIZE,
        "epochs": options.epochs,
        "frozen_layers": depth,
        "precision": options.precision,
    }
    marks: list[tuple[float, float]] = []

    def report(metrics: Sequence[Metric]) -> Verdict:
        marks.append((time.perf_counter(), time.process_time()))
        return Verdict()

    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            task=DEFINITION.task,
            model=options.model,
            data=data,
            metric="accuracy",
            direction="maximize",
            params=params,
            data_seed=0,
            seed=0,
            fingerprint=None,
            device="cuda" if torch.cuda.is_available() else "cpu",
            threads=options.threads,
            folder=Path(folder),
            shared=shared,
            shared_bytes=10**10,
        )
        before = time.process_time()
        outcome = DEFINITION.train(job, report, Keep())
        seconds, prefix = outcome.details["seconds"], outcome.details["prefix"]
        wall = seconds["train"] + seconds["evaluate"]
        # Processor time is known between reports only: the first epoch is taken to be like the others.
        several = len(marks) > 1
        cpu = (marks[-1][1] - marks[0][1]) * len(marks) / (len(marks) - 1) if several else time.process_time() - before
    return {"wall": wall, "cpu": cpu, "accuracy": outcome.values["accuracy"], "fill_seconds": prefix.get("fill_seconds", 0.0)}


def timed(work: Callable[[], Any]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


if __name__ == "__main__":
    main()

"""What it is worth to train only those rows of a model's table of words that the data reads.

    python -m benchmarks.vocabulary [--rounds 2] [--rows 2000] [--batch-size 8] [--precision float32]

MiniLM on questions of TREC, nothing frozen, two epochs, one thread; each way is a process of its own, in turns: the whole table
trained, and cut to the rows that are read. A checkpoint is what a trial leaves to be taken up again from.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from studies.definition import Checkpoint, DataSpec, Job, Keep, Verdict

WAYS = ("whole", "cut")
_EPOCHS = 2  # a checkpoint is left after all but the last


class Weighed(Keep):
    """Notes how large a checkpoint was; the model is not asked for."""

    size = 0

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        self.size = checkpoint.file.stat().st_size
        super().checkpoint(checkpoint)

    def wants_model(self, values: Mapping[str, float]) -> bool:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=2000, help="a third of them to evaluate")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(train(options))
        return
    from tuner.commands.worker import set_environment

    set_environment()  # as of a worker's trials
    for _ in range(options.rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.vocabulary", *sys.argv[1:], "--way", way]
            done = subprocess.run(command, env=os.environ | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=True)
            print(f"{way:6} {done.stdout.strip()}", flush=True)


def train(options: argparse.Namespace) -> str:
    """Seconds of training and evaluation, the most memory, the size of a checkpoint, and what came of it."""
    from studies.text_classification import DEFINITION
    from studies.training import loop

    if options.way == "whole":
        vars(loop)["train_read_rows"] = lambda *_: lambda: None
    params = {"epochs": _EPOCHS, "batch_size": options.batch_size, "precision": options.precision}
    keep = Weighed()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            task=DEFINITION.task,
            model="builtin:minilm",
            data=DataSpec(train="builtin:trec", validation=1 / 3, limit=options.rows),
            metric="accuracy",
            direction="maximize",
            params=params,
            data_seed=0,
            seed=0,
            fingerprint=None,
            device="cpu",
            threads=1,
            folder=Path(folder),
        )
        outcome = DEFINITION.train(job, lambda metrics: Verdict(), keep)
    seconds, peak = outcome.details["seconds"], outcome.details["memory"]["peak"]
    return (
        f"training {seconds['train']:.1f} s  evaluation {seconds['evaluate']:.1f} s  memory {peak / 1e6:.0f} MB  "
        f"checkpoint {keep.size / 1e6:.0f} MB in {seconds['checkpoint']:.2f} s  "
        f"accuracy {outcome.values['accuracy']:.4f}  loss {outcome.values['loss']:.8f}"
    )


if __name__ == "__main__":
    main()

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

# Before anything imports transformers: nothing here may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from transformers import BertConfig, BertModel, BertTokenizer

from studies.definition import Checkpoint, DataSpec, Definition, Job, Outcome, ParamValue, Verdict
from studies.text_classification import DEFINITION
from tests.studies.conftest import FILLERS, WORDS, Write

MakeJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def exact_floats() -> Iterator[None]:
    """Training lets the CPU round the smallest floats to 0, in a process of its own; other tests of this one need them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a BERT of 3 blocks of width 32, with random weights, and a tokenizer that knows our words."""
    folder = tmp_path_factory.mktemp("tiny")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLERS, *(word for group in WORDS.values() for word in group)]
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)}, model_max_length=32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.05,  # so narrow a model learns nothing from the usual 0.02
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def make_job(tiny_model: str, tmp_path: Path, write: Write, examples: list[tuple[str, str]]) -> MakeJob:
    """A job on the tiny model and `examples`; keyword arguments are parameters, or fields of Job as `job_<name>`."""
    source = write("examples.csv", examples)

    def make(**changes: object) -> Job:
        params: dict[str, ParamValue] = {"max_length": 16, "batch_size": 8, "epochs": 2, "learning_rate": 5e-3}
        fields: dict[str, object] = {
            "task": DEFINITION.task,
            "model": tiny_model,
            "data": DataSpec(train=source, validation=0.25),
            "metric": "accuracy",
            "direction": "maximize",
            "data_seed": 0,
            "seed": 0,
            "fingerprint": None,
            "device": "cpu",
            "threads": 1,
            "folder": tmp_path,
        }
        for name, value in changes.items():
            if name.startswith("job_"):
                fields[name.removeprefix("job_")] = value
            else:
                params[name] = value  # type: ignore[assignment]
        return Job(**fields, params=params)  # type: ignore[arg-type]

    return make


def keep_nothing(checkpoint: Checkpoint) -> None:
    """For tests that are not about checkpoints."""


def train_tiny(definition: Definition, model: str, data: DataSpec, folder: Path, **params: ParamValue) -> Outcome:
    """Train a trial of any task in `folder`, never told to stop."""
    metric = next(iter(definition.metrics))
    job = Job(
        task=definition.task,
        model=model,
        data=data,
        metric=metric,
        direction=definition.metrics[metric],
        params=params,
        data_seed=0,
        seed=0,
        fingerprint=None,
        device="cpu",
        threads=1,
        folder=folder,
    )
    return definition.train(job, lambda metrics: Verdict(), keep_nothing)


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)

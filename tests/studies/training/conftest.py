from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

# Before anything imports transformers: nothing here may reach for the network.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, BertTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from studies.definition import DataSpec, Definition, Job, Keep, Outcome, ParamValue, Verdict
from studies.text_classification import DEFINITION
from tests.studies.conftest import FILLERS, WORDS, Write

MakeJob = Callable[..., Job]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a BERT of 3 blocks of width 32, with random weights, and a tokenizer that knows our words."""
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny_model(folder)
    return str(folder)


def write_tiny_model(folder: Path) -> None:
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
    return definition.train(job, lambda metrics: Verdict(), Keep())


def write_jsonl(path: Path, rows: Sequence[Mapping[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def word_decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a Llama of 2 blocks of width 32, with random weights, and a tokenizer of our words that knows an end."""
    folder = tmp_path_factory.mktemp("decoder")
    tokenizer = ending_tokenizer(end=False)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=None,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def ending_tokenizer(end: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer of our words whose token 0 ends a text and pads it; `end`: it puts one after each text."""
    words = ["</s>", "<unk>", *FILLERS, *(word for group in WORDS.values() for word in group)]
    inner = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if end:
        inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, eos_token="</s>", pad_token="</s>", unk_token="<unk>", model_max_length=32
    )

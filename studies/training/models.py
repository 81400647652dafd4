"""Loading a pre-trained model with a new head, and saving the fine-tuned one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from studies.errors import InvalidInput, TrialFailure
from studies.training.convert import folder_of
from studies.training.lora import ADAPTER, quietly_wrapped
from studies.training.predict import quietly

RECORD = "tuner.json"


def load_classifier(
    reference: str,
    classes: Sequence[str],
    *,
    max_length: int,
    dropout: float | None,
    head: Any = AutoModelForSequenceClassification,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model a study names, with a new head for `classes`, and its tokenizer, which cuts off at `max_length` tokens.

    `head` is transformers' Auto class of the head's kind; `classes` is empty where its size is not theirs to say. The head is
    drawn from torch's random state: seed it before. `dropout` replaces every dropout rate of the model.
    Raises TrialFailure("data") where the model can't be had.
    """
    quietly()
    try:
        location = folder_of(reference)
        config = AutoConfig.from_pretrained(location, trust_remote_code=False)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        _fit_tokenizer(tokenizer, config, max_length)
        if classes:
            config.id2label = dict(enumerate(classes))
            config.label2id = {name: index for index, name in enumerate(classes)}
    except (InvalidInput, OSError, ValueError) as error:
        raise TrialFailure("data", f"model {reference!r} can't be loaded: {_reason(error, head)}") from error
    return load_body(reference, config, head, dropout), tokenizer


def load_body(reference: str, config: PreTrainedConfig, head: Any, dropout: float | None, **options: Any) -> PreTrainedModel:
    """The weights of a model, in fp32, under a head of the Auto class `head`. Raises TrialFailure("data")."""
    if dropout is not None:
        _set_dropout(config, dropout)
    try:
        model: PreTrainedModel = head.from_pretrained(
            folder_of(reference),
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # a model fine-tuned before may come with a head of another size
            **options,
        )
    except (InvalidInput, OSError, ValueError) as error:
        raise TrialFailure("data", f"model {reference!r} can't be loaded: {_reason(error, head)}") from error
    return model


def _reason(error: Exception, head: Any) -> str:
    if str(error).startswith("Unrecognized configuration class"):
        # transformers goes on to list every model there is.
        return f"models of its kind have no head for this task ({head.__name__}); give one of another kind"
    if "instantiate the backend tokenizer" in str(error):
        # transformers asks for packages, which would not help.
        return "it has no tokenizer, as models that read texts have; give one that reads texts"
    return str(error)


def _fit_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, max_length: int) -> None:
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", max_length))
    if max_length > longest:
        raise TrialFailure("data", f"max_length is {max_length}, but the model reads at most {longest} tokens")
    # Saved with the tokenizer, so that whoever loads the folder cuts texts off where training did.
    tokenizer.model_max_length = max_length
    if tokenizer.pad_token_id is None:
        # Decoders have no token for padding; they are told by this id where a text ends.
        tokenizer.pad_token = tokenizer.eos_token
    config.pad_token_id = tokenizer.pad_token_id


def _set_dropout(config: PreTrainedConfig, rate: float) -> None:
    # Architectures name their rates differently (hidden_dropout_prob, attn_pdrop, …). LayerDrop is not dropout.
    rates = [
        name
        for name, value in config.to_dict().items()
        if "drop" in name and "layerdrop" not in name and isinstance(value, float)
    ]
    if not rates:
        raise TrialFailure("data", f"dropout is {rate}, but a {config.model_type} model has no dropout to set")
    for name in rates:
        setattr(config, name, rate)


def load_trained(folder: Path, head: Any, **options: Any) -> PreTrainedModel:
    """The model that a trial left in `folder`, under the head that it was trained with (`head`: transformers' class for it).

    `options` go to `from_pretrained`. Raises TrialFailure("data") where it is an adapter whose base model can't be had.
    """
    if not (folder / ADAPTER).exists():
        model: PreTrainedModel = head.from_pretrained(folder, use_safetensors=True, **options)
        return model
    # The path that the adapter itself has for its base is that of the machine that trained it.
    reference = json.loads((folder / RECORD).read_text("utf-8"))["model"]
    base = load_body(reference, AutoConfig.from_pretrained(folder), head, None, **options)
    quietly_wrapped(PeftModel.from_pretrained, base, folder)  # changes the base itself
    return base


def save_model(
    folder: Path,
    model: PreTrainedModel,
    processor: Any,
    record: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    adapter: PeftModel | None = None,
) -> None:
    """Write what `load_trained` loads, and beside it `record` as tuner.json and `files` (name → text).

    `processor` is what has `save_pretrained`, such as a tokenizer. Of a model with an `adapter` only that is written, and
    the configuration. `folder` appears complete or not at all.
    """
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if adapter is None:
        model.save_pretrained(part)
    else:
        adapter.save_pretrained(str(part), save_embedding_layers=False)
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(part)
    processor.save_pretrained(part)
    save_files(part, {RECORD: json.dumps(record, indent=2, ensure_ascii=False) + "\n"} | dict(files or {}))
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def save_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write `files` (name → text)."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")

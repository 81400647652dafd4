"""Text generation for the training loop: any decoder; each token is predicted from those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from studies.definition import Job
from studies.text_generation import Text, read
from studies.training.data import Encoded, padding_of
from studies.training.models import load_classifier, load_trained
from studies.training.predict import outputs_of, quietly
from studies.training.settings import Settings
from studies.training.task import Batch, Evaluation, Task

_SKIPPED = -100  # what PyTorch's cross-entropy skips
_EVALUATION_BATCH_SIZE = 8  # logits are as wide as the vocabulary
_SAMPLES = 8  # texts of validation whose beginning the best model goes on from
_PROMPT, _LONGEST_SAMPLE = 8, 48  # tokens


def prepare(job: Job, settings: Settings) -> Task:
    """The data, the model with its own head, and both splits as tokens. Raises InvalidInput and TrialFailure."""
    splits = read(job.data, job.data_seed)
    model, tokenizer = load_classifier(
        job.model, (), max_length=settings.max_length, dropout=settings.dropout, head=AutoModelForCausalLM
    )
    training, validation = encode_whole(tokenizer, splits.train), encode_whole(tokenizer, splits.validation)

    def samples(model: Any, device: str) -> list[dict[str, Any]]:
        prompts = [
            str(tokenizer.decode(ids[:_PROMPT], skip_special_tokens=True)) for ids in validation.inputs["input_ids"][:_SAMPLES]
        ]
        written = go_on(model, tokenizer, prompts)
        return [{"prompt": prompt, "written": text} for prompt, text in zip(prompts, written, strict=True)]

    return Task(
        splits=splits,
        model=model,
        processor=tokenizer,
        training=training,
        validation=validation,
        counts=[max(len(ids) - 1, 0) for ids in training.targets["labels"]],
        loss=lambda outputs, targets: next_token_loss(outputs, targets, settings.label_smoothing),
        evaluate=_evaluate,
        samples=samples,
    )


def encode_whole(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Text]) -> Encoded:
    """Texts as tokens, cut off at the tokenizer's `model_max_length`, each with a token that ends it, where there is one."""
    # A token that ends a text: one of its own, or what encoders put between texts.
    end = [token for token in (tokenizer.eos_token_id, tokenizer.sep_token_id) if token is not None][:1]
    longest = tokenizer.model_max_length - len(end)
    encoded = tokenizer([row.text for row in rows], truncation=True, max_length=longest)["input_ids"]
    ids = [torch.tensor([*text, *end]) for text in encoded]
    return Encoded(
        inputs={"input_ids": ids, "attention_mask": [torch.ones_like(text) for text in ids]},
        targets={"labels": ids},
        padding=padding_of(tokenizer) | {"labels": _SKIPPED},
    )


def next_token_loss(outputs: Any, targets: Batch, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy (nats) of each token given those before it."""
    logits, labels = outputs.logits[:, :-1].flatten(0, 1), targets["labels"][:, 1:].flatten()
    return functional.cross_entropy(logits, labels, ignore_index=_SKIPPED, label_smoothing=smoothing)


def predict(folder: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """How the model that a trial left in `folder` goes on after each text."""
    if not texts:
        return []
    quietly()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = load_trained(folder, AutoModelForCausalLM)
    return [{"written": written} for written in go_on(model, tokenizer, texts)]


@torch.inference_mode()
def go_on(model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[str]:
    """What the model writes after each prompt, drawn from torch's random state (nucleus of 0.9: Holtzman et al. 2020)."""
    model.train(False)
    lengths = [len(ids) for ids in tokenizer(list(prompts))["input_ids"]] if prompts else []
    rooms = [max(1, min(_LONGEST_SAMPLE, tokenizer.model_max_length - length)) for length in lengths]
    written = [""] * len(prompts)
    for room in sorted(set(rooms), reverse=True):
        alike = [index for index, own in enumerate(rooms) if own == room]
        for start in range(0, len(alike), _EVALUATION_BATCH_SIZE):
            batch = alike[start : start + _EVALUATION_BATCH_SIZE]
            ends = _ends(model, tokenizer, [prompts[index] for index in batch], room)
            for index, end in zip(batch, ends, strict=True):
                written[index] = end
    return written


def _ends(model: Any, tokenizer: PreTrainedTokenizerBase, prompts: list[str], room: int) -> list[str]:
    """Together: a token of eight texts costs little more than that of one. Each goes on from its end, so they end alike."""
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
    drawn = model.generate(
        input_ids=encoded["input_ids"],
        attention_mask=encoded["attention_mask"],
        max_new_tokens=room,
        do_sample=True,
        top_p=0.9,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer.batch_decode(drawn[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)


def _evaluate(model: Any, examples: Encoded, device: str) -> Evaluation:
    total, tokens = 0.0, 0
    for batch, outputs in outputs_of(model, examples, _EVALUATION_BATCH_SIZE, device):
        targets = examples.batch_targets(batch, device)
        count = int((targets["labels"][:, 1:] != _SKIPPED).sum())
        total, tokens = total + float(next_token_loss(outputs, targets)) * count, tokens + count
    loss = total / max(tokens, 1)
    # Beyond that it is no number a person can compare, and exp would overflow.
    return Evaluation(scores={"perplexity": math.exp(min(loss, 80.0)), "loss": loss})

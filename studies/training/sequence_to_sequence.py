"""Sequence to sequence for the training loop: an encoder reads a text, a decoder writes another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sacrebleu import corpus_bleu, corpus_chrf
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase

from studies.definition import Job
from studies.errors import TrialFailure
from studies.sequence_to_sequence import Pair, read
from studies.training.data import Encoded, evaluation_batches, padding_of
from studies.training.models import load_classifier, load_trained
from studies.training.predict import BATCH_SIZE, outputs_of, quietly
from studies.training.settings import Settings
from studies.training.ssru import register
from studies.training.task import Batch, Evaluation, Task

_SKIPPED = -100  # what PyTorch's cross-entropy skips


def prepare(job: Job, settings: Settings) -> Task:
    """The data, the model, and both splits as tokens. Raises InvalidInput and TrialFailure."""
    splits = read(job.data, job.data_seed)
    register()
    model, tokenizer = load_classifier(
        job.model, (), max_length=settings.max_length, dropout=settings.dropout, head=AutoModelForSeq2SeqLM
    )
    start = model.config.decoder_start_token_id
    if start is None:
        raise TrialFailure("data", f"model {job.model!r} does not say with which token its decoder starts")

    def evaluate(model: Any, examples: Encoded, device: str) -> Evaluation:
        return _evaluate(model, tokenizer, examples, device, splits.validation)

    training = encode_pairs(tokenizer, splits.train, start)
    return Task(
        splits=splits,
        model=model,
        processor=tokenizer,
        training=training,
        validation=encode_pairs(tokenizer, splits.validation, start),
        counts=[len(ids) for ids in training.targets["labels"]],
        loss=lambda outputs, targets: _loss(outputs, targets, settings.label_smoothing),
        evaluate=evaluate,
        evaluates_whole=True,
    )


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], start: int) -> Encoded:
    """Sources and targets as tokens, cut off at the tokenizer's `model_max_length`; the decoder reads the target from `start`."""
    sources = tokenizer([pair.source for pair in pairs], truncation=True)
    targets = [torch.tensor(ids) for ids in tokenizer(text_target=[pair.target for pair in pairs], truncation=True)["input_ids"]]
    return Encoded(
        inputs={name: [torch.tensor(values) for values in sources[name]] for name in ("input_ids", "attention_mask")}
        | {"decoder_input_ids": [torch.cat([torch.tensor([start]), ids[:-1]]) for ids in targets]},
        targets={"labels": targets},
        padding=padding_of(tokenizer) | {"decoder_input_ids": tokenizer.pad_token_id, "labels": _SKIPPED},
    )


def predict(folder: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """What each text becomes, by the model that a trial left in `folder`."""
    if not texts:
        return []
    quietly()
    register()
    tokenizer = AutoTokenizer.from_pretrained(folder, config=AutoConfig.from_pretrained(folder))
    model = load_trained(folder, AutoModelForSeq2SeqLM)
    encoded = encode_pairs(tokenizer, [Pair(text, "") for text in texts], 0)
    return [{"written": text} for text in write(model, tokenizer, encoded, BATCH_SIZE, "cpu")]


@torch.inference_mode()
def write(model: Any, tokenizer: PreTrainedTokenizerBase, examples: Encoded, batch_size: int, device: str) -> list[str]:
    """What the model makes of each source, always the most probable token, in the order of the examples."""
    model.train(False)
    written = [""] * len(examples)
    for rows in evaluation_batches(examples.lengths, batch_size):
        batch = examples.batch(rows, device)
        ids = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            num_beams=1,
            do_sample=False,
            # Targets are cut off there too.
            max_new_tokens=min(tokenizer.model_max_length, 2 * batch["input_ids"].shape[1] + 10),
        )
        for row, text in zip(rows, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
            written[row] = text
    return written


def _loss(outputs: Any, targets: Batch, smoothing: float = 0.0) -> Tensor:
    labels = targets["labels"].flatten()
    return functional.cross_entropy(outputs.logits.flatten(0, 1), labels, ignore_index=_SKIPPED, label_smoothing=smoothing)


def _evaluate(model: Any, tokenizer: PreTrainedTokenizerBase, examples: Encoded, device: str, rows: Sequence[Pair]) -> Evaluation:
    total, tokens = 0.0, 0
    for batch, outputs in outputs_of(model, examples, BATCH_SIZE, device):
        targets = examples.batch_targets(batch, device)
        count = int((targets["labels"] != _SKIPPED).sum())
        total, tokens = total + float(_loss(outputs, targets)) * count, tokens + count
    written = write(model, tokenizer, examples, BATCH_SIZE, device)
    expected = [row.target for row in rows]
    return Evaluation(
        scores={
            "bleu": float(corpus_bleu(written, [expected]).score),
            "chrf": float(corpus_chrf(written, [expected]).score),
            "loss": total / max(tokens, 1),
        },
        predictions=[
            {"source": row.source, "expected": row.target, "written": text} for row, text in zip(rows, written, strict=True)
        ],
    )

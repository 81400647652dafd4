"""Using a fine-tuned model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from studies.training.data import Encoded, encode, evaluation_batches


def predict(folder: Path, texts: Sequence[str], batch_size: int = 32) -> list[tuple[str, float]]:
    """The most probable label of each text, and its probability (0 … 1), by the model that a trial left in `folder`."""
    if not texts:
        return []
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # loading takes less time than reading about it
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, use_safetensors=True)
    probabilities = compute_logits(model, encode(tokenizer, texts), batch_size, "cpu").softmax(dim=-1)
    best, classes = probabilities.max(dim=-1)
    return [(model.config.id2label[int(index)], float(share)) for index, share in zip(classes, best, strict=True)]


@torch.inference_mode()
def compute_logits(model: PreTrainedModel, encoded: Encoded, batch_size: int, device: str) -> Tensor:
    """Logits [texts, classes], on the CPU, in the order of the texts. Leaves the model in eval mode."""
    model.train(False)
    batches = evaluation_batches(encoded.lengths, batch_size)
    logits = torch.cat([model(**encoded.batch(rows, device)).logits.cpu() for rows in batches])
    back = torch.tensor([row for rows in batches for row in rows]).argsort()
    return logits[back]

"""What a fine-tuned model looks at: the attention of each head in each block, for one text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from studies.errors import InvalidInput
from studies.training.predict import quietly


@dataclass(frozen=True)
class Attention:
    """Tokens of a text, and how much each (row) looks at each other (column): [blocks][heads][tokens][tokens], rows sum to 1."""

    tokens: list[str]
    weights: list[list[list[list[float]]]]


@torch.inference_mode()
def attention(folder: Path, text: str) -> Attention:
    """The attention maps of the model in `folder`. Raises InvalidInput for a model that has none."""
    quietly()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        # Faster implementations never have the weights as a whole.
        model: Any = AutoModel.from_pretrained(folder, use_safetensors=True, attn_implementation="eager")
    except (ValueError, OSError) as error:
        raise InvalidInput.at("study", f"its model has no attention to show: {error}") from None
    model.train(False)
    encoded = tokenizer(text, truncation=True, return_tensors="pt")
    if hasattr(model, "get_encoder") and model.config.is_encoder_decoder:
        model = model.get_encoder()
    maps = model(**encoded, output_attentions=True).attentions
    if not maps:
        raise InvalidInput.at("study", "its model has no attention to show")
    tokens = [str(tokenizer.convert_ids_to_tokens(index)) for index in encoded["input_ids"][0].tolist()]
    return Attention(tokens, [block[0].tolist() for block in maps])

"""What a fine-tuned model looks at: the attention of each head in each block, for a text or for a few validation examples."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from studies.errors import InvalidInput
from studies.training.data import Encoded
from studies.training.lora import ADAPTER
from studies.training.models import load_trained
from studies.training.predict import quietly

# Of the examples kept with a trial.
_MOST_EXAMPLES = 6
_MOST_TOKENS = 48
_MOST_BYTES = 1_000_000  # of all weights together


@dataclass(frozen=True)
class Attention:
    """Tokens of a text, and how much each (row) looks at each other (column): [blocks][heads][tokens][tokens], rows sum to 1."""

    tokens: list[str]
    weights: list[list[list[list[float]]]]


def attention(folder: Path, text: str) -> Attention:
    """The attention maps of the model in `folder`. Raises InvalidInput for a model that has none."""
    quietly()
    if not (folder / "tokenizer_config.json").exists():
        raise InvalidInput.at("study", "its model reads no text, so there are no words that it could look at")
    kind = str(json.loads((folder / "config.json").read_text("utf-8")).get("model_type"))
    if kind.startswith("tuner-"):  # networks of our own: none has maps of a whole text
        raise InvalidInput.at(
            "study", f"its model, a {kind}, has no attention to show; encoders and decoders of transformers have"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        # An adapter fits only the model that it was trained in, head and all.
        adapted = (folder / ADAPTER).exists()
        head = getattr(transformers, AutoConfig.from_pretrained(folder).architectures[0]) if adapted else AutoModel
        model = load_trained(folder, head)
        encoded = tokenizer(text, truncation=True, return_tensors="pt")
        maps = _maps(model, dict(encoded))
    except (ValueError, OSError) as error:
        raise InvalidInput.at("study", f"its model has no attention to show: {str(error).splitlines()[0]}") from None
    if maps is None:
        raise InvalidInput.at("study", "its model has no attention to show")
    return Attention(_tokens(tokenizer, encoded["input_ids"][0]), maps[0].tolist())


def attention_file(model: PreTrainedModel, processor: Any, examples: Encoded, device: str) -> dict[str, str]:
    """The maps of the first few short examples, as `attention_json` keeps them; nothing for a model that has none.

    Trials of a study have the same validation rows, so their maps are of the same texts.
    """
    if not isinstance(processor, PreTrainedTokenizerBase) or "input_ids" not in examples.inputs:
        return {}
    rows = _short_rows(examples)
    maps = _maps(model, examples.batch(rows, device)) if rows else None
    if maps is None:
        return {}
    kept: list[tuple[list[str], Tensor]] = []
    size = 0
    for row, padded in zip(rows, maps, strict=True):
        tokens = examples.inputs["input_ids"][row]
        of_text = padded[..., : len(tokens), : len(tokens)]
        size += of_text.numel()
        if size > _MOST_BYTES:
            break
        kept.append((_tokens(processor, tokens), of_text))
    return attention_json(kept) if kept else {}


def attention_json(examples: Sequence[tuple[Sequence[str], Tensor]]) -> dict[str, str]:
    """Name and content of the file that keeps tokens and maps [blocks, heads, tokens, tokens] of each example.

    `{"examples": [{"tokens": […], "shape": [blocks, heads, tokens, tokens], "weights": base64}]}`, each weight a byte of which
    255 stands for 1.
    """
    kept = []
    for tokens, maps in examples:
        packed = (maps * 255).round().to(torch.uint8).cpu().contiguous()
        weights = base64.b64encode(packed.numpy().tobytes()).decode()
        kept.append({"tokens": list(tokens), "shape": list(packed.shape), "weights": weights})
    return {"attention.json": json.dumps({"examples": kept}, ensure_ascii=False) + "\n"}


def _short_rows(examples: Encoded) -> list[int]:
    short = (row for row, length in enumerate(examples.lengths) if length <= _MOST_TOKENS)
    return [row for row, _ in zip(short, range(_MOST_EXAMPLES), strict=False)]


@torch.inference_mode()
def _maps(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor | None:
    """[texts, blocks, heads, tokens, tokens], or None if the model has no attention. The model is left as it was."""
    body: Any = model.base_model
    if not hasattr(body.config, "num_attention_heads"):
        return None
    before, trained = body.config._attn_implementation, model.training
    body.set_attn_implementation("eager")  # faster implementations never have the weights as a whole
    model.train(False)
    part = body.get_encoder() if body.config.is_encoder_decoder else body
    read = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    maps = part(**read, output_attentions=True).attentions
    model.train(trained)
    body.set_attn_implementation(before)
    return torch.stack(list(maps), dim=1) if maps else None


def _tokens(tokenizer: PreTrainedTokenizerBase, ids: Tensor) -> list[str]:
    return [str(tokenizer.convert_ids_to_tokens(index)) for index in ids.tolist()]

"""Pre-trained models: what a study's `model` refers to, and what its config.json tells without torch.

Weights are read from safetensors only, into which those that a built-in model's package ships otherwise are made first
(`studies/training/convert.py`). No code that comes with a model is ever run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.builtin import PREFIX, model_config, model_folder
from studies.errors import InvalidInput
from studies.hub import repository
from studies.sources import local_path
from studies.weights import trained_by_depth

# The same fact has one name in most configurations and a few others in older ones.
_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers")
_DECODER_BLOCKS = ("decoder_layers", "num_decoder_layers")
_HIDDEN = ("hidden_size", "dim", "n_embd", "d_model")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx")


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a configuration tells; None where it doesn't, or where the model is not on this machine yet."""

    blocks: int | None = None  # what `frozen_layers` counts
    model_type: str | None = None  # "bert", …
    hidden_size: int | None = None
    max_positions: int | None = None  # longest input in tokens
    trained_parameters: tuple[int, ...] = ()  # with 0, 1, … frozen blocks, without a task's head; empty where not known


def resolve(reference: str) -> str:
    """What `from_pretrained` takes for a study's `model`: a folder, or an id of the Hugging Face hub.

    `reference` is `builtin:<name>`, a local folder or a hub id. Raises InvalidInput at `model`. Does not use the network.
    """
    if reference.startswith(PREFIX):
        return str(model_folder(reference.removeprefix(PREFIX)))
    folder = local_path(reference, "model")
    if folder.exists():
        _check_folder(folder, reference)
        return str(folder)
    if repository(reference, "model") is None:
        raise InvalidInput.at(
            "model",
            f"there is no folder {reference!r}; give a folder, an id of the Hugging Face hub (org/name) or builtin:minilm",
        )
    return reference


def model_facts(reference: str) -> ModelFacts:
    """The facts of a model reference. Raises InvalidInput at `model`.

    Of a hub model they are read from the local cache; where it is not there, all of them are None.
    """
    location = resolve(reference)
    folder = Path(location)
    known = model_config(reference.removeprefix(PREFIX)) if reference.startswith(PREFIX) else {}
    if known:
        return _facts(known, folder)
    if reference.startswith(PREFIX):
        _check_folder(folder, reference)
    hub = None if folder.is_dir() else repository(location, "model")
    here = hub.snapshot() if hub else folder
    if here is None or (hub and not (here / "config.json").is_file()):
        return ModelFacts()
    return _facts(_read_json(here / "config.json"), here)


def _facts(config: Mapping[str, Any], folder: Path) -> ModelFacts:
    blocks = _network_blocks(config) or _first(config, _BLOCKS)
    if blocks is not None and config.get("is_encoder_decoder"):
        blocks += _first(config, _DECODER_BLOCKS) or 0
    return ModelFacts(
        blocks=blocks,
        model_type=str(config["model_type"]) if "model_type" in config else None,
        hidden_size=_first(config, _HIDDEN),
        max_positions=_max_positions(config, folder / "tokenizer_config.json"),
        trained_parameters=() if blocks is None else trained_by_depth(folder, blocks),
    )


def _network_blocks(config: Mapping[str, Any]) -> int | None:
    """What convolutional networks have for blocks: stages, or in an EfficientNet (whose num_hidden_layers is four times as
    much) every block."""
    stages, repeats, scale = config.get("depths"), config.get("num_block_repeats"), config.get("depth_coefficient", 1)
    if isinstance(repeats, list) and isinstance(scale, int | float):
        return sum(math.ceil(scale * count) for count in repeats if isinstance(count, int))
    return len(stages) if isinstance(stages, list) else None


def _check_folder(folder: Path, reference: str) -> None:
    if not folder.is_dir():
        raise InvalidInput.at("model", f"{reference!r} is a file; give the folder that holds config.json and model.safetensors")
    if not (folder / "config.json").is_file():
        raise InvalidInput.at("model", f"the folder {reference!r} has no config.json, so it holds no transformers model")
    if not any(folder.glob("*.safetensors")):
        raise InvalidInput.at(
            "model",
            f"the folder {reference!r} has no safetensors weights, the only format read; save the model with save_pretrained",
        )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput.at("model", f"{path} can't be read: {error}") from None
    if not isinstance(content, dict):
        raise InvalidInput.at("model", f"{path} is not a JSON object")
    return content


def _first(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    return next((config[name] for name in names if isinstance(config.get(name), int)), None)


def _max_positions(config: Mapping[str, Any], tokenizer_config: Path) -> int | None:
    """The smaller of what the model and its tokenizer allow: RoBERTa's table has two rows that no token can use."""
    tokenizer = _read_json(tokenizer_config) if tokenizer_config.is_file() else {}
    table = None if "relative_attention_num_buckets" in config else _first(config, _POSITIONS)  # T5 has no table of positions
    known = [limit for limit in (table, _first(tokenizer, ("model_max_length",))) if limit]
    return min(known, default=None)

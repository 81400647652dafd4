from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    ResNetConfig,
    ResNetModel,
)

from studies.models import model_facts
from studies.training.freezing import freeze
from studies.weights import trained_by_depth
from tests.studies.training.test_freezing import SMALL

MODELS: dict[str, Any] = {
    "bert": lambda: BertModel(BertConfig(**SMALL)),
    "gpt2": lambda: GPT2Model(GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, bos_token_id=1, eos_token_id=2)),
    "llama": lambda: LlamaModel(LlamaConfig(**SMALL, num_key_value_heads=2)),
    "resnet": lambda: ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic")),
    "bart": lambda: BartModel(BartConfig(vocab_size=50, d_model=16, encoder_layers=2, decoder_layers=2)),
}


def trained(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", MODELS)
def test_the_header_tells_what_freezing_leaves(tmp_path: Path, name: str) -> None:
    MODELS[name]().save_pretrained(tmp_path)
    blocks = model_facts(str(tmp_path)).blocks
    assert blocks is not None
    expected = []
    for depth in range(blocks + 1):
        model = MODELS[name]()
        freeze(model, depth)
        expected.append(trained(model))
    assert list(trained_by_depth(tmp_path, blocks)) == expected
    assert model_facts(str(tmp_path)).trained_parameters == tuple(expected)


def test_the_built_in_encoder() -> None:
    found = model_facts("builtin:minilm").trained_parameters
    assert (len(found), found[0]) == (7, 22_713_216)
    assert found[0] > 2 * found[1] > found[-1] > 0


@pytest.mark.parametrize("content", [b"", b"\xff" * 20, b"\x02\0\0\0\0\0\0\0{}"])
def test_files_that_do_not_tell(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert trained_by_depth(tmp_path, 3) == ()

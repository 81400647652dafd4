from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    PreTrainedConfig,
    RobertaConfig,
)

from studies.errors import TrialFailure
from studies.training.freezing import block_stack, freeze, levels, unfreeze

SMALL: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
CONFIGS = [
    (BertConfig(**SMALL), "bert.encoder.layer"),
    (RobertaConfig(**SMALL), "roberta.encoder.layer"),
    (ElectraConfig(**SMALL, embedding_size=8), "electra.encoder.layer"),
    (DistilBertConfig(vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=32), "distilbert.transformer.layer"),
    (GPT2Config(vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32), "transformer.h"),
]


def build(config: PreTrainedConfig) -> nn.Module:
    model: nn.Module = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
    return model


def trained(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize(("config", "stack"), CONFIGS, ids=lambda value: getattr(value, "model_type", ""))
def test_embeddings_and_the_first_blocks_are_frozen_and_the_rest_is_not(config: PreTrainedConfig, stack: str) -> None:
    model = build(config)
    assert block_stack(model)[0] == stack
    freeze(model, 2)
    above = trained(model)
    assert any(name.startswith(f"{stack}.2.") for name in above)
    assert not any(name.startswith((f"{stack}.0.", f"{stack}.1.")) for name in above)
    assert not any("embed" in name or "wte" in name or "wpe" in name for name in above)
    assert any(name.startswith(("classifier", "score")) for name in above)


def test_zero_freezes_nothing() -> None:
    model = build(CONFIGS[0][0])
    freeze(model, 0)
    assert len(trained(model)) == len(list(model.parameters()))


def test_all_blocks_leave_only_what_is_above_them() -> None:
    model = build(CONFIGS[0][0])
    freeze(model, 3)
    assert all(name.startswith(("bert.pooler", "classifier")) for name in trained(model))


def test_frozen_parts_stay_in_eval_mode() -> None:
    model = build(CONFIGS[0][0])
    freeze(model, 1)
    model.train()
    modes = {name: module.training for name, module in model.named_modules()}
    assert not any(training for name, training in modes.items() if name.startswith(("bert.embeddings", "bert.encoder.layer.0")))
    assert all(
        training for name, training in modes.items() if name.startswith(("bert.encoder.layer.1", "bert.pooler", "classifier"))
    )


def test_a_frozen_prefix_has_no_dropout() -> None:
    torch.manual_seed(0)
    model = build(BertConfig(**SMALL, hidden_dropout_prob=0.5))
    freeze(model, 2)
    model.train()
    seen: list[torch.Tensor] = []
    block_stack(model)[1][1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    for _ in range(2):
        model(input_ids=torch.arange(8).unsqueeze(0))
    assert torch.equal(seen[0], seen[1])


def test_more_than_there_are_blocks() -> None:
    with pytest.raises(TrialFailure, match=r"frozen_layers is 4, but bert\.encoder\.layer has 3 blocks"):
        freeze(build(CONFIGS[0][0]), 4)


BART = BartConfig(vocab_size=50, d_model=16, encoder_layers=2, decoder_layers=2, max_position_embeddings=32)


@pytest.mark.parametrize(("layers", "encoder", "decoder"), [(1, [1], [0, 1]), (2, [], [0, 1]), (3, [], [1]), (4, [], [])])
def test_the_blocks_of_a_decoder_come_after_those_of_its_encoder(layers: int, encoder: list[int], decoder: list[int]) -> None:
    model: nn.Module = AutoModelForSeq2SeqLM.from_config(BART)  # type: ignore[no-untyped-call]
    freeze(model, layers)
    names = trained(model)
    for stack, blocks in (("encoder", encoder), ("decoder", decoder)):
        found = {int(name.split(".")[3]) for name in names if name.startswith(f"model.{stack}.layers.")}
        assert found == set(blocks), stack
    assert not any("shared" in name or "embed" in name for name in names)
    with pytest.raises(TrialFailure, match=r"frozen_layers is 5, but .*encoder\.layers and .*decoder\.layers has 4 blocks"):
        freeze(model, 5)


def test_only_the_head_is_trained() -> None:
    model = build(CONFIGS[0][0])
    freeze(model, 0, "head")
    assert trained(model) == ["bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"]


@pytest.mark.parametrize(("policy", "part"), [("norms", "LayerNorm"), ("bias", "bias")])
def test_only_norms_or_biases_of_the_blocks_above_are_trained(policy: Any, part: str) -> None:
    model = build(CONFIGS[0][0])
    freeze(model, 1, policy)
    names = [name for name in trained(model) if not name.startswith(("classifier", "bert.pooler"))]
    assert names
    assert all(part in name and name.startswith(("bert.encoder.layer.1.", "bert.encoder.layer.2.")) for name in names)


def test_blocks_are_unfrozen_from_the_top() -> None:
    model = build(CONFIGS[0][0])
    freeze(model, 1)
    parts = levels(model)
    whole = trained(model)
    seen = []
    for count in range(5):
        unfreeze(parts, count)
        seen.append({name.split(".layer.")[1][0] for name in trained(model) if ".layer." in name})
    assert seen == [set(), {"2"}, {"1", "2"}, {"1", "2"}, {"1", "2"}]
    assert trained(model) == whole


def test_what_feeds_the_blocks_is_unfrozen_last() -> None:
    model: nn.Module = AutoModelForSeq2SeqLM.from_config(BART)  # type: ignore[no-untyped-call]
    parts = levels(model)
    assert len(parts) == 5
    unfreeze(parts, 4)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen and not any(".layers." in name for name in frozen)
    unfreeze(parts, 5)
    assert len(trained(model)) == len(list(model.parameters()))


def test_statistics_of_frozen_blocks_do_not_move() -> None:
    blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(3)))
    model = nn.Sequential(nn.Conv2d(1, 2, 1), blocks, nn.Flatten(), nn.Linear(18, 2))
    freeze(model, 2)
    model.train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers() if "mean" in name}
    model(torch.rand(4, 1, 3, 3))
    moved = [name for name, buffer in model.named_buffers() if "mean" in name and not torch.equal(buffer, before[name])]
    assert moved == ["1.2.1.running_mean"]


def test_several_stacks_are_listed() -> None:
    model = nn.ModuleDict({name: nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]) for name in ("left", "right")})
    with pytest.raises(TrialFailure, match=r"candidates: left \(2 × Linear\), right \(2 × Linear\)"):
        freeze(model, 1)


def test_no_stack_at_all() -> None:
    shared = AlbertConfig(**SMALL, embedding_size=8)
    with pytest.raises(TrialFailure, match="candidates: none.*give frozen_layers 0 and train `all`"):
        freeze(build(shared), 1)
    freeze(build(shared), 0)

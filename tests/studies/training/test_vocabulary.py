from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    BertLMHeadModel,
    EfficientNetConfig,
    GPT2Config,
    PreTrainedConfig,
    PreTrainedModel,
    T5Config,
)

from studies.definition import Keep, Verdict
from studies.text_classification import DEFINITION
from studies.training.data import Encoded
from studies.training.freezing import freeze
from studies.training.ssru import SsruConfig, SsruTranslator
from studies.training.vocabulary import ReadRows, train_read_rows
from tests.studies.training.conftest import MakeJob
from tests.studies.training.test_freezing import CONFIGS, SMALL, build

TEXTS = [[2, 5, 7, 9], [2, 11, 5], [2, 9, 9, 30, 41, 7]]
READ = [0, 2, 5, 7, 9, 11, 30, 41]  # 0: padding


def encoded(*texts: list[int]) -> Encoded:
    ids = [torch.tensor(text) for text in texts]
    return Encoded(inputs={"input_ids": ids, "attention_mask": [torch.ones_like(text) for text in ids]}, padding={"input_ids": 0})


EXAMPLES = encoded(*TEXTS)


def model_of(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    config.pad_token_id = 0
    return build(config)


def table_of(model: Any) -> Tensor:
    weight: Tensor = model.get_input_embeddings().weight
    return weight.detach().clone()


def train(model: Any, *, weight_decay: float = 0.0) -> list[float]:
    torch.manual_seed(1)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=weight_decay, fused=True)
    batch, losses = EXAMPLES.batch([0, 1, 2], "cpu"), []
    for _ in range(5):
        loss = model(**batch, labels=torch.tensor([0, 1, 0])).loss
        loss.backward()
        clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("config", [config for config, _ in CONFIGS], ids=lambda config: config.model_type)
def test_a_model_trains_to_the_same_on_the_rows_that_are_read(config: PreTrainedConfig) -> None:
    whole, cut = model_of(config), model_of(config)
    before = table_of(whole)
    put_back = train_read_rows(cut, EXAMPLES)
    assert len(cut.get_input_embeddings().weight) <= len(READ) + 1  # a table may have padding of its own
    assert train(cut) == pytest.approx(train(whole), abs=1e-6)
    put_back()
    assert type(cut.get_input_embeddings()) is torch.nn.Embedding
    for (name, one), other in zip(cut.named_parameters(), whole.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5), name
    after = table_of(cut)
    unread = [row for row in range(50) if row not in {*READ, 1}]
    assert torch.equal(after[unread], before[unread])
    assert not torch.allclose(after[READ[1:]], before[READ[1:]], atol=1e-4)


def test_weight_decay_takes_nothing_off_rows_that_nobody_reads() -> None:
    model = model_of(BertConfig(**SMALL))
    before = table_of(model)
    put_back = train_read_rows(model, EXAMPLES)
    train(model, weight_decay=0.5)
    put_back()
    assert torch.equal(table_of(model)[12:30], before[12:30])


def test_the_rows_of_every_split_are_there_and_no_other() -> None:
    model = model_of(BertConfig(**SMALL))
    train_read_rows(model, EXAMPLES, encoded([2, 44]))
    table = model.get_input_embeddings()
    assert isinstance(table, ReadRows) and table.num_embeddings == len(READ) + 1
    model.eval()
    model(input_ids=torch.tensor([[2, 44]]))
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[2, 45]]))


def test_the_kinds_of_tokens_that_gpt2_looks_up_in_the_same_table_are_there() -> None:
    model = model_of(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    kinds = [torch.tensor([0] * (len(text) - 1) + [13]) for text in TEXTS]
    examples = replace(EXAMPLES, inputs=dict(EXAMPLES.inputs) | {"token_type_ids": kinds})
    model.eval()
    expected = model(**examples.batch([0, 1, 2], "cpu")).logits
    train_read_rows(model, examples)
    assert torch.equal(model(**examples.batch([0, 1, 2], "cpu")).logits, expected)


def test_padding_that_the_table_does_not_have_is_no_fault_where_nothing_is_padded() -> None:
    model = model_of(BertConfig(**SMALL))
    model.eval()
    ids = torch.tensor([TEXTS[0]])
    expected = model(input_ids=ids).logits
    train_read_rows(model, replace(EXAMPLES, padding={"input_ids": 50}))
    assert torch.equal(model(input_ids=ids).logits, expected)


def test_rows_go_back_to_where_a_checkpoint_says_they_are_from() -> None:
    model = model_of(BertConfig(**SMALL))
    put_back = train_read_rows(model, EXAMPLES)
    cut = model.get_input_embeddings()
    with torch.no_grad():
        cut.weight.fill_(7.0)
        cut.places.copy_(ReadRows(torch.nn.Embedding(50, 16), torch.tensor([*READ[:-1], 49])).places)
    put_back()
    assert [row for row, values in enumerate(table_of(model)) if (values == 7.0).all()] == [*READ[:-1], 49]


def test_it_draws_nothing() -> None:
    model = model_of(BertConfig(**SMALL))
    state = torch.get_rng_state()
    train_read_rows(model, EXAMPLES)
    assert torch.equal(torch.get_rng_state(), state)


def bert_that_writes() -> Any:
    return BertLMHeadModel(BertConfig(**SMALL, is_decoder=True))


def untied() -> Any:
    return BertLMHeadModel(BertConfig(**SMALL, is_decoder=True, tie_word_embeddings=False))


def bart() -> Any:
    sizes: dict[str, Any] = dict.fromkeys(
        ("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"), 2
    )
    config = BartConfig(vocab_size=50, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, **sizes)
    return AutoModelForSeq2SeqLM.from_config(config)  # type: ignore[no-untyped-call]


def t5_that_classifies() -> Any:
    config = T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
    return AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]


def frozen() -> Any:
    model = model_of(BertConfig(**SMALL))
    freeze(model, 1)
    return model


def ssru() -> Any:
    return SsruTranslator(SsruConfig(vocab_size=50, hidden_size=16, inner_size=16, heads=2, eos_token_id=0, pad_token_id=0))


@pytest.mark.parametrize("make", [bert_that_writes, untied, bart, t5_that_classifies, frozen, ssru])
def test_a_table_that_is_frozen_or_has_another_use_stays(make: Any) -> None:
    model = make()
    tables = [module for module in model.modules() if isinstance(module, torch.nn.Embedding)]
    train_read_rows(model, EXAMPLES)
    assert [module for module in model.modules() if isinstance(module, torch.nn.Embedding)] == tables


def test_a_model_of_pictures_has_no_such_table() -> None:
    from transformers import EfficientNetForImageClassification

    model: PreTrainedModel = EfficientNetForImageClassification(EfficientNetConfig(image_size=32, width_coefficient=0.1))
    pictures = Encoded(inputs={"pixel_values": [torch.zeros(3, 32, 32)]}, padding={})
    parameters = list(model.parameters())
    train_read_rows(model, pictures)
    assert list(model.parameters()) == parameters


def test_a_trial_saves_every_row_and_counts_every_one(make_job: MakeJob, tiny_model: str) -> None:
    outcome = DEFINITION.train(job := make_job(), lambda metrics: Verdict(), Keep())
    name = "embeddings.word_embeddings.weight"
    before = load_file(Path(tiny_model) / "model.safetensors")[name]
    after = load_file(job.folder / "model" / "model.safetensors")[f"bert.{name}"]
    changed = (after != before).any(dim=1)
    assert after.shape == before.shape and changed.sum() > 8
    assert not changed[4]  # [MASK], which no text has
    assert outcome.details["trained_parameters"] == outcome.details["parameters"] > before.numel()

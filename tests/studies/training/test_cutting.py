from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    T5Config,
    XLNetConfig,
)

from studies.training.cutting import STATES, HeadOnly, NoCut, alone, find_cut, find_narrow, narrowed, shortened, states_at
from studies.training.data import Encoded
from studies.training.freezing import freeze, prefix_blocks
from studies.training.hardware import Precision
from tests.studies.training.test_freezing import SMALL

LENGTHS = [5, 3, 9, 7, 4, 12, 6, 8]
ROWS = list(range(len(LENGTHS)))
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SMALL),
    "distilbert": DistilBertConfig(vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=32),
    "deberta": DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"], max_position_embeddings=32),
    "gpt2": GPT2Config(
        vocab_size=50, n_embd=16, n_layer=3, n_head=2, n_positions=32, pad_token_id=0, eos_token_id=1, bos_token_id=2
    ),
    "llama": LlamaConfig(**SMALL, num_key_value_heads=2, pad_token_id=0),
    "t5": T5Config(vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, pad_token_id=0, initializer_factor=5.0),
    "xlnet": XLNetConfig(vocab_size=50, d_model=16, n_layer=3, n_head=2, d_inner=32),
}
HEADS: dict[str, Any] = {
    "classes": AutoModelForSequenceClassification,
    "tokens": AutoModelForTokenClassification,
    "answers": AutoModelForQuestionAnswering,
    "text": AutoModelForCausalLM,
}


@pytest.fixture
def texts() -> Encoded:
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(5, 50, (length,), generator=generator) for length in LENGTHS]
    return Encoded(
        inputs={"input_ids": ids, "attention_mask": [torch.ones(length, dtype=torch.long) for length in LENGTHS]},
        padding={"input_ids": 0},
    )


def frozen(name: str, head: str, depth: int) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = HEADS[head].from_config(CONFIGS[name])
    freeze(model, depth)
    return model.train(False)


def gradients(model: nn.Module, run: Callable[[], Any]) -> list[torch.Tensor]:
    model.zero_grad()
    output = run()
    sum(value.square().mean() for value in output if isinstance(value, torch.Tensor)).backward()  # type: ignore[union-attr]
    return [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(
    ("name", "head", "depth", "form"),
    [
        ("bert", "classes", 2, "tokens"),
        ("distilbert", "classes", 1, "tokens"),
        ("bert", "classes", 3, "first"),
        ("distilbert", "classes", 3, "first"),
        ("deberta", "classes", 3, "first"),
        ("gpt2", "classes", 3, "last"),
        ("bert", "tokens", 3, "tokens"),
        ("bert", "answers", 3, "tokens"),
        ("llama", "classes", 3, "last"),
        ("llama", "text", 2, "tokens"),
    ],
)
def test_what_is_left_of_a_model_puts_out_the_same_and_learns_the_same(
    texts: Encoded, name: str, head: str, depth: int, form: str
) -> None:
    model = frozen(name, head, depth)
    cut = find_cut(model, depth, texts, "cpu")
    assert cut.form == form
    batch = texts.batch(ROWS, "cpu")
    with torch.no_grad():
        states = states_at(model, prefix_blocks(model)[depth - 1], batch)
    short = batch | {STATES: states}
    if cut.form in ("first", "last"):
        short = narrowed(texts, cut.form).batch(ROWS, "cpu") | {STATES: alone(states, cut.form, LENGTHS)}
    names = ["start_logits", "end_logits"] if head == "answers" else ["logits"]
    stand_in = shortened(model, cut)
    expected, found = model(**batch), stand_in(**short)
    for key in names:
        assert torch.allclose(getattr(found, key), getattr(expected, key), atol=1e-5)
    whole = gradients(model, lambda: [getattr(model(**batch), key) for key in names])
    cheap = gradients(model, lambda: [getattr(stand_in(**short), key) for key in names])
    assert len(whole) == len(cheap) > 0
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(whole, cheap, strict=True))


@pytest.mark.parametrize(
    ("name", "head", "narrow"),
    [
        ("bert", "classes", "bert.encoder.layer.2.attention.output"),
        ("distilbert", "classes", "distilbert.transformer.layer.2.sa_layer_norm"),
        ("bert", "tokens", ""),
        ("gpt2", "classes", ""),
    ],
)
def test_the_last_block_goes_on_with_the_first_token_where_the_head_reads_no_other(
    texts: Encoded, name: str, head: str, narrow: str
) -> None:
    for precision in ("float32", "bfloat16"):
        with Precision(precision, "cpu").autocast():
            assert find_cut(frozen(name, head, 1), 1, texts, "cpu").narrow == narrow
            try:
                found = find_narrow(frozen(name, head, 0), texts, "cpu").narrow
            except NoCut as reason:
                assert str(reason) == "its head reads more than the first token"
                found = ""
            assert found == narrow


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("name", ["bert", "distilbert"])
def test_a_narrow_block_learns_the_same_with_dropout_and_draws_as_many_numbers(texts: Encoded, name: str, depth: int) -> None:
    model, batch = frozen(name, "classes", depth), texts.batch(ROWS, "cpu")
    cut = find_cut(model, depth, texts, "cpu") if depth else find_narrow(model, texts, "cpu")
    stand_in, states = shortened(model, cut), {}
    if depth:
        with torch.no_grad():
            states = {STATES: states_at(model, prefix_blocks(model)[0], batch)}
    model.train()

    def learnt(run: Callable[[], Any]) -> tuple[list[torch.Tensor], torch.Tensor]:
        torch.manual_seed(0)
        return gradients(model, lambda: [run().logits]), torch.rand(1)

    whole, drawn = learnt(lambda: model(**batch))
    narrow, drawn_too = learnt(lambda: stand_in(**batch, **states))
    assert len(whole) == len(narrow)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(whole, narrow, strict=True))
    assert torch.equal(drawn, drawn_too)


def test_the_model_itself_stays_whole(texts: Encoded) -> None:
    model = frozen("bert", "classes", 2)
    batch = texts.batch(ROWS, "cpu")
    before = model(**batch).logits
    stand_in = shortened(model, find_cut(model, 2, texts, "cpu"))
    stand_in(**batch, **{STATES: torch.zeros(len(ROWS), max(LENGTHS), 16)})
    assert torch.equal(model(**batch).logits, before)


def test_a_classifier_with_every_block_frozen_is_nothing_but_its_head(texts: Encoded) -> None:
    cut = find_cut(frozen("bert", "classes", 3), 3, texts, "cpu")
    assert cut.head == ("bert.pooler", "dropout", "classifier")
    assert isinstance(shortened(frozen("bert", "classes", 3), cut), HeadOnly)


def test_dropout_between_the_modules_of_a_head_is_noticed(texts: Encoded) -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = frozen("bert", "classes", 3)

        def forward(self, **inputs: Any) -> Any:
            output = self.bert(**inputs)
            # Off in eval mode, where it would go unnoticed.
            output.logits = nn.functional.dropout(output.logits, 0.5, self.training)
            return output

    assert find_cut(Dropping(), 3, texts, "cpu").head == ()


def test_a_model_whose_blocks_share_more_than_states_is_not_cut(texts: Encoded) -> None:
    with pytest.raises(NoCut, match="puts out something else when its frozen part is left out"):
        find_cut(frozen("xlnet", "classes", 2), 2, texts, "cpu")


def test_positions_that_only_the_first_block_knows_are_missed(texts: Encoded) -> None:
    with pytest.raises(NoCut):
        find_cut(frozen("t5", "tokens", 2), 2, texts, "cpu")


def test_what_feeds_frozen_blocks_must_not_be_trained(texts: Encoded) -> None:
    model = frozen("bert", "classes", 2)
    model.bert.embeddings.LayerNorm.requires_grad_(True)  # type: ignore[union-attr]
    with pytest.raises(NoCut, match="something that feeds its frozen blocks is trained"):
        find_cut(model, 2, texts, "cpu")


def test_proving_a_cut_moves_no_statistics() -> None:
    class Images(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(1, 4, 3)
            self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(3)))
            self.head = nn.Linear(4, 2)

        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.head(self.blocks(self.stem(pixel_values)).mean((2, 3)))}

    model = Images()
    freeze(model, 2)
    images = Encoded(inputs={"pixel_values": list(torch.rand(8, 1, 12, 12))}, padding={})
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    cut = find_cut(model, 2, images, "cpu")
    assert (cut.form, cut.shape) == ("example", (4, 6, 6))
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())

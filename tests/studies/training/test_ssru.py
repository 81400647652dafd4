from __future__ import annotations

import torch

from studies.training.ssru import SsruConfig, SsruTranslator


def translator() -> SsruTranslator:
    torch.manual_seed(0)
    config = SsruConfig(vocab_size=30, hidden_size=16, inner_size=16, heads=2, eos_token_id=0, pad_token_id=0)
    model = SsruTranslator(config)
    model.train(False)
    return model


def test_padding_of_the_source_does_not_change_the_logits() -> None:
    model, written = translator(), torch.tensor([[0, 4, 5]])
    short = model(torch.tensor([[3, 4, 0]]), torch.ones(1, 3), written).logits
    padded = model(torch.tensor([[3, 4, 0, 9, 9]]), torch.tensor([[1, 1, 1, 0, 0]]), written).logits
    assert torch.allclose(short, padded, atol=1e-5)


def test_writing_token_by_token_is_what_reading_all_at_once_foretells() -> None:
    model, source = translator(), torch.tensor([[3, 4, 0], [7, 8, 0]])
    with torch.no_grad():
        ids = model.generate(source, torch.ones_like(source), max_new_tokens=6)
        inputs = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1)
        logits = model(source, torch.ones_like(source), inputs).logits
    assert ids.shape == (2, 6)
    assert torch.equal(logits.argmax(dim=-1), ids)


def test_it_is_trained_without_dropout_unless_some_is_asked_for() -> None:
    model, source, written = translator(), torch.tensor([[3, 4, 0]]), torch.tensor([[0, 4, 5]])
    expected = model(source, torch.ones_like(source), written).logits
    model.train()
    assert torch.equal(model(source, torch.ones_like(source), written).logits, expected)

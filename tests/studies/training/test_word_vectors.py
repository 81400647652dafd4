from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from studies import word_vector_mlp, word_vector_rnn
from studies.definition import DataSpec, Definition
from studies.errors import TrialFailure
from studies.training.word_vectors import Kind, WordVectorClassifier, WordVectorConfig, word_tokenizer
from tests.studies.conftest import Write
from tests.studies.training.conftest import train_tiny

VECTORS = "layers.0.inner.weight"


@pytest.mark.parametrize("definition", [word_vector_mlp.DEFINITION, word_vector_rnn.DEFINITION], ids=lambda entry: entry.task)
def test_it_learns_with_the_vectors_frozen(
    definition: Definition, fake_glove: str, write: Write, examples: list[tuple[str, str]], tmp_path: Path
) -> None:
    data = DataSpec(train=write("rows.csv", examples), validation=0.25)
    outcome = train_tiny(definition, fake_glove, data, tmp_path, batch_size=16, epochs=6, hidden_size=16, learning_rate=0.02)
    assert outcome.values["accuracy"] > 0.9
    assert [answer["label"] for answer in definition.predict(tmp_path / "model", ["the Dog is", "very blue"])] == [
        "animal",
        "colour",
    ]
    weights = load_file(tmp_path / "model" / "model.safetensors")[VECTORS]
    # The words of the table, the ones of the data among them, as they were: only [PAD] and [UNK] are added.
    assert weights.shape == (19, 50) and float(weights[:2].abs().sum()) == 0
    assert float(weights[2:].abs().sum()) > 0 and outcome.details["trained_parameters"] < weights.numel() * 10
    again = train_tiny(definition, str(tmp_path / "model"), data, tmp_path / "again", epochs=1, hidden_size=16)
    assert torch.equal(load_file(tmp_path / "again" / "model" / "model.safetensors")[VECTORS], weights)
    assert again.values["accuracy"] > 0.9


@pytest.mark.parametrize("kind", ["mlp", "rnn"])
def test_padding_does_not_change_the_logits(kind: Kind) -> None:
    torch.manual_seed(0)
    model = WordVectorClassifier(WordVectorConfig(kind=kind, vocab_size=9, hidden_size=8))
    model.train(False)
    short, padded = torch.tensor([[3, 4]]), torch.tensor([[3, 4, 0, 0], [5, 6, 7, 8]])
    alone = model(short, torch.ones_like(short)).logits[0]
    assert torch.allclose(alone, model(padded, (padded > 0).long()).logits[0], atol=1e-6)
    assert model(torch.zeros(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)).logits.isfinite().all()


def test_words_are_small_letters_and_punctuation_marks() -> None:
    tokenizer = word_tokenizer(["the", "cat", "."], 4)
    assert tokenizer("The cat. zebra x", truncation=True)["input_ids"] == [2, 3, 4, 1]


def test_a_perceptron_is_no_recurrent_network(
    fake_glove: str, write: Write, examples: list[tuple[str, str]], tmp_path: Path
) -> None:
    data = DataSpec(train=write("rows.csv", examples), validation=0.25)
    train_tiny(word_vector_mlp.DEFINITION, fake_glove, data, tmp_path, epochs=1, hidden_size=4)
    with pytest.raises(TrialFailure, match="can't be loaded: it is a mlp, not a rnn") as caught:
        train_tiny(word_vector_rnn.DEFINITION, str(tmp_path / "model"), data, tmp_path / "b", epochs=1)
    assert caught.value.kind == "data"

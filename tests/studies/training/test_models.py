from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ResNetConfig,
    ResNetModel,
)

from studies.errors import TrialFailure
from studies.training.models import load_classifier, save_model


def load(
    reference: str, *, classes: Sequence[str] = ("no", "yes"), max_length: int = 16, dropout: float | None = None, seed: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    torch.manual_seed(seed)
    return load_classifier(reference, classes, max_length=max_length, dropout=dropout)


def weights(model: PreTrainedModel, name: str) -> Tensor:
    return model.get_parameter(f"{name}.weight")


def test_the_head_is_named_and_drawn_by_the_seed(tiny_model: str) -> None:
    model, tokenizer = load(tiny_model)
    assert model.config.id2label == {0: "no", 1: "yes"}
    assert tokenizer.model_max_length == 16
    assert torch.equal(weights(model, "classifier"), weights(load(tiny_model)[0], "classifier"))
    assert not torch.equal(weights(model, "classifier"), weights(load(tiny_model, seed=1)[0], "classifier"))


def test_the_models_own_weights_are_loaded(tiny_model: str) -> None:
    words = "embeddings.word_embeddings"
    saved = load_file(f"{tiny_model}/model.safetensors")[f"{words}.weight"]
    assert torch.equal(saved, weights(load(tiny_model)[0], f"bert.{words}"))


def test_dropout_replaces_every_rate(tiny_model: str) -> None:
    model, _ = load(tiny_model, dropout=0.25)
    rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.25}
    assert {module.p for module in load(tiny_model)[0].modules() if isinstance(module, torch.nn.Dropout)} == {0.1}


def test_a_model_that_can_not_be_had(tmp_path: Path) -> None:
    with pytest.raises(TrialFailure, match="model .* can't be loaded: model: .* has no config.json") as caught:
        load(str(tmp_path))
    assert caught.value.kind == "data"
    with pytest.raises(TrialFailure, match="model 'no-org/no-model' is not on this machine.* HF_HUB_OFFLINE=0") as caught:
        load("no-org/no-model")
    assert caught.value.kind == "data"


def test_a_model_that_reads_no_texts(tmp_path: Path) -> None:
    ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1])).save_pretrained(tmp_path)
    with pytest.raises(TrialFailure, match="it has no tokenizer, as models that read texts have") as caught:
        load(str(tmp_path))
    assert caught.value.kind == "data"


def test_a_model_without_a_head_for_the_task(tiny_model: str) -> None:
    with pytest.raises(
        TrialFailure, match=r"no head for this task \(AutoModelForSeq2SeqLM\); give one of another kind"
    ) as caught:
        load_classifier(tiny_model, (), max_length=16, dropout=None, head=AutoModelForSeq2SeqLM)
    assert caught.value.kind == "data"


def test_max_length_beyond_the_models_positions(tiny_model: str) -> None:
    with pytest.raises(TrialFailure, match="max_length is 33, but the model reads at most 32 tokens"):
        load(tiny_model, max_length=33)


def test_a_saved_model_replaces_the_one_before_and_loads_again(tiny_model: str, tmp_path: Path) -> None:
    model, tokenizer = load(tiny_model)
    folder = tmp_path / "model"
    for number in (1, 2):
        save_model(folder, model, tokenizer, {"number": number, "name": "é"})
    assert json.loads((folder / "tuner.json").read_text("utf-8")) == {"number": 2, "name": "é"}
    assert AutoTokenizer.from_pretrained(folder).model_max_length == 16
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(weights(loaded, "classifier"), weights(model, "classifier"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_fine_tuned_before_gets_a_head_of_the_right_size(tiny_model: str, tmp_path: Path) -> None:
    model, tokenizer = load(tiny_model)
    save_model(tmp_path / "model", model, tokenizer, {})
    again, _ = load(str(tmp_path / "model"), classes=["a", "b", "c"])
    assert weights(again, "classifier").shape[0] == 3

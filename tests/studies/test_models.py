from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studies import builtin
from studies.errors import InvalidInput
from studies.models import ModelFacts, model_facts, resolve
from studies.packages import Folder


def folder_with(folder: Path, config: dict[str, Any], **tokenizer: object) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").touch()
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return str(folder)


def error_of(reference: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        model_facts(str(reference))
    return str(caught.value)


def test_builtin_model() -> None:
    found = replace(model_facts("builtin:minilm"), trained_parameters=())
    assert found == ModelFacts(blocks=6, model_type="bert", hidden_size=384, max_positions=512)
    assert (Path(resolve("builtin:minilm")) / "config.json").is_file()


@pytest.mark.parametrize(
    ("config", "blocks"),
    [
        ({"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_positions": 1024}, 12),
        ({"model_type": "distilbert", "n_layers": 5, "dim": 64}, 5),
        ({"model_type": "bart", "encoder_layers": 4, "decoder_layers": 2}, 4),
        ({"model_type": "resnet"}, None),
        ({"model_type": "resnet", "depths": [2, 2, 2]}, 3),
        ({"model_type": "efficientnet", "num_block_repeats": [1, 2], "depth_coefficient": 1.4, "num_hidden_layers": 12}, 5),
    ],
)
def test_blocks_have_many_names(tmp_path: Path, config: dict[str, Any], blocks: int | None) -> None:
    assert model_facts(folder_with(tmp_path, config)).blocks == blocks


def test_the_tokenizer_may_allow_less_than_the_table_of_positions(tmp_path: Path) -> None:
    config = {"num_hidden_layers": 2, "max_position_embeddings": 514}
    assert model_facts(folder_with(tmp_path, config, model_max_length=512)).max_positions == 512


def test_relative_positions_have_no_table_that_could_end(tmp_path: Path) -> None:
    config = {"model_type": "t5", "num_layers": 2, "n_positions": 512, "relative_attention_num_buckets": 32}
    assert model_facts(folder_with(tmp_path, config)).max_positions is None


def test_a_hub_id_is_taken_as_it_is_and_unknown_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert resolve("org/some-model.v2") == "org/some-model.v2"
    assert model_facts("org/some-model.v2") == ModelFacts()


def test_facts_of_a_hub_model_come_from_the_local_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--org--name"
    folder_with(model / "snapshots" / "abc123", {"num_hidden_layers": 24})
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc123\n")
    assert model_facts("org/name").blocks == 24


def test_what_is_no_model_is_told_at_the_field(tmp_path: Path) -> None:
    assert error_of(tmp_path / "nowhere").startswith("model: there is no folder")
    assert "unknown built-in model 'x'" in error_of("builtin:x")
    assert "has no config.json" in error_of(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").touch()
    assert "has no safetensors weights" in error_of(tmp_path)
    assert "is a file; give the folder" in error_of(tmp_path / "config.json")
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("{")
    assert "config.json can't be read" in error_of(tmp_path)


def test_a_built_in_model_for_other_tasks_is_no_transformers_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    vectors = replace(builtin.MODELS["glove"], package=Folder(path=str(tmp_path), install="apt-get install it"), path="")
    monkeypatch.setattr(builtin, "MODELS", {"vectors": vectors})
    with pytest.raises(InvalidInput, match="'builtin:vectors' has no config.json, so it holds no transformers model"):
        model_facts("builtin:vectors")


def test_a_home_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match="model: '~nosuchuser/x' names the home folder of a user not known here"):
        resolve("~nosuchuser/x")

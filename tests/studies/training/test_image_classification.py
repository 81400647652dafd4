from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import EfficientNetConfig, EfficientNetForImageClassification, ViTConfig, ViTForImageClassification

from studies.definition import DataSpec
from studies.errors import InvalidInput, TrialFailure
from studies.image_classification import DEFINITION
from studies.training.image_classification import Pictures, decode, moved
from tests.studies.training.conftest import train_tiny

DIGITS = DataSpec(train="builtin:digits", validation=0.25, limit=400)
QUICK = {"learning_rate": 0.01, "batch_size": 32, "image_size": 8}


def test_it_learns_digits_and_starts_from_what_it_learned(tmp_path: Path) -> None:
    outcome = train_tiny(DEFINITION, "builtin:small-cnn", DIGITS, tmp_path, **QUICK, epochs=4, rotate=5.0, crop=0.05)
    assert outcome.values["accuracy"] > 0.7
    black = str([[0] * 8] * 8)
    assert len(DEFINITION.predict(tmp_path / "model", [black, black])) == 2
    before = load_file(tmp_path / "model" / "model.safetensors")
    frozen = {**QUICK, "learning_rate": 0.1, "frozen_layers": 2}
    train_tiny(DEFINITION, str(tmp_path / "model"), DIGITS, tmp_path / "b", **frozen, epochs=1)
    after = load_file(tmp_path / "b" / "model" / "model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    # Batch norm's running statistics stand still in what is frozen, too.
    assert same == {name for name in before if "stages.2" not in name and "classifier" not in name}
    assert any("stages.1" in name and "running_mean" in name for name in same)


def test_a_network_that_takes_one_size_of_pictures(tmp_path: Path) -> None:
    config = ViTConfig(
        image_size=8, patch_size=4, num_channels=1, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8
    )
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    data = DataSpec(train="builtin:digits", validation=0.25, limit=60)
    assert train_tiny(DEFINITION, str(tmp_path / "vit"), data, tmp_path, epochs=1).values["loss"] > 0
    with pytest.raises(TrialFailure, match="image_size is 28, but the model takes pictures of 8 pixels only"):
        train_tiny(DEFINITION, str(tmp_path / "vit"), data, tmp_path, epochs=1, image_size=28)


def test_a_convolutional_network_takes_any_size_and_its_frozen_blocks_stand_still(tmp_path: Path) -> None:
    config = EfficientNetConfig(
        image_size=64, in_channels=[32, 16, 24], out_channels=[16, 24, 40], kernel_sizes=[3, 3, 3], strides=[1, 2, 2],
        num_block_repeats=[1, 2, 2], expand_ratios=[1, 2, 2], width_coefficient=0.25, depth_coefficient=1.0, hidden_dim=320,
    )  # fmt: skip
    EfficientNetForImageClassification(config).save_pretrained(tmp_path / "net")
    assert DEFINITION.model_facts(str(tmp_path / "net")).blocks == 5
    data = DataSpec(train="builtin:digits", validation=0.25, limit=60)
    train_tiny(DEFINITION, str(tmp_path / "net"), data, tmp_path, epochs=1, image_size=16, frozen_layers=3)
    before, after = load_file(tmp_path / "net" / "model.safetensors"), load_file(tmp_path / "model" / "model.safetensors")
    moved = {
        name.rpartition("blocks.")[2][0] for name in before if "blocks" in name and not torch.equal(before[name], after[name])
    }
    assert moved == {"3", "4"}


def test_picture_files_and_sizes() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), (255, 0, 0)).save(buffer, "png")
    picture = "file:" + base64.b64encode(buffer.getvalue()).decode()
    assert decode(picture).shape == (3, 2, 4)
    tensor = Pictures(image_size=6, channels=3).encode([picture]).inputs["pixel_values"][0]
    assert tensor.shape == (3, 6, 6) and tensor[:, 0, 0].tolist() == [1.0, -1.0, -1.0]
    assert Pictures(image_size=2, channels=1).encode([picture]).inputs["pixel_values"][0].shape == (1, 2, 2)
    with pytest.raises(InvalidInput, match="a file is no picture"):
        decode("file:" + base64.b64encode(b"no picture").decode())


def test_pictures_of_several_sizes_keep_their_order() -> None:
    flat, tall = (f"{shape}:{base64.b64encode(bytes(range(12))).decode()}" for shape in ("3x4", "4x3"))
    pictures = Pictures(image_size=6, channels=1)
    together = pictures.encode([flat, flat, tall, flat]).inputs["pixel_values"]
    alone = [pictures.encode([picture]).inputs["pixel_values"][0] for picture in (flat, flat, tall, flat)]
    assert torch.allclose(torch.stack(list(together)), torch.stack(alone))
    assert not torch.allclose(together[1], together[2])


def test_pictures_are_moved_turned_and_scaled_within_bounds() -> None:
    torch.manual_seed(0)
    pixels = torch.full((4, 1, 9, 9), -1.0)
    pixels[:, :, 4, 4] = 1.0
    assert moved(pixels, 0, 0, 0) is pixels
    # The middle stays the middle under turns and scales.
    assert torch.allclose(moved(pixels, 0, 90, 0)[:, 0, 4, 4], torch.ones(4), atol=1e-4)
    shifted = moved(pixels, 0.3, 0, 0)
    assert shifted.min() >= -1.001 and len({int(picture.argmax()) for picture in shifted}) > 1
    assert torch.allclose(moved(torch.full((2, 1, 9, 9), -1.0), 0.2, 30, 0.2), torch.full((2, 1, 9, 9), -1.0))

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EfficientNetConfig, EfficientNetModel

from studies.builtin import MODELS
from studies.errors import InvalidInput
from studies.training import convert
from studies.training.convert import efficientnet_named, folder_of, onnx_weights, open_gates, read_marian


def write_marian(path: Path, items: Mapping[str, tuple[int, tuple[int, ...], bytes]]) -> None:
    """Items by name: kind, shape and data."""
    headers = [(len(name) + 1, kind, len(shape), len(data)) for name, (kind, shape, data) in items.items()]
    content = struct.pack("<QQ", 1, len(items)) + b"".join(struct.pack("<QQQQ", *header) for header in headers)
    content += b"".join(name.encode() + b"\0" for name in items)
    content += b"".join(struct.pack(f"<{len(shape)}i", *shape) for _, shape, _ in items.values())
    path.write_bytes(content + struct.pack("<Q", 3) + b"\0" * 3 + b"".join(data for _, _, data in items.values()))


def test_eight_bit_matrices_are_divided_and_turned(tmp_path: Path) -> None:
    eight = np.array([2, 4, 6, 8, 10, 12], np.int8).tobytes() + struct.pack("<f", 2.0)
    write_marian(
        tmp_path / "m.bin",
        {
            "Wemb": (0x4101, (3, 2), eight),
            "encoder_l1_self_Wq": (0x4101, (3, 2), eight),
            "encoder_l1_self_Wq_QuantMultA": (0x404, (1, 1), b"\0" * 4),
            "encoder_l1_self_bq": (0x404, (1, 2), np.array([1, 2], np.float32).tobytes()),
        },
    )
    tensors = read_marian(tmp_path / "m.bin")
    assert set(tensors) == {"Wemb", "encoder_l1_self_Wq", "encoder_l1_self_bq"}
    assert tensors["Wemb"].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert tensors["encoder_l1_self_Wq"].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert torch.equal(tensors["encoder_l1_self_bq"], torch.tensor([[1.0, 2.0]]))


def test_a_model_is_converted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[Path] = []

    def converter(package: Path, folder: Path) -> None:
        made.append(folder)
        folder.mkdir()

    monkeypatch.setattr(convert, "_CONVERTERS", {"minilm": converter})
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    assert folder_of("builtin:minilm") == folder_of("builtin:minilm") == str(tmp_path / "converted" / "minilm")
    assert len(made) == 1


def test_matrices_get_the_name_of_the_bias_they_meet() -> None:
    constants = {
        "onnx::MatMul_7": np.array([[1, 2]], np.float32),
        "a.bias": np.ones(2, np.float32),
        "scale": np.full(1, 2, np.float32),
    }
    nodes = [
        SimpleNamespace(op_type="MatMul", input=["x", "onnx::MatMul_7"], output=["y"]),
        SimpleNamespace(op_type="MatMul", input=["y", "x"], output=["z"]),
        SimpleNamespace(op_type="Add", input=["a.bias", "y"], output=["w"]),
        SimpleNamespace(op_type="Add", input=["z", "w"], output=["v"]),
    ]
    found = onnx_weights(nodes, constants)
    assert set(found) == {"a.weight", "a.bias", "scale"}
    assert found["a.weight"].tolist() == [[1], [2]]


def test_an_efficientnet_without_gates_under_the_names_of_one_with_gates() -> None:
    model = EfficientNetModel(EfficientNetConfig(width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=16))
    state = model.state_dict()
    block = (
        "_expand_conv.weight",
        "_bn0.bias",
        "_depthwise_conv.weight",
        "_bn1.running_var",
        "_project_conv.weight",
        "_bn2.weight",
    )
    names = ["_conv_stem.weight", "_bn0.weight", "_conv_head.weight", "_bn1.weight", *(f"_blocks.1.{name}" for name in block)]
    found = efficientnet_named({name: torch.zeros(1) for name in [*names, "_fc.weight"]})
    assert len(found) == len(names) and set(found) <= set(state)
    model.load_state_dict(state | open_gates(model))
    gate: Any = model.encoder.blocks[0].squeeze_excite
    pixels = torch.randn(2, 8, 4, 4)
    assert torch.equal(gate(pixels), pixels)
    assert torch.autograd.grad(gate(pixels).sum(), gate.expand.bias)[0].abs().max() == 0


def test_a_pickle_that_is_not_the_known_one_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(b"anything")
    with pytest.raises(InvalidInput, match="is not the file that its package shipped"):
        convert._CONVERTERS["efficientnet-lite0"](tmp_path, tmp_path / "made")


def test_what_was_made_in_another_form_is_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("studies.builtin.converted", lambda: tmp_path)
    entry = MODELS["marian-en-pt"]
    assert (entry.made, replace(entry, form=1).made) == (tmp_path / "marian-en-pt-2", tmp_path / "marian-en-pt")

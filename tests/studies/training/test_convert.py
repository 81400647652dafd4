from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from studies.training import convert
from studies.training.convert import folder_of, read_marian


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

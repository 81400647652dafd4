from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy
import pyarrow
import pytest
from pyarrow import parquet

from studies.builtin import MODELS
from tests.hub import Hub, serving

Write = Callable[[str, Sequence[tuple[str, str]]], str]

# A tiny encoder has no knowledge of words: each class is told by one of them.
WORDS = {"animal": ("cat", "dog", "horse"), "colour": ("red", "green", "blue"), "number": ("one", "two", "three")}
FILLERS = ("the", "a", "very", "is", "and", "of", "it", "so")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes (text, label) rows as csv or jsonl, whichever the name ends with, and gives the path."""

    def write_rows(name: str, rows: Sequence[tuple[str, str]]) -> str:
        path = tmp_path / name
        with path.open("w", encoding="utf-8", newline="") as file:
            if name.endswith(".csv"):
                csv.writer(file).writerows([("text", "label"), *rows])
            else:
                file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
        return str(path)

    return write_rows


@pytest.fixture
def examples() -> list[tuple[str, str]]:
    """180 short texts of 3 classes and of different lengths."""
    rows = []
    for index in range(180):
        label = sorted(WORDS)[index % 3]
        filler = " ".join(FILLERS[: index % 8])
        rows.append((f"{filler} {WORDS[label][index // 3 % 3]} {FILLERS[index % 5]}".strip(), label))
    return rows


@pytest.fixture
def fake_glove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """`builtin:glove` as a table of our few words, each group of them in a direction of its own."""
    folder = tmp_path / "glove" / "data"
    folder.mkdir(parents=True)
    words = [*FILLERS, *(word for group in WORDS.values() for word in group)]
    table = numpy.random.default_rng(0).normal(0, 0.1, (len(words), 50)).astype(numpy.float32)
    for place, group in enumerate(WORDS.values()):
        for word in group:
            table[words.index(word), place] += 1
    numpy.save(folder / "vectors.npy", table)
    parquet.write_table(pyarrow.table({"index": words}), folder / "words.parquet")
    monkeypatch.setattr(type(MODELS["glove"].package), "folder", lambda self: folder.parent)
    return "builtin:glove"


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that may be asked, and an empty cache."""
    with serving() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # read when it was imported
        yield hub

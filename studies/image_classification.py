"""The task `image-classification`: a picture in, one of a fixed set of labels out."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studies.definition import DataFacts, DataSpec, Definition, Hyperparameter, Job, Keep, Outcome, Report
from studies.dividing import refuse
from studies.hyperparameters import CLASS_WEIGHTS, TRANSFORMER, with_defaults
from studies.labelled_texts import Example, facts
from studies.labelled_texts import read as read_labelled
from studies.sources import Row
from studies.splits import Splits

COLUMNS: Mapping[str, str] = {"image": "image", "label": "label"}
# A picture as a text: `28x28:` (or `28x28x3:`) and its pixels, 0 … 255 row by row, or `file:` and the bytes of a png or jpeg
# file; both in base64.
_WRITTEN = re.compile(r"(\d+x\d+(x\d+)?|file):[A-Za-z0-9+/]+=*")


def read(data: DataSpec, seed: int) -> tuple[Splits[Example], tuple[str, ...]]:
    """The splits, pictures written as texts, and the classes. Raises InvalidInput.

    A picture is a list of rows of pixels (0 … 255; a colour pixel is a list of three), the path of a png or jpeg file beside
    the file that names it, or what the Hugging Face hub's parquet files have: `{"bytes": …}`.
    """
    return read_labelled(data, seed, COLUMNS, _pictures)


def inspect(data: DataSpec, seed: int) -> DataFacts:
    """What the data holds. The baseline is what the best answer that ignores the picture would score in validation."""
    return facts(*read(data, seed))


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    from studies.training import loop
    from studies.training.image_classification import prepare

    return loop.train(prepare, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The most probable label of each picture, a path or a JSON list of rows of pixels, and its probability (0 … 1)."""
    from studies.training.image_classification import predict as run

    return run(folder, inputs)


def written(raw: Any, folder: Path | None) -> str | None:
    """A picture as a text, or None where `raw` is none. Paths count from `folder` and may not leave it; None: no paths."""
    if isinstance(raw, Mapping):
        raw = raw.get("bytes")
    if isinstance(raw, bytes):
        return f"file:{base64.b64encode(raw).decode()}"
    if isinstance(raw, str):
        if _WRITTEN.fullmatch(raw):
            return raw
        path = None if folder is None else (folder / raw).resolve()
        inside = path is not None and folder is not None and path.is_relative_to(folder.resolve()) and path.is_file()
        return f"file:{base64.b64encode(path.read_bytes()).decode()}" if path and inside else None
    return _pixels(raw) if isinstance(raw, list | tuple) else None


def _pixels(rows: Sequence[Any]) -> str | None:
    try:
        colours = isinstance(rows[0][0], list | tuple)
        flat = [value for row in rows for pixel in row for value in (pixel if colours else (pixel,))]
        shape = [len(rows), len(rows[0]), *([len(rows[0][0])] if colours else [])]
        pixels = bytes(int(value) for value in flat)
    except (IndexError, TypeError, ValueError):
        return None
    fits = len(pixels) == shape[0] * shape[1] * (shape[2] if colours else 1) > 0
    return f"{'x'.join(map(str, shape))}:{base64.b64encode(pixels).decode()}" if fits else None


def _pictures(rows: Sequence[Row]) -> list[str]:
    pictures = [written(row.values["image"], row.folder) for row in rows]
    wrong = [row for row, picture in zip(rows, pictures, strict=True) if picture is None]
    refuse("data.columns.image", "no picture (rows of pixels 0 … 255, or a png or jpeg file beside the data)", wrong)
    return [picture for picture in pictures if picture is not None]


def _share(name: str, help: str, high: float) -> Hyperparameter:
    return Hyperparameter(name=name, kind="float", default=0.0, low=0, high=high, help=help)


DEFINITION = Definition(
    task="image-classification",
    title="Image classification: one of a fixed set of labels for each picture",
    metrics={"accuracy": "maximize", "macro_f1": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(
        *with_defaults(TRANSFORMER, learning_rate=0.001, batch_size=64, epochs=5),
        CLASS_WEIGHTS,
        Hyperparameter(
            name="image_size",
            kind="int",
            default=None,
            low=8,
            high=1024,
            help="Pixels on each side; not given: what the model was trained on, or 28.",
        ),
        _share("crop", "Training pictures are moved by up to this share of their size.", 0.5),
        _share("rotate", "Training pictures are turned by up to so many degrees either way.", 180),
        _share("scale", "Training pictures are made larger or smaller by up to this share.", 0.9),
    ),
    default_space={
        "learning_rate": {"min": 1e-4, "max": 3e-2, "log": True},
        "batch_size": {"values": [16, 32, 64, 128]},
        "epochs": {"min": 2, "max": 10},
        "weight_decay": {"min": 1e-5, "max": 1e-1, "log": True},
        "rotate": {"min": 0.0, "max": 20.0},
        "scale": {"min": 0.0, "max": 0.2},
        "crop": {"min": 0.0, "max": 0.15},
    },
    inspect=inspect,
    train=train,
    predict=predict,
)

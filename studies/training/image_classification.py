"""Image classification for the training loop: a small network of our own, or any that transformers has a head for.

Pictures are brought to one size once; crops, turns and scales of training pictures are one affine map on the device.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModelForImageClassification, PreTrainedConfig, PreTrainedModel, ResNetConfig

from studies.definition import Job
from studies.errors import InvalidInput, TrialFailure
from studies.image_classification import read, written
from studies.training.convert import folder_of
from studies.training.data import Encoded
from studies.training.models import load_body, load_trained
from studies.training.predict import BATCH_SIZE, compute_logits, quietly
from studies.training.settings import Settings
from studies.training.task import Batch, Task, unchanged
from studies.training.text_classification import classifier_task, labelled

SMALL_CNN = "builtin:small-cnn"
_FILE = "preprocessor_config.json"
_AT_ONCE = 64  # pictures that are sized together: one at a time is mostly overhead, all would need memory for them unsized


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Turns pictures into tensors; kept with the model."""

    image_size: int  # pixels on each side
    channels: int

    def save_pretrained(self, save_directory: str | Path) -> None:
        (Path(save_directory) / _FILE).write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")

    def encode(self, pictures: Sequence[str], targets: dict[str, list[Tensor]] | None = None) -> Encoded:
        """Pictures, written as texts, as [channels, size, size], -1 (black) … 1."""
        found: list[Tensor] = []
        for start in range(0, len(pictures), _AT_ONCE):
            decoded = [decode(picture) for picture in pictures[start : start + _AT_ONCE]]
            for _, alike in groupby(decoded, key=lambda pixels: pixels.shape):
                found.extend(self._sized(torch.stack(list(alike))))
        return Encoded(inputs={"pixel_values": found}, padding={}, targets=targets or {})

    def _sized(self, pixels: Tensor) -> Tensor:
        """[pictures, any channels, height, width], 0 … 255, as [pictures, channels, size, size]."""
        pixels = pixels.float()
        if self.channels == 1 and pixels.shape[1] > 1:
            pixels = pixels.mean(dim=1, keepdim=True)
        pixels = pixels.expand(-1, self.channels, -1, -1)
        size = (self.image_size, self.image_size)
        if pixels.shape[-2:] != size:
            pixels = functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return pixels / 127.5 - 1


def prepare(job: Job, settings: Settings) -> Task:
    """The data, the model with a new head, and both splits as tensors. Raises InvalidInput and TrialFailure."""
    quietly()
    splits, classes = read(job.data, job.data_seed)
    config = _config(job.model)
    pictures = Pictures(image_size=_size(config, settings), channels=getattr(config, "num_channels", 3))
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    if job.model == SMALL_CNN:
        model: PreTrainedModel = AutoModelForImageClassification.from_config(config)  # type: ignore[no-untyped-call]
    else:
        model = load_body(job.model, config, AutoModelForImageClassification, settings.dropout)

    def augment(batch: Batch) -> Batch:
        own = settings.own
        return {"pixel_values": moved(batch["pixel_values"], own["crop"], own["rotate"], own["scale"])}

    moves = any(settings.own[name] for name in ("crop", "rotate", "scale"))
    change = augment if moves else unchanged
    return classifier_task(model, pictures, splits, classes, settings, pictures.encode, augment=change, readable=False)


def predict(folder: Path, inputs: Sequence[str]) -> list[dict[str, Any]]:
    """The most probable label of each picture, and its probability (0 … 1), by the model that a trial left in `folder`."""
    if not inputs:
        return []
    quietly()
    pictures = Pictures(**json.loads((folder / _FILE).read_text("utf-8")))
    model = load_trained(folder, AutoModelForImageClassification)
    return labelled(model, compute_logits(model, pictures.encode([_given(raw) for raw in inputs]), BATCH_SIZE, "cpu"))


def decode(picture: str) -> Tensor:
    """A written picture as [channels, height, width], 0 … 255. Raises InvalidInput for a file that is no picture."""
    shape, _, content = picture.partition(":")
    raw = base64.b64decode(content)
    if shape != "file":
        pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8).reshape([int(side) for side in shape.split("x")])
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    try:
        from PIL import Image
    except ImportError:
        raise InvalidInput.at("data.columns.image", "reading picture files needs: pip install pillow") from None
    try:
        image = Image.open(io.BytesIO(raw)).convert("RGB")
    except OSError as error:
        raise InvalidInput.at("data.columns.image", f"a file is no picture: {error}") from None
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(image.height, image.width, 3).permute(2, 0, 1)


def moved(pixels: Tensor, crop: float, rotate: float, scale: float) -> Tensor:
    """Each of `pixels` [pictures, channels, height, width] moved (share), turned (degrees) and scaled (share) at random.

    What comes in from outside is black. Draws from torch's random state, and only if there is something to draw.
    """
    if crop == rotate == scale == 0:
        return pixels
    angle, factor, right, down = (torch.rand(4, len(pixels)) * 2 - 1).to(pixels.device)
    angle, factor = angle * math.radians(rotate), 1 + factor * scale
    cosine, sine = angle.cos() / factor, angle.sin() / factor
    # Coordinates run from -1 to 1, so a share of the size is twice as much of them.
    top, bottom = torch.stack([cosine, -sine, right * crop * 2], dim=1), torch.stack([sine, cosine, down * crop * 2], dim=1)
    grid = functional.affine_grid(torch.stack([top, bottom], dim=1), list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels + 1, grid, align_corners=False) - 1


def _given(raw: str) -> str:
    path = Path(raw)
    picture = written(json.loads(raw), None) if raw.startswith("[") else written(path.name, path.parent)
    if picture is None:
        raise InvalidInput.at("input", f"{raw[:60]!r} is no png or jpeg file, nor a JSON list of rows of pixels")
    return picture


def _config(reference: str) -> PreTrainedConfig:
    if reference == SMALL_CNN:
        return ResNetConfig(num_channels=1, embedding_size=16, hidden_sizes=[16, 32, 64], depths=[1, 1, 1], layer_type="basic")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder_of(reference), trust_remote_code=False)
    except (InvalidInput, OSError, ValueError) as error:
        raise TrialFailure("data", f"model {reference!r} can't be loaded: {error}") from error
    return config


def _size(config: PreTrainedConfig, settings: Settings) -> int:
    of_model, wanted = getattr(config, "image_size", None), settings.own["image_size"]
    # One that cuts pictures into patches has a place for each; convolutions take any size.
    if isinstance(of_model, int) and hasattr(config, "patch_size") and wanted not in (None, of_model):
        raise TrialFailure("data", f"image_size is {wanted}, but the model takes pictures of {of_model} pixels only")
    return int(wanted or of_model or 28)

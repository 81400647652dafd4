"""Where a trial's numbers come from: seeds, data, model, packages and machine; enough to get the same numbers again.

Seeds form a tree: a study's seed divides the data and draws configurations; from it and a trial's number comes the seed of
that trial (head, batch order, dropout, augmentation), which each of its attempts uses, so that one that is taken up again goes on
as if it had not been interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from studies.builtin import PREFIX
from studies.definition import DataSpec, Job
from studies.errors import InvalidInput
from studies.models import resolve
from studies.splits import Splits
from studies.training.convert import folder_of
from studies.training.store import Store

_PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "scikit-learn", "numpy", "sacrebleu", "peft", "tuner")
# What a job says of the machine and the moment, not of what is computed.
_PASSING = ("folder", "resume", "shared", "shared_bytes")


def origin(job: Job, splits: Splits[Any]) -> dict[str, Any]:
    """All of it, as JSON can hold it; `job` is what `job_of` reads."""
    return {
        "job": recipe(job) | {"fingerprint": splits.fingerprint()},
        "seeds": {"data": job.data_seed, "trial": job.seed},
        "data": {
            name: {"rows": len(getattr(splits, name)), "fingerprint": fingerprint}
            for name, fingerprint in splits.fingerprints().items()
        },
        "model": {"reference": job.model, "revision": revision(job.model, job.shared)},
        "hardware": _hardware(job),
        "determinism": {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "flush_denormal": True,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        },
        "versions": {"python": platform.python_version()} | _versions(),
    }


def recipe(job: Job) -> dict[str, Any]:
    """What decides a trial's numbers, without what only one machine or moment has."""
    plain = {name: value for name, value in asdict(job).items() if name not in _PASSING}
    defaults = asdict(DataSpec(train=""))
    data = {name: value for name, value in plain["data"].items() if value != defaults[name]}
    return plain | {"data": data, "legs": list(job.legs)}


def job_of(recipe: Mapping[str, Any], folder: Path) -> Job:
    """The job of a recipe, to be trained in `folder`. Raises InvalidInput where it is none."""
    try:
        given = dict(recipe) | {"data": DataSpec(**recipe["data"]), "legs": tuple(recipe.get("legs", ())), "folder": folder}
        return Job(**given)
    except (KeyError, TypeError) as error:
        raise InvalidInput.at("job", f"is not what a trial keeps of its job: {error}") from None


def revision(reference: str, shared: Path | None = None) -> str | None:
    """The commit of a hub model, or the sha256 of a local one's weights; None where there are none.

    What was read once is remembered in the folder `shared` for as long as the files stay the same.
    """
    try:
        folder = Path(folder_of(reference))
    except InvalidInput:
        return None
    if not reference.startswith(PREFIX) and not Path(resolve(reference)).is_dir():
        return folder.name  # as the hub's cache names it
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.npy"))
    return f"sha256:{_sha256_once(weights, shared)}" if weights else None


def _sha256_once(files: Sequence[Path], shared: Path | None) -> str:
    """A trial's process is new, but the weights are mostly those of the trial before."""
    if shared is None:
        return _sha256(files)
    which = [(str(file), status.st_size, status.st_mtime_ns, status.st_ino) for file in files for status in [file.stat()]]
    key = f"sha256-{hashlib.sha256(json.dumps(which).encode()).hexdigest()}"
    found = Store(folder=shared, limit=sys.maxsize).obtain(key, 64, lambda file: _write(file, _sha256(files)))
    return found[0].read_text("ascii") if found else _sha256(files)


def _write(file: Path, text: str) -> None:
    file.write_text(text, "ascii")


def _sha256(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for name in files:
        with name.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _hardware(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = {"machine": platform.machine(), "system": platform.system(), "cores": os.cpu_count()}
    found |= {"threads": job.threads, "device": job.device, "capability": torch.backends.cpu.get_cpu_capability()}
    if job.device != "cpu" and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from studies.definition import Keep, Verdict
from studies.errors import InvalidInput
from studies.labelled_texts import read
from studies.text_classification import DEFINITION
from studies.training.provenance import job_of, origin, recipe, revision
from tests.studies.training.conftest import MakeJob


def test_a_recipe_gives_the_same_metrics_again(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(epochs=1, job_seed=7)
    first = DEFINITION.train(job, lambda metrics: Verdict(), Keep())
    kept = json.loads(json.dumps(first.details["job"]))
    again = DEFINITION.train(job_of(kept, tmp_path / "again"), lambda metrics: Verdict(), Keep())
    assert again.values == first.values
    assert again.details["job"] == first.details["job"]


def test_a_recipe_speaks_of_no_folder_of_this_machine(make_job: MakeJob, tmp_path: Path) -> None:
    kept = recipe(make_job())
    assert not {"folder", "resume", "shared"} & set(kept)
    assert set(kept["data"]) == {"train", "validation"}
    assert job_of(kept, tmp_path) == replace(make_job(), folder=tmp_path)


@pytest.mark.parametrize("recipe", [{}, {"data": {"train": "x"}, "task": "t"}, {"data": {"rows": 1}}])
def test_what_is_no_recipe_is_refused(recipe: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="job: is not what a trial keeps"):
        job_of(recipe, tmp_path)


def test_origin_names_everything_that_decides_the_numbers(make_job: MakeJob) -> None:
    job = make_job(job_seed=3)
    splits, _ = read(job.data, job.data_seed)
    found = origin(job, splits)
    assert found["seeds"] == {"data": 0, "trial": 3}
    assert {name: split["rows"] for name, split in found["data"].items()} == {"train": 135, "validation": 45, "test": 0}
    assert len({split["fingerprint"] for split in found["data"].values()}) == 3
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0] or found["versions"]["torch"] == torch.__version__
    assert (found["hardware"]["device"], found["hardware"]["threads"]) == ("cpu", 1)
    assert json.loads(json.dumps(found)) == found


def test_a_local_models_revision_is_the_hash_of_its_weights(tiny_model: str, tmp_path: Path) -> None:
    before = revision(tiny_model)
    assert before is not None and before.startswith("sha256:")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"other")
    assert revision(str(tmp_path)) != before
    assert revision("no-org/no-model") is None and revision("builtin:nothing") is None


def test_weights_are_read_once_for_as_long_as_they_stay_the_same(tmp_path: Path, tiny_model: str) -> None:
    folder, shared = tmp_path / "model", tmp_path / "shared"
    shutil.copytree(tiny_model, folder)
    plain = revision(str(folder))
    assert revision(str(folder), shared) == plain
    (note,) = shared.glob("sha256-*[!k]")
    note.write_text("0" * 64)
    assert revision(str(folder), shared) == f"sha256:{'0' * 64}"
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert revision(str(folder), shared) == revision(str(folder)) != plain

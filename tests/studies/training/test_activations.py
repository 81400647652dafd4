from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from studies.definition import Job
from studies.labelled_texts import read
from studies.training.activations import Stored, Upper, above_prefix
from studies.training.cutting import STATES
from studies.training.data import Encoded, encode
from studies.training.freezing import freeze, prefix_blocks
from studies.training.models import load_classifier
from studies.training.store import Store
from tests.studies.training.conftest import MakeJob
from tests.studies.training.test_loop import Recorder, run

GIGABYTE = 10**9


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(folder=tmp_path / "activations", limit=GIGABYTE)


@pytest.fixture
def sharing(make_job: MakeJob, store: Store) -> Job:
    """A job of which two of three blocks are frozen, on a machine that keeps states."""
    return make_job(frozen_layers=2, job_shared=store.folder, job_shared_bytes=GIGABYTE)


def model_and_texts(job: Job, depth: int) -> tuple[nn.Module, Encoded]:
    splits, classes = read(job.data, 0)
    torch.manual_seed(0)
    model, tokenizer = load_classifier(job.model, classes, max_length=16, dropout=None)
    freeze(model, depth)
    return model, encode(tokenizer, [row.text for row in splits.train])


def cut(job: Job, depth: int, store: Store) -> Upper:
    model, texts = model_and_texts(job, depth)
    return above_prefix(model, texts, texts, store, "cpu")


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_losses_are_the_same_with_stored_states_and_without(make_job: MakeJob, store: Store, depth: int) -> None:
    plain, sharing = Recorder(), Recorder()
    job = make_job(frozen_layers=depth, epochs=3)
    without = run(job, plain)
    outcome = run(replace(job, shared=store.folder, shared_bytes=GIGABYTE), sharing)
    assert without.details["prefix"] == {"depth": 0, "whole": "this worker keeps no states"}
    assert outcome.details["prefix"]["depth"] == depth
    for one, other in zip(plain.reports, sharing.reports, strict=True):
        assert [metric.value for metric in one] == pytest.approx([metric.value for metric in other], abs=1e-5)


def test_the_second_trial_finds_what_the_first_computed(sharing: Job) -> None:
    first = run(sharing).details["prefix"]
    second = run(replace(sharing, seed=1)).details["prefix"]
    assert (first["found"], second["found"]) == (False, True)
    assert first["fill_seconds"] > second["fill_seconds"] == 0
    # Each of the two epochs would have computed it once.
    assert second["saved_seconds"] == pytest.approx(2 * first["fill_seconds"], abs=2e-3)


def test_whoever_goes_by_stored_states_leaves_the_same_model(sharing: Job) -> None:
    run(sharing)
    saved = load_file(sharing.folder / "model" / "model.safetensors")
    run(replace(sharing, shared=None))
    for name, tensor in load_file(sharing.folder / "model" / "model.safetensors").items():
        assert torch.allclose(saved[name], tensor, atol=1e-4), name


def test_states_are_packed_without_padding(sharing: Job, store: Store) -> None:
    _, texts = model_and_texts(sharing, 2)
    upper = cut(sharing, 2, store)
    assert isinstance(upper.training, Stored)
    assert upper.training.states.shape == (sum(texts.lengths), 32)
    # Training and validation are the same texts here, and two splits with the same content share one file.
    assert sum(file.stat().st_size for file in store.folder.glob("states-*")) == sum(texts.lengths) * 32 * 4 + 8


def test_with_every_block_frozen_one_state_is_kept_for_each_text(sharing: Job, store: Store) -> None:
    upper = cut(sharing, 3, store)
    assert isinstance(upper.training, Stored)
    assert list(upper.training.batch([3, 1, 2], "cpu")) == [STATES]
    assert upper.training.states.shape == (len(upper.training), 1, 32)
    # Nothing but the modules above the blocks is left to run.
    assert sum(parameter.numel() for parameter in upper.model.parameters()) == 32 * 32 + 32 + 3 * 32 + 3


def test_a_deeper_prefix_is_computed_from_a_shallower_one(sharing: Job, store: Store) -> None:
    direct = cut(sharing, 3, Store(folder=store.folder / "other", limit=GIGABYTE)).training
    cut(sharing, 1, store)
    model, texts = model_and_texts(sharing, 3)
    ran: list[int] = []
    for depth, block in enumerate(prefix_blocks(model)):
        block.attention.register_forward_hook(lambda module, inputs, output, depth=depth: ran.append(depth))  # type: ignore[union-attr]
    # What proves the cut runs the whole model; that it has been proved is on disk after the first time.
    above_prefix(model, texts, texts, Store(folder=store.folder, limit=store.limit), "cpu")
    store.find(next(file.name for file in store.folder.glob("states-*-first-float32")) or "").unlink()  # type: ignore[union-attr]
    ran.clear()
    upper = above_prefix(model, texts, texts, store, "cpu").training
    assert set(ran) == {1, 2}
    assert isinstance(upper, Stored) and isinstance(direct, Stored)
    assert torch.equal(upper.states, direct.states)


@pytest.mark.parametrize("change", ["weights", "embeddings", "texts", "depth"])
def test_other_content_has_other_states(sharing: Job, store: Store, change: str) -> None:
    cut(sharing, 2, store)
    model, texts = model_and_texts(sharing, 1 if change == "depth" else 2)
    if change == "weights":
        with torch.no_grad():
            prefix_blocks(model)[1].output.dense.bias[0] += 1  # type: ignore[union-attr, index, operator]
    if change == "embeddings":
        with torch.no_grad():
            model.get_input_embeddings().weight[-1, -1] += 1  # type: ignore[operator]
    if change == "texts":
        texts = replace(texts, inputs={name: [tensor[:-1] for tensor in tensors] for name, tensors in texts.inputs.items()})
    assert not above_prefix(model, texts, texts, store, "cpu").found


def test_the_head_that_is_drawn_anew_does_not_matter(sharing: Job, store: Store) -> None:
    cut(sharing, 2, store)
    model, texts = model_and_texts(sharing, 2)
    nn.init.normal_(model.classifier.weight)  # type: ignore[arg-type, union-attr]
    assert above_prefix(model, texts, texts, store, "cpu").found


def test_without_room_the_whole_model_runs(sharing: Job) -> None:
    outcome = run(replace(sharing, shared_bytes=20_000))
    assert outcome.details["prefix"]["whole"].startswith("its states take more than the 2e-05 GB that are allowed")
    assert outcome.values["accuracy"] > 0


def test_nothing_frozen_nothing_stored(make_job: MakeJob, store: Store) -> None:
    outcome = run(make_job(job_shared=store.folder, job_shared_bytes=GIGABYTE))
    assert outcome.details["prefix"] == {"depth": 0, "whole": "nothing is frozen"}
    assert [file for file in store.folder.iterdir() if file.name.startswith("states-")] == []

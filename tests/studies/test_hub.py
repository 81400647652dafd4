from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.errors import InvalidInput
from studies.hub import model_folder, pinned, repository, unpinned
from studies.models import model_facts
from tests.hub import Hub

MODEL = {"config.json": b'{"num_hidden_layers": 7}', "model.safetensors": b"weights", "onnx/model.onnx": b"of no use here"}


@pytest.fixture
def online(online: Hub) -> Hub:
    online.repositories["models/org/name"] = MODEL
    return online


def error_of(reference: str, where: str = "model") -> str:
    with pytest.raises(InvalidInput) as caught:
        pinned(reference, where)
    return str(caught.value)


def test_a_model_is_pinned_to_its_commit_and_stays_what_it_was(online: Hub) -> None:
    first = online.commit("models/org/name")
    reference = pinned("org/name", "model")
    assert reference == f"org/name@{first}" and unpinned(reference) == "org/name"
    assert model_facts(reference).blocks == 7
    online.repositories["models/org/name"] = MODEL | {"model.safetensors": b"others"}
    folder = model_folder(reference)
    assert (folder / "model.safetensors").read_bytes() == b"weights" and folder.name == first
    assert not (folder / "onnx").exists(), "only what transformers reads is downloaded"
    assert pinned(reference, "model") == reference
    assert pinned("org/name", "model") != reference


def test_a_revision_may_be_named(online: Hub) -> None:
    assert pinned("org/name@v1", "model") == f"org/name@{online.commit('models/org/name')}"
    assert "model: the model 'org/name' has no revision 'v7'" in error_of("org/name@v7")


def test_what_is_here_needs_no_hub(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = pinned("org/name", "model")
    model_folder(reference)
    asked = len(online.asked)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pinned("org/name", "model") in (reference, "org/name")
    assert (model_folder(reference) / "config.json").is_file()
    assert len(online.asked) == asked


def test_a_pinned_model_outlives_its_hub(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = pinned("org/name", "model")
    model_folder(reference)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert (model_folder(reference) / "model.safetensors").read_bytes() == b"weights"


def test_what_can_not_be_had_is_told_with_what_to_do(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"model: the model 'org/none' is not at {online.url}; if it is private, start" in error_of("org/none")
    online.gated.add("models/org/name")
    assert f"model: the model 'org/name' is gated: accept its terms at {online.url}/org/name" in error_of("org/name")
    assert "data.train: the data set 'org/none' is not at" in error_of("hf:org/none", "data.train")
    assert "data.train: 'hf:a/b/c/d' names no data set; write hf:org/name" in error_of("hf:a/b/c/d", "data.train")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "model: the model 'org/other' could not be had from http://127.0.0.1:9: " in error_of("org/other")


def test_without_downloads_a_model_that_is_not_here_is_left_to_the_workers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert pinned("org/name", "model") == "org/name"
    with pytest.raises(InvalidInput, match="'org/name' is not on this machine, and downloads are off; .*HF_HUB_OFFLINE=0"):
        model_folder("org/name")


def test_the_local_cache_tells_the_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--org--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "snapshots" / commit).mkdir(parents=True)
    (folder / "snapshots" / commit / "config.json").write_text(json.dumps({"num_hidden_layers": 3}))
    assert pinned("org/name", "model") == f"org/name@{commit}"
    assert model_facts(f"org/name@{commit}").blocks == model_facts("org/name").blocks == 3


@pytest.mark.parametrize("text", ["org/name", "name", "org/name@refs/convert/parquet", "org/na.me@0.1"])
def test_names_of_models(text: str) -> None:
    assert repository(text, "model") is not None


@pytest.mark.parametrize("text", ["", "a/b/c", "../up", "org/name@", "org /name", "/abs", "a@../b", "a@v/../../b", "a@/b"])
def test_what_is_no_name_of_a_model(text: str) -> None:
    assert repository(text, "model") is None

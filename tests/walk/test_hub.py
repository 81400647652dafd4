"""A study of a model and a data set of the Hugging Face hub: from the request to its trials, which all see the same commits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import Hub, serving
from tests.studies.conftest import FILLERS, WORDS
from tests.studies.training.conftest import write_tiny_model
from tests.walk.conftest import Spawn, connect, wait_until
from tuner.client import Client
from tuner.errors import Refused

pytestmark = [pytest.mark.walk, pytest.mark.xdist_group("walk")]

STUDY = {
    "name": "hub",
    "task": "text-classification",
    "model": "org/tiny",
    "data": {"train": "hf:org/words", "validation": "hf:org/words"},
    "parameters": {
        "learning_rate": {"min": 1e-3, "max": 5e-3},
        "batch_size": {"value": 16},
        "epochs": {"value": 1},
        "frozen_layers": {"min": 0, "max": "all"},
        "max_length": {"value": 16},
    },
    "sampler": {"name": "random"},
    "budget": {"trials": 2},
    "parallelism": 1,
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    write_tiny_model(tmp_path / "tiny")
    with serving() as hub:
        hub.repositories["models/org/tiny"] = {file.name: file.read_bytes() for file in (tmp_path / "tiny").iterdir()}
        hub.repositories["datasets/org/words"] = {
            "README.md": b"---\nlicense: mit\n---\n",
            "train.csv": rows(120, 0),
            "validation.csv": rows(40, 1),
        }
        yield hub


def rows(count: int, seed: int) -> bytes:
    draw = random.Random(seed)
    labels = [draw.choice(sorted(WORDS)) for _ in range(count)]
    lines = [f"{draw.choice(FILLERS)} {draw.choice(WORDS[label])} {draw.choice(FILLERS)},{label}" for label in labels]
    return "\n".join(["text,label", *lines]).encode()


def refusal(client: Client, **changes: object) -> dict[str, str]:
    with pytest.raises(Refused) as caught:
        client.post("/studies", {**STUDY, **changes})
    assert caught.value.status == 422
    return {error.field: error.message for error in caught.value.errors}


def test_all_trials_of_a_study_see_the_commits_that_it_was_posted_with(spawn: Spawn, home: Path, scratch: Path, hub: Hub) -> None:
    allowed = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url}
    spawn("serve", "--port", "0", HF_HOME=str(scratch / "service"), **allowed)
    with connect(home) as client:
        wrong = refusal(client, model="org/none", data={"train": "hf:org/nothing"})
        assert f"the model 'org/none' is not at {hub.url}" in wrong["model"] and "HF_TOKEN" in wrong["model"]
        assert f"the data set 'org/nothing' is not at {hub.url}" in wrong["data.train"]
        hub.gated.add("models/org/tiny")
        assert "is gated: accept its terms at" in refusal(client)["model"]
        hub.gated.clear()

        study = client.post("/studies", STUDY)
        model, data = hub.commit("models/org/tiny"), hub.commit("datasets/org/words")
        assert study["model"] == f"org/tiny@{model}" and study["data"]["train"] == f"hf:org/words@{data}"
        assert study["facts"]["blocks"] == 3 and study["facts"]["train_rows"] == 120

        # From here on both are others on the hub. A worker that has seen neither is to train on what was posted.
        hub.repositories["models/org/tiny"] = {"config.json": b'{"model_type": "bert", "num_hidden_layers": 1}'}
        hub.repositories["datasets/org/words"] = {"train.csv": rows(50, 7)}
        spawn("worker", TMPDIR=str(scratch), HF_HOME=str(scratch / "worker"), **allowed)
        wait_until(lambda: client.get("/studies/hub")["state"] == "completed", seconds=200)
        trials = client.get("/studies/hub/trials")["items"]
        assert [trial["state"] for trial in trials] == ["completed"] * 2, trials
        assert [trial["details"]["model"]["revision"] for trial in trials] == [model] * 2
        assert [trial["details"]["job"]["data"]["train"] for trial in trials] == [f"hf:org/words@{data}"] * 2


def test_a_worker_that_may_not_download_says_so(spawn: Spawn, home: Path, scratch: Path, hub: Hub) -> None:
    spawn("serve", "--port", "0", HF_HOME=str(scratch / "service"), HF_HUB_OFFLINE="0", HF_ENDPOINT=hub.url)
    with connect(home) as client:
        client.post("/studies", STUDY | {"budget": {"trials": 1}})
        spawn("worker", TMPDIR=str(scratch), HF_HOME=str(scratch / "worker"), HF_HUB_OFFLINE="1")
        trial = wait_until(
            lambda: [t for t in client.get("/studies/hub/trials")["items"] if t["state"] == "failed"], seconds=120
        )[0]
        assert trial["failure"]["kind"] == "data"
        assert "is not on this machine, and downloads are off" in trial["failure"]["message"]

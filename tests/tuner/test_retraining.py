from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from studies.training import loop
from studies.training.models import save_model
from tuner.errors import TunerError
from tuner.retraining import job_in, spread, train_again

RECIPE: Mapping[str, Any] = {
    "task": "image-classification",
    "model": "builtin:small-cnn",
    "data": {"train": "builtin:digits", "validation": 0.3, "limit": 120},
    "metric": "accuracy",
    "direction": "maximize",
    "params": {"epochs": 2, "image_size": 8, "learning_rate": 0.01, "batch_size": 16},
    "data_seed": 0,
    "seed": 11,
    "fingerprint": None,
    "device": "cpu",
    "threads": 1,
}


def test_a_job_is_trained_again_with_the_same_numbers(tmp_path: Path) -> None:
    epochs: list[float] = []
    first = train_again(RECIPE, tmp_path / "model", lambda metrics: epochs.append(metrics[0].epoch))
    assert epochs == [1.0, 2.0]
    record = json.loads((tmp_path / "model" / "tuner.json").read_text("utf-8"))
    assert train_again(record["details"]["job"], None, lambda metrics: None).values == first.values


def test_a_model_that_nobody_asked_for_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[Path] = []

    def save(folder: Path, *rest: Any) -> None:
        saved.append(folder)
        save_model(folder, *rest)

    monkeypatch.setattr(loop, "save_model", save)
    train_again(RECIPE, None, lambda metrics: None)
    assert saved == []
    train_again(RECIPE, tmp_path / "asked for", lambda metrics: None)
    assert len(saved) == 1


def test_seeds_tell_how_much_is_luck(tmp_path: Path) -> None:
    told: list[int] = []
    found = spread(RECIPE, [0, 1, 2], tmp_path / "best", lambda seed, outcome: told.append(seed))
    assert told == [0, 1, 2] and len(set(found.values.values())) > 1
    assert found.values[found.best_seed] == max(found.values.values())
    assert found.mean == pytest.approx(sum(found.values.values()) / 3) and found.deviation > 0
    assert json.loads((tmp_path / "best" / "tuner.json").read_text("utf-8"))["seed"] == found.best_seed


def test_seeds_train_beyond_the_target_at_which_their_trial_ended(tmp_path: Path) -> None:
    free, bound = (spread(recipe, [0], None, lambda *_: None) for recipe in (RECIPE, {**RECIPE, "target": 0.0}))
    assert free.values == bound.values


def test_a_trial_that_does_not_say_how_it_was_trained() -> None:
    with pytest.raises(TunerError, match="trial 3 does not say how it was trained"):
        job_in({"number": 3, "details": {}})
    assert job_in({"number": 3, "details": {"job": {"task": "x"}}}) == {"task": "x"}

from __future__ import annotations

from studies.hyperparameters import SHARED, with_defaults


def test_other_defaults_for_the_named_ones_only() -> None:
    changed = {entry.name: entry.default for entry in with_defaults(SHARED, learning_rate=0.001, batch_size=64)}
    plain = {entry.name: entry.default for entry in SHARED}
    assert changed == plain | {"learning_rate": 0.001, "batch_size": 64}

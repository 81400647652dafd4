from __future__ import annotations

from collections import Counter

from studies.splits import Splits, hold_back, shuffled

ROWS = [(f"text {index}", "rare" if index % 50 == 0 else "common" if index % 3 else "usual") for index in range(500)]
CLASSES = [label for _, label in ROWS]


def test_nothing_is_lost_doubled_or_reordered() -> None:
    kept, held = hold_back(ROWS, CLASSES, 100, seed=0)
    assert sorted(kept + held) == sorted(ROWS)
    assert kept == [row for row in ROWS if row in set(kept)]


def test_each_class_gives_its_share() -> None:
    _, held = hold_back(ROWS, CLASSES, 100, seed=0)
    shares = Counter(label for _, label in held)
    assert len(held) == 100
    assert all(abs(shares[label] - total / 5) <= 1 for label, total in Counter(CLASSES).items())


def test_a_class_of_one_is_kept() -> None:
    kept, held = hold_back([("a", "x"), ("b", "y"), ("c", "z")], ["x", "y", "z"], 2, seed=0)
    assert (len(kept), held) == (3, [])


def test_the_seed_decides_which() -> None:
    first, again, other = (hold_back(ROWS, CLASSES, 50, seed=seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_shuffling_is_decided_by_the_seed() -> None:
    assert shuffled(ROWS, 0) == shuffled(ROWS, 0)
    assert shuffled(ROWS, 0) != shuffled(ROWS, 1)
    assert sorted(shuffled(ROWS, 0)) == sorted(ROWS)


def test_the_fingerprint_tells_texts_labels_order_and_splits_apart() -> None:
    a, b = ("one", "x"), ("two", "y")
    fingerprints = {
        splits.fingerprint()
        for splits in (
            Splits(train=[a, b], validation=[]),
            Splits(train=[b, a], validation=[]),
            Splits(train=[a], validation=[b]),
            Splits(train=[a], validation=[], test=[b]),
            Splits(train=[("one", "y"), b], validation=[]),
            Splits(train=[("onex", ""), b], validation=[]),
        )
    }
    assert len(fingerprints) == 6
    assert Splits(train=[a, b], validation=[]).fingerprint() in fingerprints

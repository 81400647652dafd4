from __future__ import annotations

import os

import pytest

from tuner.gpus import FakeGpus
from tuner.places import MOST_ON_ONE_GPU, Places, Room

GB = 10**9
GPUS = FakeGpus("4x24GB").gpus


def ids(places: Places, gpus: int, trial: int = 0) -> list[str] | None:
    slot = places.take(gpus, "study", trial)
    return None if slot is None else [gpu.id for gpu in slot.gpus]


@pytest.mark.parametrize(
    ("gpus", "slots", "expected"),
    [(2, None, [["0"], ["1"], None]), (2, 1, [["0"], None]), (2, 4, [["0"], ["1"], ["0"], ["1"], None]), (0, 2, [[], [], None])],
)
def test_a_place_for_each_gpu_unless_told_otherwise(gpus: int, slots: int | None, expected: list[list[str] | None]) -> None:
    places = Places(GPUS[:gpus], slots=slots)
    assert [ids(places, min(1, gpus)) for _ in expected] == expected
    assert places.room() is None


def test_a_machine_without_gpu_has_a_place_for_four_cores() -> None:
    cores = os.cpu_count() or 1
    places = Places([])
    assert places.count == max(1, cores // 4)
    slot = places.take(0, "study", 0)
    assert slot is not None and slot.threads == cores // places.count


def test_a_trial_of_several_gpus_has_them_whole() -> None:
    places = Places(GPUS, slots=8)
    small = places.take(1, "study", 0)
    assert small is not None and places.room() == Room(gpus=3)
    big = places.take(3, "study", 1)
    assert big is not None and [gpu.id for gpu in big.gpus] == ["1", "2", "3"]
    assert big.threads == 3 * small.threads
    assert places.room() == Room(gpus=1), "the other half of the first"
    assert ids(places, 2) is None
    places.give_back(big)
    assert places.room() == Room(gpus=3)


def test_a_trial_without_gpu_sees_none_but_takes_a_place() -> None:
    places = Places(GPUS[:1])
    assert ids(places, 0) == []
    assert places.room() is None


def test_a_gpu_that_is_set_aside_is_given_to_nobody() -> None:
    places = Places(GPUS[:2])
    places.set_aside(GPUS[0], "gone")
    assert places.room() == Room(gpus=1)
    assert ids(places, 1) == ["1"]
    assert places.room() is None and places.usable
    places.set_aside(GPUS[1], "gone too")
    assert not places.usable and places.lost() == {"0": "gone", "1": "gone too"}


def test_packed_trials_share_a_gpu_once_it_is_known_what_they_take() -> None:
    places = Places(GPUS[:1], pack=True)
    first = places.take(1, "small", 0)
    assert first is not None and not first.shared
    assert places.room() is None, "nobody knows yet how much it takes"
    places.measured("small", 5 * GB)
    places.give_back(first)
    slots = [places.take(1, "small", trial) for trial in range(1, 5)]
    assert [slot is not None and slot.shared for slot in slots] == [True, True, True, False], "3 × (1.2 × 5 + 0.7) GB of 24"
    assert places.room() is None
    taken = slots[0]
    assert taken is not None
    places.give_back(taken)
    assert places.room() == Room(gpus=1, studies=["small"])
    places.measured("small", 9 * GB)
    assert places.room() is None


def test_no_more_than_a_few_are_packed_however_small() -> None:
    places = Places(GPUS[:1], pack=True)
    places.measured("tiny", 1)
    assert [places.take(1, "tiny", trial) is not None for trial in range(MOST_ON_ONE_GPU + 1)] == [True] * MOST_ON_ONE_GPU + [
        False
    ]


def test_packed_trials_fill_a_gpu_before_they_begin_another() -> None:
    places = Places(GPUS[:2], pack=True)
    places.measured("study", 5 * GB)
    assert [ids(places, 1, trial) for trial in range(4)] == [["0"], ["0"], ["0"], ["1"]]


def test_who_ran_out_of_memory_beside_others_has_a_gpu_to_itself_next_time() -> None:
    places = Places(GPUS[:2], pack=True)
    places.measured("small", 5 * GB)
    beside = [places.take(1, "small", trial) for trial in range(4)]
    places.ran_out("small", 0)
    assert beside[0] is not None
    places.give_back(beside[0])
    assert places.room() is None, "there is room for another, but the service would offer that trial first"
    assert beside[3] is not None
    places.give_back(beside[3])
    alone = places.take(1, "small", 0)
    assert alone is not None and not alone.shared and [gpu.id for gpu in alone.gpus] == ["1"]

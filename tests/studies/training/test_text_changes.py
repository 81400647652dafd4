from __future__ import annotations

import torch

from studies.training.text_changes import swapped, without

MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
IDS = torch.tensor([[2, 10, 11, 12, 3], [2, 20, 3, 0, 0]])
WORDS = IDS >= 10


def test_dropped_words_leave_no_gap() -> None:
    dropped = torch.tensor([[False, True, False, True, False], [False, False, False, False, False]])
    left = without({"input_ids": IDS, "attention_mask": MASK, "token_type_ids": IDS}, WORDS, dropped, 0)
    assert left["input_ids"].tolist() == [[2, 11, 3], [2, 20, 3]]
    assert left["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert left["token_type_ids"].tolist() == [[2, 11, 3], [2, 20, 3]]


def test_only_words_are_dropped_and_never_all_of_them() -> None:
    left = without({"input_ids": IDS, "attention_mask": MASK}, WORDS, torch.tensor([[True] * 4 + [False], [True] * 5]), 9)
    assert left["input_ids"].tolist() == [[2, 10, 11, 12, 3], [2, 20, 3, 9, 9]]
    assert left["attention_mask"].tolist() == MASK.tolist()


def test_chosen_words_change_places_among_themselves() -> None:
    ids = torch.arange(12).expand(50, 12)
    places = torch.zeros_like(ids, dtype=torch.bool)
    places[:, [1, 4, 7, 9]] = True
    torch.manual_seed(0)
    moved = swapped(ids, places)
    assert torch.equal(moved.sort(dim=1).values, ids)
    assert torch.equal(moved[~places], ids[~places])
    assert {tuple(row) for row in moved[:, [1, 4, 7, 9]].tolist()} > {(1, 4, 7, 9), (9, 7, 4, 1)}

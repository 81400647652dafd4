"""Training texts changed at random, their label as it was: tokens left out or in other places (Wei & Zou 2019, EDA)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from studies.training.settings import Settings
from studies.training.task import Batch, unchanged


def text_changes(tokenizer: PreTrainedTokenizerBase, settings: Settings) -> Callable[[Batch], Batch]:
    """What changes the inputs of each training batch as `settings` say. It draws from torch's random state."""
    if settings.token_drop == settings.token_swap == 0:
        return unchanged
    # An unknown word is a word.
    special = torch.tensor(sorted(set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}))
    padding = int(tokenizer.pad_token_id or 0)

    def change(batch: Batch) -> Batch:
        ids = batch["input_ids"]
        words = batch["attention_mask"].bool() & ~torch.isin(ids, special.to(ids.device))
        if settings.token_swap > 0:
            batch = batch | {"input_ids": swapped(ids, words & drawn(words, settings.token_swap))}
        if settings.token_drop > 0:
            batch = without(batch, words, drawn(words, settings.token_drop), padding)
        return batch

    return change


def drawn(like: Tensor, share: float) -> Tensor:
    """True for each place of `like` with the probability `share`."""
    # On the CPU, whose random state every checkpoint has.
    return (torch.rand(like.shape) < share).to(like.device)


def swapped(ids: Tensor, places: Tensor) -> Tensor:
    """`ids` [texts, tokens] with those at `places` shuffled among themselves, text by text."""
    end = float(ids.shape[1])
    order = torch.arange(end, device=ids.device).expand(ids.shape)
    # Places come first both times, once in their order and once in a random one; the others stay where they are.
    to = torch.where(places, order, order + end).argsort(dim=1)
    of = torch.where(places, torch.rand(ids.shape).to(ids.device), order + end).argsort(dim=1)
    return torch.empty_like(ids).scatter(1, to, ids.gather(1, of))


def without(batch: Batch, words: Tensor, dropped: Tensor, padding: int) -> Batch:
    """`batch`, each input [texts, tokens], without those `words` that are `dropped`; a text that would lose all keeps all."""
    left = (words & ~dropped).any(dim=1, keepdim=True)
    kept = batch["attention_mask"].bool() & ~(words & dropped & left)
    # What is kept comes first, in its order; the rest is padding, cut off behind the longest text.
    order = (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(kept.sum(dim=1).max())]
    present = kept.gather(1, order)
    inputs = {name: values.gather(1, order) for name, values in batch.items()}
    return inputs | {
        "attention_mask": present.to(batch["attention_mask"].dtype),
        "input_ids": inputs["input_ids"].masked_fill(~present, padding),
    }

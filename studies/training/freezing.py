"""Freezing the lower part of a model: its embeddings and first k blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

from torch import nn

from studies.errors import TrialFailure

Policy = Literal["all", "head", "norms", "bias", "lora"]
Stacks = list[tuple[str, list[nn.Module]]]


def freeze(model: nn.Module, layers: int, train: Policy = "all") -> None:
    """Freeze the embeddings and the first `layers` blocks of `model`; 0 freezes nothing, embeddings included.

    Above them `train` says what is trained: `all`; the `norms` or the biases (`bias`: BitFit, Ben Zaken et al. 2022) of the
    blocks; none of them (`head`, whatever `layers` is); or none of what is there (`lora`: `studies/training/lora.py` adds what
    is). What is above the last block is always trained.
    Frozen parts get no gradients; those of the first `layers` blocks and below stay in eval mode (dropout off, statistics
    fixed) whatever `model.train()` says. Raises TrialFailure("code") where the blocks can't be told or are fewer.
    """
    if layers == 0 and train == "all":
        return
    stacks = block_stacks(model)
    count = sum(len(blocks) for _, blocks in stacks)
    if layers > count:
        name = " and ".join(name for name, _ in stacks)
        raise TrialFailure("code", f"frozen_layers is {layers}, but {name} has {count} blocks")
    depth = count if train == "head" else layers
    frozen: list[nn.Module] = []
    for name, blocks in stacks:
        if depth > 0:
            frozen += [*_before(model, name), *blocks[:depth], *_later_embeddings(model, [b for _, bs in stacks for b in bs])]
        depth = max(depth - len(blocks), 0)
    for module in frozen:
        module.requires_grad_(False)
        _pin_in_eval_mode(module)
    if train in ("norms", "bias", "lora"):
        _train_only(model, stacks, train)


def _train_only(model: nn.Module, stacks: Stacks, kind: Policy) -> None:
    """Of the blocks, and of what feeds them, leave only norms or biases to be trained; for `lora` nothing at all."""
    every = [block for _, blocks in stacks for block in blocks]
    for outer in [*(module for name, _ in stacks for module in _before(model, name)), *every, *_later_embeddings(model, every)]:
        for module in outer.modules():
            norm = "norm" in type(module).__name__.casefold()
            for name, parameter in module.named_parameters(recurse=False):
                if not (norm and kind == "norms" or name == "bias" and kind == "bias"):
                    parameter.requires_grad_(False)


def levels(model: nn.Module) -> list[list[nn.Parameter]]:
    """The parameters that are trained of what feeds the blocks, of the first block, the second, …; not what is above the last.

    Raises TrialFailure("code") where the blocks can't be told.
    """
    stacks = block_stacks(model)
    blocks = [block for _, stack in stacks for block in stack]
    feeding = [*(module for name, _ in stacks for module in _before(model, name)), *_later_embeddings(model, blocks)]
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    below = {id(p): p for module in feeding for p in module.parameters() if id(p) not in inside}
    found = [list(below.values()), *(list(block.parameters()) for block in blocks)]
    return [[parameter for parameter in level if parameter.requires_grad] for level in found]


def unfreeze(parts: Sequence[Sequence[nn.Parameter]], count: int) -> None:
    """Train the uppermost `count` of `levels` and not those below (Howard & Ruder 2018, gradual unfreezing)."""
    for index, level in enumerate(reversed(parts)):
        for parameter in level:
            parameter.requires_grad_(index < count)


def block_stack(model: nn.Module) -> tuple[str, list[nn.Module]]:
    """The stack of blocks that a model's input comes to first."""
    return block_stacks(model)[0]


def block_stacks(model: nn.Module) -> Stacks:
    """Name and blocks of each stack that is counted, in the order in which they run: an encoder's, then a decoder's.

    A stack is an outermost ModuleList or Sequential of at least 2 modules of one class that have parameters. Found by
    structure: a list of model names would never be complete. Raises TrialFailure("code") listing the candidates where there
    is neither a single one nor one of an encoder and one of a decoder.
    """
    stacks = [(name, list(module.children())) for name, module in _stacks("", model)]
    if len(stacks) == 1:
        return stacks
    # The same path but for one word: `model.encoder.layers` and `model.decoder.layers`.
    if len(stacks) == 2 and stacks[0][0].replace("encoder", "decoder") == stacks[1][0] != stacks[0][0]:
        return stacks
    found = ", ".join(f"{name} ({len(blocks)} × {type(blocks[0]).__name__})" for name, blocks in stacks) or "none"
    raise TrialFailure(
        "code",
        f"can't tell the blocks of {type(model).__name__} (candidates: {found}), so none can be frozen or trained in part; "
        "give frozen_layers 0 and train `all`, without gradual_unfreezing and layer_decay",
    )


def prefix_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks that a frozen prefix can be made of."""
    return block_stack(model)[1]


def prefix_parts(model: nn.Module) -> list[list[nn.Module]]:
    """What feeds the first block, then each block: all that a frozen prefix can be made of, from below."""
    name, blocks = block_stack(model)
    return [[*_before(model, name), *_later_embeddings(model, blocks)], *([block] for block in blocks)]


def frozen_depth(model: nn.Module) -> int:
    """How many of the first blocks give the same for the same input whatever is trained; 0 if what feeds them does not."""
    try:
        parts = prefix_parts(model)
    except TrialFailure:
        return 0
    trained = [any(p.requires_grad for module in modules for p in module.parameters()) for modules in parts]
    return max(trained.index(True) - 1, 0) if True in trained else len(parts) - 1


def _stacks(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Stacks in or under `module`, not looking into a stack that was found."""
    children = list(module.children())
    alike = len(children) >= 2 and len({type(child) for child in children}) == 1
    if isinstance(module, nn.ModuleList | nn.Sequential) and alike and any(True for _ in module.parameters()):
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _stacks(f"{name}.{child_name}".lstrip("."), child)


def _before(model: nn.Module, stack: str) -> Iterator[nn.Module]:
    """Modules that are registered before the stack and do not contain it: embeddings, their norms and projections."""
    for name, module in model.named_modules():
        if name == stack:
            return
        if name and not stack.startswith(f"{name}."):
            yield module


def _later_embeddings(model: nn.Module, blocks: list[nn.Module]) -> Iterator[nn.Module]:
    """Embedding tables, and what is named after them, outside the blocks: some models register a table of relative
    positions, or the norm of their embeddings, after the blocks."""
    inside = {id(module) for block in blocks for module in block.modules()}
    for name, module in model.named_modules():
        outer = next(module.parameters(), None) is not None and not any(id(part) in inside for part in module.modules())
        if outer and (isinstance(module, nn.Embedding) or "embed" in name.rpartition(".")[2]):
            yield module


def _pin_in_eval_mode(module: nn.Module) -> None:
    # `model.train()` calls `train` of every module below it, so overriding it on the instance is what holds.
    for part in module.modules():
        part.eval()
        part.train = partial(_unchanged, part)  # type: ignore[method-assign]


def _unchanged(module: nn.Module, mode: bool = True) -> nn.Module:
    return module

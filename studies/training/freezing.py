"""Freezing the lower part of a model: its embeddings and first k blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn

from studies.errors import TrialFailure


def freeze(model: nn.Module, layers: int) -> None:
    """Freeze the embeddings and the first `layers` blocks of `model`; 0 freezes nothing, embeddings included.

    Frozen parts get no gradients and stay in eval mode (dropout off, statistics fixed) whatever `model.train()` says.
    Raises TrialFailure("code") where the blocks can't be told or are fewer than `layers`.
    """
    if layers == 0:
        return
    name, blocks = block_stack(model)
    if layers > len(blocks):
        raise TrialFailure("code", f"frozen_layers is {layers}, but {name} has {len(blocks)} blocks")
    for module in [*_before(model, name), *blocks[:layers], *_later_embeddings(model, blocks)]:
        module.requires_grad_(False)
        _pin_in_eval_mode(module)


def block_stack(model: nn.Module) -> tuple[str, list[nn.Module]]:
    """Name and members of the outermost ModuleList or Sequential of at least 2 modules of one class that have parameters.

    Found by structure: a list of model names would never be complete. Raises TrialFailure("code") listing the candidates
    where there is not exactly one.
    """
    stacks = [(name, list(module.children())) for name, module in _stacks("", model)]
    if len(stacks) == 1:
        return stacks[0]
    found = ", ".join(f"{name} ({len(blocks)} × {type(blocks[0]).__name__})" for name, blocks in stacks) or "none"
    raise TrialFailure("code", f"can't tell the blocks of {type(model).__name__}, so none can be frozen; candidates: {found}")


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
    """Embedding tables outside the blocks: some models register those of relative positions after them."""
    inside = {id(module) for block in blocks for module in block.modules()}
    return (module for module in model.modules() if isinstance(module, nn.Embedding) and id(module) not in inside)


def _pin_in_eval_mode(module: nn.Module) -> None:
    # `model.train()` calls `train` of every module below it, so overriding it on the instance is what holds.
    for part in module.modules():
        part.eval()
        part.train = partial(_unchanged, part)  # type: ignore[method-assign]


def _unchanged(module: nn.Module, mode: bool = True) -> nn.Module:
    return module

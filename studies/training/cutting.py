"""Cutting a model above its frozen prefix, so that what the prefix puts out can come from elsewhere.

Nothing here knows a model by name. A model is cut by making its first blocks, and what feeds them, hand on states that they
are given, and a cut is proved before it is used: for a few examples the model must put out the same with it and without,
in eval mode and, from one random seed, in training mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from studies.errors import TrialFailure
from studies.training.data import Encoded
from studies.training.freezing import prefix_blocks

STATES = "prefix_states"  # among the inputs of a batch
Form = Literal["tokens", "first", "last", "example"]
_PROBES = 3  # examples on which a cut is proved
# How far apart outputs may be, as a share of the largest: what another order of additions makes of float32 in a few blocks,
# or of bfloat16. A wrong cut is far worse.
_CLOSE = {torch.float32: 1e-4}
_ROUGHLY = 3e-2


class NoCut(Exception):
    """The model can't be cut there; says why."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Where and how a model is cut; plain values, so that it can be written down."""

    depth: int  # blocks below it; 0: nothing is left out
    form: Form  # states of all tokens, of the first or the last token alone, or one state for an example without tokens
    shape: tuple[int, ...]  # of the state of one token, or of one example
    dtype: str  # "float32"
    entry: str = ""  # the module that feeds the first block; it need not run either
    head: tuple[str, ...] = ()  # modules that, one after the other, are all that is left above the cut; else the model itself
    parts: int = 0  # blocks put out tuples of so many parts, of which the first is the states; 0: just the states
    narrow: str = ""  # the module of the last block from which on only the first token is computed: the head reads no other


class Shortened(nn.Module):
    """Stands in for `model`: takes the states that come out of the prefix among its inputs, and runs only what is above.

    The model itself stays whole: what is below the cut hands on the states only while this is called. At depth 0 there are none.
    """

    def __init__(self, model: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.model = model
        # In a tuple, so that they do not count as parts a second time.
        self.idle = (*([model.get_submodule(cut.entry)] if cut.entry else ()), *prefix_blocks(model)[: cut.depth])
        self._fed = 1 if cut.entry else 0
        self._parts = cut.parts
        self._narrow = (model.get_submodule(cut.narrow),) if cut.narrow else ()
        last = prefix_blocks(model)[-1].modules() if cut.narrow else ()
        self._dropouts = tuple(module for module in last if isinstance(module, nn.Dropout))

    def forward(self, **inputs: Tensor) -> Any:
        states = inputs.pop(STATES, None)
        shape = inputs["input_ids"].shape if states is None else states.shape[:2]
        output = (states, *[None] * (self._parts - 1)) if self._parts else states
        instead: list[tuple[nn.Module, Any]] = [
            (module, partial(_give, states if index < self._fed else output)) for index, module in enumerate(self.idle)
        ]
        instead += [(module, partial(_of_first, module.forward, shape)) for module in self._narrow]
        instead += [(module, partial(_drawn_for_all, module, shape[1])) for module in self._dropouts]
        for module, forward in instead:
            module.forward = forward
        try:
            return self.model(**inputs)
        finally:
            for module, _ in instead:
                del module.forward


def _give(output: Any, *inputs: Any, **more: Any) -> Any:
    return output


def _of_first(forward: Callable[..., Any], shape: torch.Size, *inputs: Any, **more: Any) -> Any:
    """`forward` of the first token alone, of whatever there is for all tokens: [rows, tokens, width]; `shape`: rows, tokens."""

    def first(value: Any) -> Any:
        return value[:, :1] if isinstance(value, Tensor) and value.ndim == 3 and value.shape[:2] == shape else value

    return forward(*map(first, inputs), **{name: first(value) for name, value in more.items()})


def _drawn_for_all(dropout: nn.Dropout, tokens: int, states: Tensor) -> Tensor:
    """What `dropout` makes of [rows, 1, width], drawn as if all tokens were there, so that later draws stay what they are."""
    if not dropout.training or states.ndim != 3 or states.shape[1] == tokens:
        return functional.dropout(states, dropout.p, dropout.training)
    kept = functional.dropout(states.new_ones(len(states), tokens, states.shape[-1]), dropout.p)
    return states * kept[:, :1]


class HeadOnly(nn.Module):
    """Stands in for a model of which only `modules` are left, one after the other: nothing of the rest runs."""

    def __init__(self, model: nn.Module, cut: Cut) -> None:
        super().__init__()
        self.parts = nn.ModuleList([model.get_submodule(name) for name in cut.head])
        self.single = cut.form in ("first", "last")

    def forward(self, **inputs: Tensor) -> Any:
        states = inputs[STATES]
        for part in self.parts:
            states = part(states)
        # A model may pick one token's scores after its head; here there is only one.
        return SimpleNamespace(logits=states.squeeze(1) if self.single and states.ndim == 3 else states)


def shortened(model: nn.Module, cut: Cut) -> Shortened | HeadOnly:
    return HeadOnly(model, cut) if cut.head else Shortened(model, cut)


class _Reached(Exception):
    """Unwinds a model's forward pass at the block whose output is wanted."""

    def __init__(self, output: Any) -> None:
        self.output = output


def output_at(model: nn.Module, block: nn.Module, inputs: Mapping[str, Tensor]) -> Any:
    """What `block` puts out when `model` is given `inputs`; nothing above it is computed. Raises NoCut if it never runs."""

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        raise _Reached(output)

    handle = block.register_forward_hook(stop)
    try:
        model(**inputs)
    except _Reached as reached:
        return reached.output
    finally:
        handle.remove()
    raise NoCut("the block below the cut is not used")


def states_at(model: nn.Module, block: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    """The states that `block` puts out when `model` (whole or shortened) is given `inputs`."""
    return _states_of(output_at(model, block, inputs))


def _states_of(output: Any) -> Tensor:
    states = output[0] if isinstance(output, tuple | list) else output
    if not isinstance(states, Tensor):
        raise NoCut(f"its blocks put out a {type(states).__name__}, not states")
    return states


def alone(states: Tensor, form: Form, tokens: Sequence[int]) -> Tensor:
    """Of `states` [rows, longest, width] the one of each row's first or last token, [rows, 1, width]."""
    picked = torch.tensor([0 if form == "first" else size - 1 for size in tokens], device=states.device)
    return states[torch.arange(len(tokens), device=states.device), picked].unsqueeze(1)


def narrowed(examples: Encoded, form: Form) -> Encoded:
    """`examples` with their first or last token only, as inputs of a model that is given that token's state."""
    part = slice(0, 1) if form == "first" else slice(-1, None)
    inputs = {name: [tensor[part] if tensor.ndim else tensor for tensor in tensors] for name, tensors in examples.inputs.items()}
    return replace(examples, inputs=inputs)


@torch.no_grad()
def find_cut(model: nn.Module, depth: int, examples: Encoded, device: str) -> Cut:
    """The cheapest cut of `model` above its first `depth` blocks that puts out the same. Raises NoCut."""
    rows = _probes(examples.lengths)
    sizes = [examples.lengths[row] for row in rows]
    batch = examples.batch(rows, device)
    blocks = prefix_blocks(model)
    model.train(False)
    with torch.enable_grad():
        output = output_at(model, blocks[depth - 1], batch)
    states = _states_of(output)
    if states.requires_grad:
        raise NoCut("something that feeds its frozen blocks is trained")
    of_tokens = "input_ids" in examples.inputs and states.ndim == 3 and states.shape[1] == max(sizes)
    cut = Cut(
        depth=depth,
        form="tokens" if of_tokens else "example",
        shape=tuple(states.shape[2:] if of_tokens else states.shape[1:]),
        dtype=str(states.dtype).removeprefix("torch."),
        parts=len(output) if isinstance(output, tuple | list) else 0,
    )
    expected = _outputs(model, batch)
    entry = _feeder(model, blocks, batch)
    whole = next((c for c in (replace(cut, entry=entry), cut) if _same(model, c, batch | {STATES: states}, expected)), None)
    if whole is None:
        raise NoCut("it puts out something else when its frozen part is left out")
    if depth < len(blocks):
        return replace(whole, narrow=_narrowing(model, whole, batch | {STATES: states}, states.shape))
    return _cheapest_head(model, whole, examples, rows, sizes, states, expected, device)


@torch.no_grad()
def find_narrow(model: nn.Module, examples: Encoded, device: str) -> Cut:
    """A cut of `model` that leaves out nothing but what the last block makes of tokens that nobody reads. Raises NoCut."""
    try:
        last = prefix_blocks(model)[-1]
    except TrialFailure as failure:
        raise NoCut(failure.message) from failure
    batch = examples.batch(_probes(examples.lengths), device)
    model.train(False)
    states = states_at(model, last, batch)
    if states.shape[:2] != batch.get("input_ids", states.new_empty(0)).shape:
        raise NoCut("its last block puts out no states of tokens")
    cut = Cut(depth=0, form="tokens", shape=tuple(states.shape[2:]), dtype=str(states.dtype).removeprefix("torch."))
    narrow = _narrowing(model, cut, batch, states.shape)
    if not narrow:
        raise NoCut("its head reads more than the first token")
    return replace(cut, narrow=narrow)


def _probes(lengths: Sequence[int]) -> list[int]:
    """Short examples and one of middling length: padding is there, and little time is spent."""
    by_length = sorted(range(len(lengths)), key=lambda row: lengths[row])
    return sorted({by_length[len(by_length) * share // 6] for share in range(_PROBES)})


def _cheapest_head(
    model: nn.Module,
    cut: Cut,
    examples: Encoded,
    rows: Sequence[int],
    sizes: Sequence[int],
    states: Tensor,
    expected: Sequence[Tensor],
    device: str,
) -> Cut:
    """With every block frozen: can the head do with one state for each example, and without the model around it?"""
    found, inputs = cut, examples.batch(rows, device) | {STATES: states}
    for form in ("first", "last") if cut.form == "tokens" else ():
        single = narrowed(examples, form).batch(rows, device) | {STATES: alone(states, form, sizes)}
        if _same(model, replace(cut, form=form), single, expected):
            found, inputs = replace(cut, form=form), single
            break
    head = replace(found, head=_chain(model, found, inputs))
    return head if head.head and _same(model, head, inputs, expected) else found


def _narrowing(model: nn.Module, cut: Cut, inputs: Mapping[str, Tensor], shape: Sequence[int]) -> str:
    """The first module in the last block from which on the first token alone will do; empty if there is none.

    Of a classifier that reads its first token only the keys and values of the others are used there, and a block's other matrices
    are most of it. `shape` is that of the states: [rows, tokens, width], unless they are none of tokens.
    """
    last, given = prefix_blocks(model)[-1], next(model.parameters())
    inputs = {name: value.to(given.dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    cut = replace(cut, dtype=str(given.dtype).removeprefix("torch."))
    # Who reads what is the same in every precision, and easiest to see in the weights' own.
    with torch.autocast(given.device.type, enabled=False):
        expected = _outputs(shortened(model, cut), inputs)
        if len(shape) != 3 or shape[1] == 1 or not _reads_first(model, cut, last, inputs, expected):
            return ""
        inside = {name for name, module in model.named_modules() if any(module is part for part in last.modules())}
        for call in _calls(model, cut, inputs):
            if call.name in inside and not isinstance(model.get_submodule(call.name), nn.Dropout | type(last)):
                found = replace(cut, narrow=call.name)
                # A sum with what is there of all tokens would give all of them again.
                if _same(model, found, inputs, expected) and states_at(shortened(model, found), last, inputs).shape[1] == 1:
                    return call.name
    return ""


def _reads_first(model: nn.Module, cut: Cut, last: nn.Module, inputs: Mapping[str, Tensor], expected: Sequence[Tensor]) -> bool:
    """Whether only the first token of what `last` puts out matters: a GPU would not survive that another is read and gone."""

    def without_others(module: nn.Module, args: Any, output: Any) -> Any:
        states = _states_of(output)
        alone = torch.cat([states[:, :1], torch.zeros_like(states[:, 1:])], dim=1)
        return (alone, *output[1:]) if isinstance(output, tuple | list) else alone

    handle = last.register_forward_hook(without_others)
    try:
        return _same(model, cut, inputs, expected)
    finally:
        handle.remove()


def _outputs(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """All that `model` puts out of floating point, in eval mode and in training mode, which draws its dropout from one seed."""
    found: list[Tensor] = []
    kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for training in (False, True):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model.train(training)
            output = model(**inputs)
        values = vars(output).values() if isinstance(output, SimpleNamespace) else output.values()
        found.extend(value for value in values if isinstance(value, Tensor) and value.is_floating_point())
    model.train(False)
    for name, buffer in model.named_buffers():
        buffer.copy_(kept[name])  # running statistics moved
    return found


def _same(model: nn.Module, cut: Cut, inputs: Mapping[str, Tensor], expected: Sequence[Tensor]) -> bool:
    stand_in, dtype = shortened(model, cut), getattr(torch, cut.dtype)
    try:
        found = _outputs(stand_in, inputs)
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError):
        return False  # the model needs of its frozen part more than states
    return len(found) == len(expected) and all(
        one.shape == other.shape and bool((one - other).abs().max() <= _CLOSE.get(dtype, _ROUGHLY) * other.abs().max())
        for one, other in zip(found, expected, strict=True)
    )


def _feeder(model: nn.Module, blocks: Sequence[nn.Module], inputs: Mapping[str, Tensor]) -> str:
    """The name of the outermost module whose output is what the first block takes; empty if there is none."""
    finished: list[tuple[str, Any]] = []
    taken: list[Any] = []

    def remember(name: str) -> Any:
        return lambda module, args, output: finished.append((name, output))

    def take(module: nn.Module, args: Any, named: Any) -> None:
        taken.append(args[0] if args else named.get("hidden_states"))

    handles = [module.register_forward_hook(remember(name)) for name, module in model.named_modules() if name]
    handles.append(blocks[0].register_forward_pre_hook(take, with_kwargs=True))
    try:
        output_at(model, blocks[0], inputs)
    finally:
        for handle in handles:
            handle.remove()
    return next((name for name, output in reversed(finished) if taken and output is taken[0]), "")


@dataclass
class _Call:
    name: str
    given: Any
    output: Any = None
    end: int = 0  # how many calls had begun when this one ended


def _chain(model: nn.Module, cut: Cut, inputs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Names of the modules that, each taking what the one before put out, lead on from the states; empty if there are none."""
    calls = _calls(model, cut, inputs)
    names: list[str] = []
    current: Any = inputs[STATES]
    ended = 0
    for index, call in enumerate(calls):
        # What runs inside a chosen module is part of it.
        if index >= ended and call.given is current:
            names.append(call.name)
            current, ended = call.output, call.end
    return tuple(names)


def _calls(model: nn.Module, cut: Cut, inputs: Mapping[str, Tensor]) -> list[_Call]:
    """Every call of a module that holds no block of the prefix, by when it began, while the shortened model runs once."""
    stand_in = Shortened(model, cut)
    blocks = {id(part) for block in stand_in.idle for part in block.modules()}
    calls: list[_Call] = []
    handles = []
    for name, module in model.named_modules():
        if any(id(part) in blocks for part in module.modules()):
            continue

        def begin(module: nn.Module, args: Any, named: Any, name: str = name) -> None:
            calls.append(_Call(name=name, given=next(iter([*args, *named.values()]), None)))

        def end(module: nn.Module, args: Any, output: Any, name: str = name) -> None:
            call = next(call for call in reversed(calls) if call.name == name)
            call.output, call.end = output, len(calls)

        handles += [module.register_forward_pre_hook(begin, with_kwargs=True), module.register_forward_hook(end)]
    try:
        stand_in(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return calls

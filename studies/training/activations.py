"""What a frozen prefix puts out, computed once.

The embeddings and first k blocks of a model that are frozen give the same states for the same example in every epoch and
every trial. They are kept in a file without padding, mapped into memory, and the rest of the model is trained on them.
Sharing what frozen layers put out is the idea of Nautilus (Nakandala and Kumar, SIGMOD 2022).

`studies/training/cutting.py` finds out where and how a model can be cut. Here states are computed, kept and handed out.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from studies.training.cutting import STATES, Cut, NoCut, Shortened, alone, find_cut, find_narrow, narrowed, shortened, states_at
from studies.training.data import Encoded, evaluation_batches
from studies.training.freezing import frozen_depth, prefix_blocks, prefix_parts
from studies.training.store import Store

_FILL_BATCH_SIZE = 64
_WITHOUT_EFFECT = re.compile("drop|label|problem_type|path|version|architectures")
_TAIL = struct.Struct("<d")  # after the states: the seconds that computing them took, shallower ones included


@dataclass(frozen=True, kw_only=True)
class Stored(Encoded):
    """Examples with the states that the frozen prefix made of them: [tokens of all, width], or [examples, …]."""

    states: Tensor
    sizes: Sequence[int]  # tokens of each example; 1 where one token's state is enough
    starts: Sequence[int] = ()  # where each example's tokens begin; empty where an example is one state

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def lengths(self) -> list[int]:
        return list(self.sizes)

    def batch(self, rows: Sequence[int], device: str) -> dict[str, Tensor]:
        if self.starts:
            parts = [self.states[self.starts[row] : self.starts[row] + self.sizes[row]] for row in rows]
            states = pad_sequence(parts, batch_first=True)
        else:
            states = self.states[list(rows)]
        return super().batch(rows, device) | {STATES: states.to(device)}


@dataclass(frozen=True, kw_only=True)
class Upper:
    """What there is to run in each step: what is left of a model above its frozen prefix, or all of it."""

    model: nn.Module  # stands in for the model, or is it
    training: Encoded  # as they come out of the prefix
    validation: Encoded
    depth: int = 0  # blocks left out
    form: str = ""
    found: bool = False  # nothing had to be computed
    fill_seconds: float = 0.0  # what computing the states took just now
    worth_seconds: float = 0.0  # what computing them takes if nothing is there
    bytes: int = 0
    whole: str = ""  # why nothing is left out

    def details(self, passes: float) -> dict[str, Any]:
        """For people. `passes` counts how often the prefix would have been computed for all examples."""
        if self.whole:
            return {"depth": 0, "whole": self.whole}
        return {
            "depth": self.depth,
            "states": "one for each example" if self.form in ("first", "last") else "all",
            "found": self.found,
            "fill_seconds": round(self.fill_seconds, 3),
            "saved_seconds": round(self.worth_seconds * passes - self.fill_seconds, 3),
            "bytes": self.bytes,
        }


def above_prefix(
    model: nn.Module, training: Encoded, validation: Encoded, store: Store, device: str, precision: str = "float32"
) -> Upper:
    """`model`, of which a part is frozen, cut above that part, with the states of all examples; whole if that can't be had.

    States come from `store`. They are computed now where nobody has done it, from those of the deepest shallower prefix
    that are there. Called under the autocast that training runs under; `precision` names it.
    """
    depth = frozen_depth(model)
    if depth == 0:
        return all_of(model, training, validation, store, device, precision, why="what feeds the blocks is trained")
    prints = _fingerprints(model, depth, precision)
    try:
        key = f"{prints[depth]}-{_print_of_trained(model)}-{torch.device(device).type}"
        cut = _known_cut(lambda: find_cut(model, depth, training, device), store, key)
        stored = [_obtain(model, cut, examples, prints, store, device) for examples in (training, validation)]
    except NoCut as reason:
        return all_of(model, training, validation, store, device, precision, why=str(reason))
    return Upper(
        model=shortened(model, cut),
        training=stored[0][0],
        validation=stored[1][0],
        depth=depth,
        form=cut.form,
        found=all(spent is None for _, _, spent in stored),
        fill_seconds=sum(spent or 0.0 for _, _, spent in stored),
        worth_seconds=sum(worth for _, worth, _ in stored),
        bytes=sum(states.states.nbytes for states, _, _ in stored),
    )


def all_of(
    model: nn.Module, training: Encoded, validation: Encoded, store: Store | None, device: str, precision: str, *, why: str
) -> Upper:
    """The whole `model`, for the reason `why`; of its last block only what its head reads. What is found is kept in `store`."""
    whole = Upper(model=model, training=training, validation=validation, whole=why)
    try:
        if store is None:
            cut = find_narrow(model, training, device)
        else:
            # No weights: what is proved on three examples holds for others with the same modules.
            key = f"{_about(model, precision).hexdigest()[:24]}-{_print_of_trained(model)}-{torch.device(device).type}"
            cut = _known_cut(lambda: find_narrow(model, training, device), store, key)
    except NoCut:
        return whole
    return replace(whole, model=shortened(model, cut))


def _known_cut(find: Callable[[], Cut], store: Store, key: str) -> Cut:
    """A cut that is proved once, then read. Raises NoCut."""

    def prove(file: Path) -> None:
        try:
            answer: dict[str, Any] = asdict(find())
        except NoCut as reason:
            answer = {"reason": str(reason)}
        file.write_text(json.dumps(answer), "utf-8")

    found = store.obtain(f"cut-2-{key}", 4096, prove)  # 2: since cuts may be narrow
    if found is None:
        raise NoCut("there is no room for stored states")
    answer = json.loads(found[0].read_text("utf-8"))
    if "reason" in answer:
        raise NoCut(answer["reason"])
    # JSON has no tuples.
    return Cut(**(answer | {name: tuple(answer[name]) for name in ("shape", "head")}))


def _obtain(
    model: nn.Module, cut: Cut, examples: Encoded, prints: Sequence[str], store: Store, device: str
) -> tuple[Stored, float, float | None]:
    """The examples with their states, the seconds that these are worth, and those that they took now. Raises NoCut."""
    shape = _shape(examples, cut)
    dtype: torch.dtype = getattr(torch, cut.dtype)
    spent: list[float] = []

    def fill(file: Path) -> None:
        began = time.perf_counter()
        base = _deepest_below(cut, examples, prints, store)
        states = torch.from_file(str(file), shared=True, size=prod(shape), dtype=dtype).view(shape)
        _compute(model, cut, examples, base, states, device)
        spent.append(time.perf_counter() - began)
        with file.open("r+b") as handle:
            handle.seek(-_TAIL.size, 2)
            handle.write(_TAIL.pack(spent[0] + (0.0 if base is None else base[2])))

    key = _key(cut, examples, prints)
    obtained = store.obtain(key, prod(shape) * dtype.itemsize + _TAIL.size, fill)
    if obtained is None:
        raise NoCut(f"its states take more than the {store.limit / 1e9:.3g} GB that are allowed, or than the disk has left")
    return _open(obtained[0], examples, cut), _worth(obtained[0]), spent[0] if spent else None


def _deepest_below(cut: Cut, examples: Encoded, prints: Sequence[str], store: Store) -> tuple[Cut, Stored, float] | None:
    """The deepest shallower cut whose states are there, the examples with them, and the seconds that they took."""
    if len(cut.shape) != 1 or cut.form == "example":
        return None  # what is not states of tokens has another shape at each depth
    for depth in range(cut.depth - 1, 0, -1):
        shallower = replace(cut, depth=depth, form="tokens", head=(), narrow="")
        file = store.find(_key(shallower, examples, prints))
        if file is not None:
            return shallower, _open(file, examples, shallower), _worth(file)
    return None


@torch.inference_mode()
def _compute(
    model: nn.Module, cut: Cut, examples: Encoded, base: tuple[Cut, Stored, float] | None, out: Tensor, device: str
) -> None:
    """Write what the prefix makes of every example into `out`, starting from the states of `base` if there are some."""
    model.train(False)
    lower = model if base is None else Shortened(model, base[0])
    source: Encoded = examples if base is None else base[1]
    block = prefix_blocks(model)[cut.depth - 1]
    sizes = examples.lengths
    starts = _starts(sizes)
    for rows in evaluation_batches(sizes, _FILL_BATCH_SIZE):
        states = states_at(lower, block, source.batch(rows, device))
        if cut.form in ("first", "last"):
            states = alone(states, cut.form, [sizes[row] for row in rows]).squeeze(1)
        for row, state in zip(rows, states.cpu(), strict=True):
            if cut.form == "tokens":
                out[starts[row] : starts[row] + sizes[row]] = state[: sizes[row]]
            else:
                out[row] = state


def _open(file: Path, examples: Encoded, cut: Cut) -> Stored:
    shape = _shape(examples, cut)
    states = torch.from_file(str(file), shared=False, size=prod(shape), dtype=getattr(torch, cut.dtype)).view(shape)
    given = {entry.name: getattr(examples, entry.name) for entry in fields(examples)}
    if cut.form == "tokens":
        return Stored(**given, states=states, starts=_starts(examples.lengths), sizes=examples.lengths)
    if cut.form in ("first", "last"):
        given["inputs"] = narrowed(examples, cut.form).inputs
        states = states.unsqueeze(1)
    if cut.head:
        given["inputs"] = {}
    return Stored(**given, states=states, sizes=examples.lengths if cut.form == "example" else [1] * len(examples))


def _shape(examples: Encoded, cut: Cut) -> tuple[int, ...]:
    return (sum(examples.lengths) if cut.form == "tokens" else len(examples), *cut.shape)


def _starts(sizes: Sequence[int]) -> list[int]:
    return [0, *accumulate(sizes)][:-1]


def _worth(file: Path) -> float:
    with file.open("rb") as handle:
        handle.seek(-_TAIL.size, 2)
        seconds: float = _TAIL.unpack(handle.read())[0]
    return seconds


def _key(cut: Cut, examples: Encoded, prints: Sequence[str]) -> str:
    """Named by content: the weights of the prefix and what it is given, whatever files or seeds they came from."""
    return f"states-{prints[cut.depth]}-{_fingerprint(examples)}-{cut.form}-{cut.dtype}"


def _fingerprints(model: nn.Module, depth: int, precision: str) -> list[str]:
    """Of the prefix of each depth from 0 to `depth`: its weights, its configuration, and what computes it."""
    digest = _about(model, precision)
    prints: list[str] = []
    read: dict[Any, int] = {}  # embeddings come up several times: as a whole, in parts, and by their names
    for modules in prefix_parts(model)[: depth + 1]:
        for module in modules:
            for name, tensor in module.state_dict().items():
                digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
                place = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
                if place in read:
                    digest.update(f"as {read[place]}".encode())
                else:
                    digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
                    read[place] = len(read)
        prints.append(digest.hexdigest()[:24])
    return prints


def _about(model: nn.Module, precision: str) -> Any:
    """A hash, to be continued, of a model's configuration and of what computes it."""
    about = [precision, type(model).__name__, _configuration(model), version("torch"), version("transformers")]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode())


def _print_of_trained(model: nn.Module) -> str:
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:12]


def _configuration(model: nn.Module) -> dict[str, Any]:
    """What a prefix depends on besides its weights: not the labels above it, nor dropout, which is off in it."""
    config = getattr(model, "config", None)
    values: dict[str, Any] = config.to_dict() if config is not None else {}
    return {name: value for name, value in values.items() if not _WITHOUT_EFFECT.search(name)}


def _fingerprint(examples: Encoded) -> str:
    """Of the examples as the model is given them: data, tokeniser and its settings in one."""
    digest = hashlib.sha256()
    for name, tensors in sorted(examples.inputs.items()):
        digest.update(f"{name} {tensors[0].dtype} {[tuple(tensor.shape) for tensor in tensors]}".encode())
        digest.update(torch.cat([tensor.reshape(-1) for tensor in tensors]).numpy().data)
    return digest.hexdigest()[:24]

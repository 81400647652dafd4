"""How many parameters a model has and where: told by the headers of its safetensors files, without loading a tensor."""

from __future__ import annotations

import json
import re
import struct
from collections import defaultdict
from collections.abc import Mapping
from math import prod
from pathlib import Path

# The outermost numbered parts of a name are the blocks: `bert.encoder.layer.3.output.dense.weight`.
_BLOCK = re.compile(r"(.*?)\.(\d+)\.")
_FEEDS_BLOCKS = re.compile(r"embed|wte|wpe|shared|stem")
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000  # bytes; what the format allows


def trained_by_depth(folder: Path, blocks: int) -> tuple[int, ...]:
    """Parameters that are trained with 0, 1, … `blocks` frozen blocks, without the head that a task puts on top.

    Empty where the files do not tell, which is no error: it is for people.
    """
    try:
        sizes = _sizes(folder)
    except (OSError, ValueError, KeyError, struct.error):
        return ()
    stacks: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    feeding = 0
    for name, size in sizes.items():
        found = _BLOCK.match(name)
        if found:
            stacks[found[1]][int(found[2])] += size
        elif _FEEDS_BLOCKS.search(name):
            feeding += size
    # An encoder's blocks run before those of its decoder.
    named = sorted((name for name in stacks if len(stacks[name]) > 1), key=lambda name: "decoder" in name)
    chosen = next((found for found in [[name] for name in named] + [named] if sum(len(stacks[n]) for n in found) == blocks), [])
    if not chosen:
        return ()
    left = [sum(sizes.values()), sum(sizes.values()) - feeding]
    for size in (stacks[name][index] for name in chosen for index in sorted(stacks[name])):
        left.append(left[-1] - size)
    # Freezing any block freezes what feeds the first one too.
    return (left[0], *left[2:])


def _sizes(folder: Path) -> Mapping[str, int]:
    """Name of each parameter (a tensor of floating point that is no running statistic) → how many numbers it holds."""
    found: dict[str, int] = {}
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as handle:
            (length,) = _LENGTH.unpack(handle.read(_LENGTH.size))
            if length > _LONGEST_HEADER:
                raise ValueError(f"{file} is not a safetensors file")
            header = json.loads(handle.read(length))
        for name, entry in header.items():
            if name != "__metadata__" and "F" in entry["dtype"] and ".running_" not in name:
                found[name] = prod(entry["shape"])
    return found

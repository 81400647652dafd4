"""What a simulated worker does: calls out, answers in, and no idea of how they travel.

The curve of a trial is a function of its parameters and epoch, so each of its numbers is known beforehand, bit for bit,
whichever attempt reports it; the checkpoint of an epoch is a few bytes that name it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Mapping
from itertools import count
from typing import Any

from tests.faults.history import Answer, Call, bytes_seen
from tests.simulation import accuracy

Script = Generator[Call, Answer, None]
STEPS_AN_EPOCH = 10
# What a trial may do other than run to its end, and how often in a hundred.
FATES = {"complete": 80, "release": 6, "hardware": 4, "oom": 4, "preempted": 3, "nan": 2, "silent": 1}


class Surprise(AssertionError):
    """An answer that no worker should ever get."""


def work(name: str, rng: random.Random, *, fates: Mapping[str, int] = FATES, wait_seconds: float = 0) -> Script:
    """Train whatever there is. The driver decides when a worker dies, which may be at any call."""
    worker_id = (yield Call(verb="POST", path="/workers", body={"host": name, "pid": 1})).body["worker_id"]
    for wish in count():
        asked = {"worker_id": worker_id, "wait_seconds": wait_seconds, "request": f"wish {wish} of {name}"}
        lease = yield Call(verb="POST", path="/leases", body=asked)
        if lease.status == 200:
            fate = rng.choices(list(fates), list(fates.values()))[0]
            yield from train(lease.body, fate, rng)


def train(lease: Mapping[str, Any], fate: str, rng: random.Random) -> Script:
    """One attempt at a trial."""
    path, epochs = f"/leases/{lease['id']}", int(lease["params"]["epochs"])
    done = 0
    if lease["resume"] is not None:
        done = int(lease["resume"]["epoch"])
        kept = yield Call(verb="GET", path=f"{path}/checkpoint")
        if kept.status == 409:
            return
        if kept.status != 200 or kept.body != bytes_seen(checkpoint_bytes(lease, done)):
            raise Surprise(f"the checkpoint of epoch {done} of trial {lease['trial']} came back as {kept}")
    turns_at = rng.randint(done, epochs)
    for epoch in range(done + 1, epochs + 1):
        if fate != "complete" and epoch > turns_at:
            break
        if rng.random() < 0.2 and (yield Call(verb="POST", path=f"{path}/heartbeat", body={})).status == 409:
            return
        told = yield Call(verb="POST", path=f"{path}/metrics", body={"metrics": points(lease, epoch)})
        if told.status == 409:
            return
        if told.body["verdict"] == "stop":
            fate = "release" if told.body["reason"] in ("paused", "preempted") else "complete"
            break
        data = checkpoint_bytes(lease, epoch)
        query = {"epoch": epoch, "step": epoch * STEPS_AN_EPOCH}
        if (yield Call(verb="PUT", path=f"{path}/checkpoint", body=query, data=data)).status == 409:
            return
        done = epoch
    if fate != "silent":
        yield Call(verb="POST", path=f"{path}/finish", body=ending(lease, fate, max(done, 1)))


def points(lease: Mapping[str, Any], epoch: int) -> list[dict[str, Any]]:
    value = accuracy(lease["params"], epoch)
    shared = {"step": epoch * STEPS_AN_EPOCH, "epoch": float(epoch)}
    return [
        {"name": "accuracy", "value": value, "split": "validation"} | shared,
        {"name": "loss", "value": 1 / (value + 0.1), "split": "train"} | shared,
    ]


def ending(lease: Mapping[str, Any], fate: str, epoch: int) -> dict[str, Any]:
    if fate == "complete":
        return {"state": "completed", "values": {"accuracy": accuracy(lease["params"], epoch)}}
    if fate == "nan":
        return {"state": "completed", "values": {"accuracy": "nan"}}
    if fate == "release":
        return {"state": "released"}
    return {"state": "failed", "failure": {"kind": fate, "message": f"{fate} in trial {lease['trial']}"}}


def checkpoint_bytes(lease: Mapping[str, Any], epoch: int) -> bytes:
    return json.dumps({"study": lease["study_id"], "trial": lease["trial"], "epoch": epoch}).encode() * 20

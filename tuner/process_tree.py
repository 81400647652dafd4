"""A process with all that it started: found by session and by parent, and killed to the last one."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_PROC = Path("/proc")
_MOST_SECONDS = 5.0


def kill_tree(leader: int) -> list[int]:
    """Kill the process, every member of its session, and all their descendants, but not the caller.

    Returns those still alive after some seconds (stuck in the kernel), normally none. Where there is no /proc, only the
    process's own group is killed.
    """
    if not _PROC.joinpath("self").exists():
        _kill_group(leader)
        return []
    deadline = time.monotonic() + _MOST_SECONDS
    while (alive := members(leader)) and time.monotonic() < deadline:
        for pid in alive:
            _kill(pid)
        time.sleep(0.01)
    return alive


def members(leader: int) -> list[int]:
    """The process, its session and all their descendants, as far as they are alive; not the caller."""
    processes = _processes()
    found = {pid for pid, (_, session) in processes.items() if leader in (pid, session)}
    grew = True
    while grew:
        children = {pid for pid, (parent, _) in processes.items() if parent in found} - found
        found |= children
        grew = bool(children)
    return sorted(found - {os.getpid()})


def _processes() -> dict[int, tuple[int, int]]:
    """pid → (parent, session) of every process that is no zombie."""
    found = {}
    for entry in _PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            state, parent, _, session = (
                (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[:4]
            )
        except (OSError, ValueError):
            continue  # it has ended meanwhile
        if state not in ("Z", "X"):
            found[int(entry.name)] = (int(parent), int(session))
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _kill_group(leader: int) -> None:
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        _kill(leader)

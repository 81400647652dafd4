from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuner.process_tree import kill_tree, members

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")

# A process with a child in its session, a grandchild in a session of its own, and signals that it ignores.
FAMILY = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sleep = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"]
children = [subprocess.Popen(sleep, start_new_session=own, stdout=subprocess.PIPE) for own in (False, True)]
for child in children:
    child.stdout.readline()
print(*[child.pid for child in children], flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def test_a_process_goes_with_all_that_it_started() -> None:
    leader = subprocess.Popen([sys.executable, "-c", FAMILY], start_new_session=True, stdout=subprocess.PIPE, text=True)
    assert leader.stdout is not None
    children = [int(pid) for pid in leader.stdout.readline().split()]
    assert len(children) == 2
    assert set(members(leader.pid)) == {leader.pid, *children}
    assert kill_tree(leader.pid) == []
    leader.wait()
    leader.stdout.close()
    deadline = time.monotonic() + 10
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, children))


def test_who_is_gone_already_is_no_error_and_the_caller_is_spared() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert kill_tree(gone.pid) == []
    assert os.getpid() not in members(os.getpid())

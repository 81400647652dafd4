from __future__ import annotations

import subprocess
import sys

# In a process of its own, as the one that trials are forked from; a fork of it must be able to compute with several threads.
PROGRAM = """
import gc, os, threading
import studies.training.warm, sys, torch
assert threading.active_count() == 1, threading.enumerate()
assert "sklearn.metrics" in sys.modules
assert gc.isenabled() and gc.get_freeze_count() > 100_000
if os.fork() == 0:
    torch.set_num_threads(2)
    total = float((torch.ones(600, 600) @ torch.ones(600, 600)).sum())
    os._exit(0 if total == 600.0 ** 3 else 1)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_what_is_forked_from_a_warm_process_computes_with_several_threads() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=250)

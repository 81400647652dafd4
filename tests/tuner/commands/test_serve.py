from __future__ import annotations

import subprocess
import sys

# In a process of its own: what is frozen in this one would stay so for all other tests.
PROGRAM = """
import gc
from tuner.commands.serve import _imported
assert _imported("api.server").main
assert gc.isenabled() and gc.get_freeze_count() > 100_000
"""


def test_the_service_is_not_looked_through_for_garbage() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=250)

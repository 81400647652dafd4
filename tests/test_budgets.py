"""The size budgets of the code, and rules that no linter knows."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path
    for package in ("api", "studies", "tuner")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "versions" not in path.parts
]
Function = ast.FunctionDef | ast.AsyncFunctionDef
TRAINING_LOOP = ("studies/training/loop.py", 120)


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, Function)]


def length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_file_has_more_than_500_lines() -> None:
    too_long = {str(path.relative_to(ROOT)): lines for path in SOURCES if (lines := len(path.read_text().splitlines())) > 500}
    assert too_long == {}


def test_no_function_has_more_than_60_lines() -> None:
    too_long = {}
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        limit = TRAINING_LOOP[1] if name == TRAINING_LOOP[0] else 60
        too_long.update({f"{name}:{node.name}": length(node) for node in functions(path) if length(node) > limit})
    assert too_long == {}


def test_the_median_function_has_at_most_10_lines() -> None:
    assert statistics.median(length(node) for path in SOURCES for node in functions(path)) <= 10


def test_no_class_has_more_than_12_public_methods() -> None:
    too_wide = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                public = [entry.name for entry in node.body if isinstance(entry, Function) and not entry.name.startswith("_")]
                if len(public) > 12:
                    too_wide[f"{path.relative_to(ROOT)}:{node.name}"] = len(public)
    assert too_wide == {}


def test_init_files_are_empty() -> None:
    assert [str(path) for path in SOURCES if path.name == "__init__.py" and path.read_text()] == []


@pytest.mark.parametrize("module", ["api.app", "tuner.manager", "tuner.cli"])
def test_importing_the_service_loads_no_training_library(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'sklearn', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"

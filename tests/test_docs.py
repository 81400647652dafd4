"""The documentation speaks of files that exist, and leaves none out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def modules() -> set[str]:
    found = [path for package in ("api", "studies", "tuner") for path in (ROOT / package).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix() for path in found if path.name != "__init__.py" and "versions" not in path.parts}


def test_the_layout_names_every_module_and_no_other() -> None:
    listed = set(re.findall(r"^\| `((?:api|studies|tuner)/\S+\.py)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE))
    assert listed == modules()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []

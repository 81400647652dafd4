"""Every page in both themes and several widths: pictures to look at, nothing too wide, and no barrier that axe finds."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site, Visitor
from tests.browser.scene import Player, busy_study

pytestmark = pytest.mark.browser

OUTPUT = Path(__file__).parents[1] / "output"
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = {1280: 900, 375: 812}


def barriers(page: Page) -> list[str]:
    """What axe calls serious or critical: rule, and the first places of it."""
    if not page.evaluate("'axe' in window"):
        page.evaluate((importlib.resources.files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    # plotly's own drawing is out of our hands; each figure stands in a named group.
    found: dict[str, Any] = page.evaluate("axe.run({exclude: [['.js-plotly-plot .main-svg'], ['.modebar']]})")
    serious = [violation for violation in found["violations"] if violation["impact"] in ("serious", "critical")]
    return [f"{violation['id']}: {[node['target'] for node in violation['nodes']][:3]}" for violation in serious]


def picture(page: Page, name: str) -> None:
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=OUTPUT / f"{name}.png", full_page=True)


@pytest.fixture(scope="session")
def paths(site: Site, busy: Player) -> dict[str, tuple[str, str]]:
    """Page → where it is, and what shows that it is there."""
    other = busy_study(site.service, trials=12, name="topics again", seed=5)
    study = f"/studies/{busy.study.id}"
    return {
        "studies": ("/", "#rows tr"),
        "study": (f"{study}?marked=3,7", "#trials-rows tr"),
        "trial": (f"{study}/trials/0", "#curve-panel .point"),
        "compare": (f"{study}/compare?trials=0,3,7", "#rows tr"),
        "compare-studies": (f"/compare?studies={busy.study.id},{other.study.id}", "#rows tr"),
        "new-study": (f"/new?from={busy.study.id}", ".parameter"),
        "workers": ("/workers", "#rows tr"),
        "audit": ("/audit", "#rows tr"),
        "tokens": ("/tokens", "#rows tr"),
        "missing": ("/studies/absent", "h1"),
    }


@pytest.mark.parametrize(
    "name", ["studies", "study", "trial", "compare", "compare-studies", "new-study", "workers", "audit", "tokens", "missing"]
)
def test_pictures_of_every_page(site: Site, paths: dict[str, tuple[str, str]], admin: Visitor, name: str) -> None:
    OUTPUT.mkdir(exist_ok=True)
    path, ready = paths[name]
    page = admin.open(site, path)
    expect(page.locator(ready).first).to_be_attached()
    for figure in page.locator("[data-figure]:visible").all():
        figure.scroll_into_view_if_needed()
        expect(figure.locator(".main-svg, canvas").first).to_be_attached()
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            picture(page, f"{name}-{scheme}-{width}")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            if width == 1280:
                assert barriers(page) == [], (name, scheme)
    if name == "study":
        page.set_viewport_size({"width": 3840, "height": 2160})
        picture(page, "study-dark-3840")
        assert page.evaluate("document.documentElement.scrollWidth") <= 3840
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")
    if name == "missing":
        admin.forgive("404")


def test_the_login_and_a_dialog(site: Site, busy: Player, visitor: Visitor) -> None:
    page = visitor.open(site, "/login")
    in_both_themes(page, "login")
    visitor.sign_in(site)
    visitor.open(site, f"/studies/{busy.study.id}?lang=zh")
    page.locator("#budget").click()
    expect(page.locator("#confirm")).to_be_visible()
    in_both_themes(page, "dialog")


def in_both_themes(page: Page, name: str) -> None:
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=OUTPUT / f"{name}-{scheme}-1280.png")
        assert barriers(page) == [], (name, scheme)

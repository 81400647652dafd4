"""A page whose answers have not come yet: whatever is pressed meanwhile does no harm."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Route

from tests.browser.conftest import Site, Visitor
from tests.browser.test_live import running_trial

pytestmark = pytest.mark.browser

#: Looked for in the page itself, all at once: a press may hide or add others. Links and the
#: buttons of the session would leave the page.
PRESS_AND_CHANGE = """() => {
  const shown = (node) => node.checkVisibility();
  const pressed = [...document.querySelectorAll("main button, main summary")].filter(shown);
  pressed.forEach((node) => node.click());
  const changed = [...document.querySelectorAll("main select, main input")].filter(shown);
  changed.forEach((node) => ["input", "change"].forEach((name) => node.dispatchEvent(new Event(name, {bubbles: true}))));
  return pressed.length + changed.length;
}"""


PAGES = [
    "/", "/new", "/workers", "/audit", "/tokens", "/compare?studies={study}",
    "/studies/{study}", "/studies/{study}/trials/0", "/studies/{study}/compare?trials=0",
]  # fmt: skip
NOTHING_TO_PRESS_YET = {"/", "/workers", "/audit"}


@pytest.mark.parametrize("path", PAGES)
def test_what_is_pressed_before_the_answers_come_does_no_harm(path: str, site: Site, admin: Visitor) -> None:
    study, _ = running_trial(site, f"asked of page {PAGES.index(path)}")
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    admin.page.route(re.compile("/api/v1/"), hold)
    with admin.page.expect_request(re.compile("/api/v1/")):
        page = admin.open(site, path.format(study=study.id))
    pressed = page.evaluate(PRESS_AND_CHANGE)
    with page.expect_response(re.compile("/api/v1/")):
        page.unroute_all()  # lets go of what is held
    page.wait_for_timeout(300)  # what was pressed acts on what came
    assert held
    assert pressed or path in NOTHING_TO_PRESS_YET
    assert admin.complaints == []

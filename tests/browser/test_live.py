"""Pages that move by themselves: without reloading, and not under the user's hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Site, Visitor, panel
from tests.simulation import point, start_study, start_worker
from tuner.granting import Lease
from tuner.manager import Ending
from tuner.records import Study
from tuner.service import utc_now

pytestmark = pytest.mark.browser


def running_trial(site: Site, name: str) -> tuple[Study, Lease]:
    study = start_study(site.service, utc_now(), name=name, pruner={"name": "none"})
    lease = site.service.manager.lease(start_worker(site.service, utc_now()), studies=[study.id], now=utc_now())
    assert lease is not None
    return study, lease


def test_a_reported_number_appears_and_the_zoom_stays(site: Site, admin: Visitor) -> None:
    service = site.service
    study, lease = running_trial(site, "live")
    page = admin.open(site, f"/studies/{study.id}")
    expect(page.locator("#live")).to_have_text("live")
    curves = panel(page, "curves")
    expect(curves).to_contain_text("No trial has reported yet")
    page.evaluate("window.sameDocument = true")
    service.manager.report(lease.id, [point(epoch, 0.1 * epoch) for epoch in (1, 2, 3)], now=utc_now())
    expect(page.locator("#trials-rows tr").first).to_contain_text("0.300")
    plot = curves.locator(".plot")
    expect(plot.locator("path.point")).to_have_count(3)
    # As the user would: drag across a part of the plot.
    box = plot.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.8, steps=5)
    page.mouse.up()
    shown = "plot => plot.layout.xaxis.range.map(end => end.toFixed(4)).join()"
    page.wait_for_function("plot => plot.layout.xaxis.autorange !== true", arg=plot.element_handle())
    zoomed = plot.evaluate(shown)
    service.manager.report(lease.id, [point(4, 0.4321)], now=utc_now())
    page.wait_for_function("plot => plot.data[0].x.length === 4", arg=plot.element_handle())
    assert plot.evaluate(shown) == zoomed
    service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.4321}), now=utc_now())
    expect(page.locator("#tiles")).to_contain_text("1 / 30")
    expect(panel(page, "history").locator("path.point").first).to_be_attached()
    assert page.evaluate("window.sameDocument")


def test_what_happens_before_the_stream_opens_is_shown(site: Site, admin: Visitor) -> None:
    service = site.service
    study, lease = running_trial(site, "logging")

    def log_first(route: Route) -> None:
        expect(admin.page.locator("#details")).to_contain_text("None")  # the page has read everything once
        service.manager.log(lease.id, ["early"], now=utc_now())
        service.manager.report(lease.id, [point(1, 0.5)], now=utc_now())
        route.continue_()

    admin.page.route(re.compile("/events"), log_first)
    page = admin.open(site, f"/studies/{study.id}/trials/0")
    expect(page.locator("#log")).to_have_text("early\n")


def test_a_log_grows_on_the_page_of_its_trial(site: Site, admin: Visitor) -> None:
    service = site.service
    study, lease = running_trial(site, "growing")
    page = admin.open(site, f"/studies/{study.id}/trials/0")
    expect(page.locator("#no-log")).to_be_visible()
    for number in (1, 2):
        service.manager.log(lease.id, [f"line {number}"], now=utc_now())
        service.manager.report(lease.id, [point(number, 0.5)], now=utc_now())
        expect(page.locator("#log")).to_contain_text(f"line {number}")
    expect(page.locator("#log")).to_have_text("line 1\nline 2\n")


def test_what_is_being_written_is_not_replaced(site: Site, admin: Visitor) -> None:
    service = site.service
    study, lease = running_trial(site, "written")
    page = admin.open(site, f"/studies/{study.id}")
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Notes", exact=True).fill("half a sent")
    page.get_by_label("Mark trial 0").focus()
    service.manager.report(lease.id, [point(1, 0.25)], now=utc_now())
    expect(page.locator("#trials-rows tr").first).to_contain_text("0.250")
    expect(page.get_by_label("Notes", exact=True)).to_have_value("half a sent")
    expect(page.get_by_label("Mark trial 0")).to_be_focused()


def test_a_page_outlives_its_service(tmp_path: Path, visitor: Visitor) -> None:
    first = Site(tmp_path / "home")
    study, lease = running_trial(first, "outlived")
    visitor.sign_in(first)
    page = visitor.open(first, f"/studies/{study.id}")
    expect(page.locator("#live")).to_have_text("live")
    first.close()
    expect(page.locator("#live")).to_have_text("reconnecting")
    second = Site(tmp_path / "home", int(first.url.rpartition(":")[2]))
    try:
        expect(page.locator("#live")).to_have_text("live")
        second.service.manager.report(lease.id, [point(1, 0.625)], now=utc_now())
        expect(page.locator("#trials-rows tr").first).to_contain_text("1")
        second.service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.625}), now=utc_now())
        expect(page.locator("#trials-rows tr").first).to_contain_text("0.625")
    finally:
        visitor.page.goto("about:blank")
        second.close()
    visitor.forgive("ERR_")


def test_a_refused_stream_is_asked_for_again(site: Site, visitor: Visitor) -> None:
    """A proxy answers 502 while the service behind it is away, and the browser gives up then."""
    study, lease = running_trial(site, "behind a proxy")
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        refused.append(route)
        route.fulfill(status=502, body="bad gateway") if len(refused) == 1 else route.continue_()

    visitor.page.route(re.compile("/events"), refuse_once)
    visitor.sign_in(site)
    page = visitor.open(site, f"/studies/{study.id}")
    expect(page.locator("#live")).to_have_text("live")
    assert len(refused) == 2
    site.service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.875}), now=utc_now())
    expect(page.locator("#trials-rows tr").first).to_contain_text("0.875")
    visitor.forgive("502")

"""The list of studies, signing in and out, and the language. Each test fails on any console error, policy violation or dialog."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site, Visitor
from tests.browser.scene import Player
from tests.simulation import start_study
from tuner.lifecycle import Actor
from tuner.service import utc_now

pytestmark = pytest.mark.browser


def test_the_list_shows_studies_and_filters_them(site: Site, busy: Player, admin: Visitor) -> None:
    start_study(site.service, utc_now(), name="another", tags={"team": "vision"})
    page = admin.open(site, "/")
    row = page.locator("#rows tr", has=page.get_by_role("link", name="topics", exact=True))
    expect(row).to_contain_text("running")
    expect(row).to_contain_text(re.compile(r"\d+ of 60 trials"))
    expect(row.locator("svg polyline")).to_have_count(1)
    page.get_by_label("Filter").fill("vision")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page).to_have_url(re.compile("q=vision"))
    page.get_by_label("Filter").fill("no such study")
    expect(page.locator("#summary")).to_contain_text("No study is so")
    page.get_by_label("Filter").fill("")
    for name in ("topics", "another"):
        page.get_by_label(f"Compare “{name}”").check()
    page.get_by_role("main").get_by_role("link", name="Compare", exact=True).click()
    expect(page.locator("h1")).to_have_text("Compare studies")
    expect(page.locator("#chosen .chip")).to_have_count(2)


def test_an_empty_service_says_what_to_do_next(own_site: Site, visitor: Visitor) -> None:
    visitor.sign_in(own_site)
    page = visitor.open(own_site, "/workers")
    expect(page.locator("#empty")).to_contain_text("tuner worker --server")
    visitor.open(own_site, "/compare")
    expect(page.locator("#empty")).to_contain_text("Add 2 to 6 studies")
    visitor.open(own_site, "/")
    expect(page.locator("#empty")).to_contain_text("tuner run studies/examples/quick.yaml")
    expect(page.locator("#list")).to_be_hidden()
    start_study(own_site.service, utc_now(), name="the first")
    expect(page.get_by_role("link", name="the first")).to_be_visible()


def test_signing_in_with_a_token_leads_to_where_one_wanted(site: Site, busy: Player, visitor: Visitor) -> None:
    page = visitor.open(site, "/workers")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_contain_text("this token is not known")
    visitor.forgive("401")
    page.get_by_label("Token").fill(site.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_have_text("Workers")
    expect(page.locator("#live")).to_have_text("live")
    row = page.locator("#rows tr", has_text="node-a:4101").first
    expect(row).to_contain_text("NVIDIA L4")
    expect(row.get_by_role("link")).to_have_text(re.compile(r"trial \d+"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    visitor.open(site, "/login?next=//example.org/")
    page.get_by_label("Token").fill(site.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_have_text("Studies")
    assert page.url == f"{site.url}/", "the login leads to no other site"


def test_the_language_is_switched_and_stays(site: Site, busy: Player, visitor: Visitor) -> None:
    visitor.sign_in(site)
    page = visitor.open(site, f"/studies/{busy.study.id}")
    page.get_by_label("Language").select_option("zh")
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    expect(page.locator("#state")).to_contain_text("运行中")
    expect(page.locator("#tiles")).to_contain_text("进度")
    expect(page.locator('[data-figure="history"] .legend')).to_contain_text("已完成")
    visitor.open(site, "/")
    expect(page.locator("h1")).to_have_text("研究")
    page.get_by_label("语言").select_option("en")
    expect(page.locator("h1")).to_have_text("Studies")


def test_a_page_that_is_not_there_leads_on(site: Site, admin: Visitor) -> None:
    page = admin.open(site, "/studies/absent")
    expect(page.locator("main")).to_contain_text("No study 'absent'", ignore_case=True)
    admin.forgive("404")
    page.get_by_role("link", name="list of studies").click()
    expect(page.locator("h1")).to_have_text("Studies")


def test_what_the_service_says_is_said_in_the_language_of_the_page(site: Site, visitor: Visitor) -> None:
    study = start_study(site.service, utc_now(), name="paused")
    site.service.lifecycle.pause(study.id, actor=Actor(), now=utc_now())
    visitor.sign_in(site)
    page = visitor.open(site, f"/studies/{study.id}?lang=zh")
    expect(page.locator("#reason")).to_have_text("由用户暂停")
    page.get_by_label("条件").fill("height>2")
    expect(page.locator("#where-wrong")).to_contain_text("未知的列 'height'；可用：attempt")
    visitor.forgive("422")
    visitor.open(site, "/audit")
    expect(page.locator("#rows")).to_contain_text("暂停研究")


def test_every_page_can_be_reached_from_a_narrow_one(site: Site, admin: Visitor) -> None:
    page = admin.open(site, "/")
    page.set_viewport_size({"width": 375, "height": 812})
    for link in page.locator(".top nav a").all():
        box = link.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 375, link.inner_text()
    page.set_viewport_size({"width": 1280, "height": 900})

"""Trials, and whole studies, side by side."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site, Visitor, panel
from tests.browser.scene import Player, busy_study
from tuner.db.trial_rows import trials_of

pytestmark = pytest.mark.browser


def test_trials_side_by_side_show_what_differs(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}/compare")
    expect(page.locator("#empty")).to_contain_text("Name 2 to 6 trials above")
    page.get_by_label("Trials").fill("0, 1, 3")
    page.locator("#choose button").click()
    expect(page.locator("#heads th")).to_have_count(3)
    rows = page.locator("#rows tr:not(.section)")
    expect(rows.filter(has_text="learning_rate")).to_have_class("differs")
    expect(rows.filter(has_text="weight_decay")).to_have_count(0)
    expect(page.locator("#hidden-rows")).to_have_text(re.compile(r"\d+ rows that are the same in all are hidden"))
    page.get_by_label("show what is the same too").check()
    expect(rows.filter(has_text="weight_decay")).not_to_have_class("differs")
    expect(rows.filter(has_text="transformers")).to_contain_text("5.23.0")
    curves = panel(page, "compare-curves")
    expect(curves.locator(".scatterlayer .trace")).to_have_count(3)
    curves.get_by_label("Metric").select_option("train/loss")
    curves.get_by_label("by").select_option("step")
    expect(curves.locator(".xtitle")).to_have_text("step")
    expect(page).to_have_url(re.compile(r"trials=0%2C1%2C3.*all=1.*metric=train%2Floss.*by=step"))
    page.get_by_label("Trials").fill("0, 9999")
    page.locator("#choose button").click()
    expect(page.locator("#alert")).to_contain_text("has no trial 9999")
    admin.forgive("404")


def test_results_of_trials_side_by_side(site: Site, busy: Player, admin: Visitor) -> None:
    with site.service.ledger.read() as connection:
        trials = [trial for trial in trials_of(connection, busy.study.id) if site.service.artifacts.list(trial)]
    worst, best = (pick(trials, key=lambda trial: trial.value or 0.0).number for pick in (min, max))
    page = admin.open(site, f"/studies/{busy.study.id}/compare?trials={worst},{best}")
    results = page.locator("#results")
    expect(results).to_contain_text("Scores by class")
    expect(results.locator("table").first.locator("tbody tr")).to_have_count(3)
    flipped = results.locator("table").nth(1).locator("tbody tr")
    expect(flipped.first).to_contain_text("✓")
    expect(flipped.first).to_contain_text("✕")
    maps = page.locator("#attention-maps .plot")
    expect(maps).to_have_count(2)
    shown = "p => p.data[0].z.map(row => row.reduce((sum, share) => sum + share, 0))"
    page.wait_for_function("p => p.data", arg=maps.first.element_handle())
    assert maps.first.evaluate(shown) == pytest.approx([1.0] * 7, abs=0.02)
    expect(maps.first.locator("g.ytick text, .ytick > text").nth(5)).to_have_text("<script>")
    mean = maps.first.evaluate("p => p.data[0].z.flat()")
    page.get_by_label("Head").select_option("2")
    page.wait_for_function(f"p => p.data[0].z[0][0] !== {mean[0]}", arg=maps.first.element_handle())
    page.get_by_label("Example").select_option("2")
    page.wait_for_function("p => p.data[0].z.length === 6", arg=maps.last.element_handle())
    page.get_by_label("Block").select_option("1")
    expect(page).to_have_url(re.compile("head=2.*example=2.*block=1"))
    page.reload()
    page.wait_for_function("p => p.data?.[0].z.length === 6", arg=maps.last.element_handle())
    expect(page.get_by_label("Head")).to_have_value("2")


def test_studies_side_by_side(site: Site, busy: Player, admin: Visitor) -> None:
    other = busy_study(site.service, trials=8, name="other", seed=3, parallelism=2)
    page = admin.open(site, f"/compare?studies={busy.study.id}")
    page.get_by_label("Add a study").select_option("other")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page).to_have_url(re.compile(other.study.id))
    for figure in ("by_trial", "by_hour", "edf"):
        expect(panel(page, figure).locator("path.js-line").first).to_be_attached()
    expect(panel(page, "by_hour").locator(".xtitle")).to_have_text(re.compile("hours"))
    expect(page.locator("#rows tr", has_text="parallelism")).to_have_class("differs")
    expect(page.locator("#rows tr", has_text="sampler.name")).to_have_count(0)

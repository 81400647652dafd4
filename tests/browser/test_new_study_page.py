"""A new study: its form and its file, tried out and started; and a copy of an old one."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site, Visitor
from tests.browser.scene import Player

pytestmark = pytest.mark.browser


def test_a_study_is_made_with_form_and_file_tried_out_and_started(site: Site, admin: Visitor) -> None:
    page = admin.open(site, "/new")
    file, form = page.locator("#yaml"), page.locator("#form")
    expect(file).to_have_value(re.compile("task: text-classification"))
    # What is changed in the form shows in the file …
    form.get_by_label("Name", exact=True).fill("made here")
    form.get_by_label("Trials", exact=True).fill("7")
    form.get_by_label("Trials", exact=True).blur()
    expect(file).to_have_value(re.compile(r"name: made here[\s\S]*budget: \{trials: 7\}"))
    form.get_by_label("How optimizer is searched").select_option("fixed")
    expect(file).to_have_value(re.compile(r"optimizer: \{value: adamw\}"))
    form.locator('[data-path="sampler.name"]').select_option("random")
    expect(file).to_have_value(re.compile(r"sampler: \{name: random\}"))
    # … and the other way round.
    text = file.input_value()
    file.fill(text.replace("trials: 7", "trials: 0").replace("builtin:trec", "builtin:nothing"))
    expect(form.get_by_label("Trials", exact=True)).to_have_value("0")
    file.fill("a: [")
    expect(page.locator("#yaml-wrong")).to_contain_text("line 1")
    admin.forgive("422")
    file.fill(text.replace("trials: 7", "trials: 0") + "unheard: 3\n")
    expect(form.get_by_label("Trials", exact=True)).to_have_value("0")
    # What is wrong stands at its field, or in the list if it has none.
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#outcome")).to_contain_text("2 fields are wrong")
    expect(form.locator(".field", has_text="greater than or equal to 1")).to_contain_text("Trials")
    expect(page.locator("#other-errors")).to_contain_text("unheard: unknown key")
    admin.forgive("422")
    file.fill(text)
    expect(form.get_by_label("Trials", exact=True)).to_have_value("7")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#outcome")).to_contain_text("Nothing is wrong")
    expect(page.locator("#plan-body")).to_contain_text("trials 7")
    expect(page.locator("#plan-body")).to_contain_text("First trial, the untuned default")
    page.get_by_role("button", name="Start the study").click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("7 in all, up to 4 at a time")
    dialog.get_by_role("button", name="Start the study").click()
    expect(page.locator("h1")).to_contain_text("made here")


def test_a_copy_begins_with_what_the_old_study_had(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}")
    page.get_by_role("link", name="Copy").click()
    expect(page.locator("#yaml")).to_have_value(
        re.compile(r"name: topics-2[\s\S]*when: \{optimizer: sgd\}[\s\S]*budget: \{trials: 60\}")
    )
    expect(page.locator("#copied")).to_contain_text("the old study stays as it is")

"""What people can do: each after saying what will happen, each refused politely where the role does not allow it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site, Visitor
from tests.browser.scene import Player
from tests.simulation import point, start_study, start_worker
from tuner.db.study_rows import get_study
from tuner.service import utc_now

pytestmark = pytest.mark.browser


def test_a_study_is_paused_changed_and_stopped(site: Site, admin: Visitor) -> None:
    study = start_study(site.service, utc_now(), name="mine")
    page = admin.open(site, f"/studies/{study.id}")
    state, dialog = page.locator("#state"), page.locator("#confirm")
    page.get_by_role("button", name="Pause").click()
    expect(dialog).to_contain_text("No more trials are started")
    dialog.get_by_role("button", name="Cancel").click()
    expect(state).to_contain_text("running")
    page.get_by_role("button", name="Pause").click()
    dialog.get_by_role("button", name="Pause").click()
    expect(state).to_contain_text("paused")

    page.get_by_role("button", name="Change budget").click()
    expect(dialog).to_contain_text("whichever limit is reached first")
    dialog.get_by_label("Trials", exact=True).fill("0")
    dialog.get_by_role("button", name="Change").click()
    expect(page.locator("#confirm-wrong")).to_contain_text("budget.trials")
    admin.forgive("422")
    dialog.get_by_label("Trials", exact=True).fill("44")
    dialog.get_by_label("Trials at once").fill("7")
    dialog.get_by_role("button", name="Change").click()
    expect(page.locator("#tiles")).to_contain_text("0 / 44")

    page.get_by_role("button", name="Add trial").click()
    dialog.locator('[name="optimizer"]').select_option("sgd")
    dialog.locator('[name="batch_size"]').select_option("16")
    dialog.get_by_role("button", name="Add trial").click()
    expect(page.locator("#trials-rows tr").nth(1)).to_contain_text("sgd")

    page.get_by_role("button", name="Resume").click()
    expect(dialog).to_contain_text("2 trials wait.")
    dialog.get_by_role("button", name="Resume").click()
    expect(state).to_contain_text("running")
    page.get_by_role("button", name="Stop").click()
    expect(dialog).to_contain_text("can't be resumed")
    dialog.get_by_role("button", name="Stop the study").click()
    expect(state).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    with site.service.ledger.read() as connection:
        stored = get_study(connection, study.id)
    assert stored is not None
    assert (stored.spec.budget.trials, stored.spec.parallelism) == (44, 7)


def test_the_space_is_edited_as_in_a_study_file(site: Site, admin: Visitor) -> None:
    study = start_study(site.service, utc_now(), name="spacious")
    page = admin.open(site, f"/studies/{study.id}")
    page.get_by_role("button", name="Edit space").click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("new trials are drawn from the new space")
    file = dialog.get_by_label("Parameters, as in a study file")
    expect(file).to_have_value(re.compile("learning_rate"))
    file.fill("parameters:\n  learning_rate: {min: 1, max: ")
    dialog.get_by_role("button", name="Change").click()
    expect(page.locator("#confirm-wrong")).to_contain_text("is not YAML")
    admin.forgive("422")


def test_a_trial_is_stopped_and_cloned(site: Site, admin: Visitor) -> None:
    service = site.service
    study = start_study(service, utc_now(), name="trials")
    lease = service.manager.lease(start_worker(service, utc_now()), studies=[study.id], now=utc_now())
    assert lease is not None
    service.manager.report(lease.id, [point(1, 0.5)], now=utc_now())
    page = admin.open(site, f"/studies/{study.id}/trials/0")
    dialog = page.locator("#confirm")
    page.get_by_role("button", name="Stop").click()
    expect(dialog).to_contain_text("with the last value reported")
    dialog.get_by_role("button", name="Stop").click()
    expect(page.locator("#state")).to_contain_text("stopped")
    expect(page.locator("#attempts")).to_contain_text("stopped by a user")
    page.get_by_role("button", name="Extend").click()
    expect(dialog).to_contain_text("It has had 1 so far")
    dialog.get_by_label("More epochs").fill("2")
    dialog.get_by_role("button", name="Extend").click()
    expect(page.locator("#state")).to_contain_text("waiting")
    page.get_by_role("button", name="Clone").click()
    dialog.locator('[name="learning_rate"]').fill("0.0002")
    dialog.get_by_role("button", name="Clone").click()
    expect(page.locator("h1")).to_contain_text("Trial 1")
    expect(page.locator("#parameters")).to_contain_text("learning_rate2e-4")
    expect(page.locator("#about")).to_have_text("given by a user")


def test_a_viewer_is_refused_politely(site: Site, busy: Player, visitor: Visitor) -> None:
    _, token = site.service.access.create_token("viewer", "a guest", now=utc_now())
    visitor.sign_in(site, token)
    page = visitor.open(site, f"/studies/{busy.study.id}")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert").first).to_contain_text("This needs the role editor; you are signed in with the role viewer")
    expect(page.locator("#confirm")).to_be_hidden()
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(page.get_by_label("Notes", exact=True)).to_have_count(0)
    expect(page.get_by_role("link", name="Tokens")).to_have_count(0)
    for path in ("/tokens", "/audit"):
        visitor.open(site, path)
        expect(page.get_by_role("alert").first).to_contain_text("This needs the role admin")


def test_tokens_are_made_and_revoked_and_the_audit_log_knows(site: Site, admin: Visitor) -> None:
    page = admin.open(site, "/tokens")
    page.get_by_role("button", name="New token").click()
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text("The secret is shown once")
    dialog.locator('[name="name"]').fill("for a colleague")
    dialog.locator('[name="role"]').select_option("editor")
    dialog.get_by_role("button", name="Make the token").click()
    secret = page.locator("#secret")
    expect(secret).to_have_text(re.compile(r"\S{20,}"))
    token = site.service.access.identify(secret.inner_text(), now=utc_now())
    assert token is not None
    assert token.role == "editor"
    row = page.locator("#rows tr", has_text="for a colleague")
    expect(row).to_contain_text("valid")
    row.get_by_role("button", name="Revoke").click()
    expect(dialog).to_contain_text("This can't be undone")
    dialog.get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    page.reload()
    expect(row).to_contain_text("revoked")
    expect(page.locator("#secret-box")).to_be_hidden()
    admin.open(site, "/audit")
    expect(page.locator("#rows tr").first).to_contain_text("token")
    expect(page.locator("#rows")).to_contain_text("token.revoke")
    expect(page.locator("#rows")).to_contain_text("for a colleague")

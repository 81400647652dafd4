"""The dashboard as a person meets it. Each test fails on any console error, policy violation or dialog."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.conftest import Site, Visitor
from tests.browser.scene import Player
from tests.simulation import point, start_study, start_worker
from tuner.manager import Ending
from tuner.service import utc_now

pytestmark = pytest.mark.browser

OUTPUT = Path(__file__).parents[1] / "output"
NASTY = " ".join(
    (
        "<img src=x onerror=alert(1)>",
        "<script>alert(2)</script>",
        "\"'><svg onload=alert(3)>",
        "{{7*7}}${7*7}<%= 7*7 %>",
        "<a href='javascript:alert(4)'>click</a>",
    )
)


@pytest.fixture
def signed_in(site: Site, visitor: Visitor) -> Visitor:
    visitor.sign_in(site)
    return visitor


def panel(page: Page, name: str) -> Locator:
    found = page.locator(f'[data-figure="{name}"]')
    found.scroll_into_view_if_needed()
    return found


def first_numbers(page: Page, count: int = 3) -> list[str]:
    return [cell.strip() for cell in page.locator("#trials-rows tr td:first-child").all_inner_texts()[:count]]


def test_the_list_shows_a_study_and_how_far_it_is(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, "/")
    row = page.locator("#rows tr", has_text="topics")
    expect(row).to_contain_text("running")
    expect(row).to_contain_text(f"{busy.ended} of 60 trials")
    expect(row.locator("svg polyline")).to_have_count(1)
    row.get_by_role("link", name="topics").click()
    expect(page.locator("h1")).to_contain_text("topics")


def test_the_list_is_filtered_and_the_filter_is_in_the_address(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, "/")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.get_by_label("Filter").fill("no such study")
    expect(page.locator("#rows tr")).to_have_count(0)
    page.goto(page.url.replace("no+such+study", "minilm"))
    expect(page.locator("#rows tr")).to_have_count(1)


def test_an_empty_service_says_what_to_do_next(own_site: Site, visitor: Visitor) -> None:
    visitor.sign_in(own_site)
    page = visitor.open(own_site, "/")
    expect(page.locator("#empty")).to_contain_text("tuner run studies/examples/quick.yaml")
    expect(page.locator("#list")).to_be_hidden()
    start_study(own_site.service, utc_now(), name="the first")
    expect(page.get_by_role("link", name="the first")).to_be_visible()
    visitor.open(own_site, "/workers")
    expect(page.locator("#empty")).to_contain_text("tuner worker --server")


def test_each_figure_is_drawn(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    for figure, mark in {
        "history": ".scatterlayer path.point",
        "curves": ".scatterlayer path.js-line",
        "importances": ".barlayer .point path",
        "timeline": ".barlayer .point path",
        "parallel": ".scatterlayer path.js-line",
        "explore": ".scatterlayer path.point",
    }.items():
        drawn = panel(page, figure).locator(mark)
        expect(drawn.first, figure).to_be_attached()
        box = drawn.last.bounding_box()
        assert box is not None, figure
        assert box["width"] + box["height"] > 3, figure


@pytest.mark.parametrize(
    "kind, mark", [("contour", ".contourlayer path, .scatterlayer path.point"), ("rank", "path.point"), ("edf", "path.js-line")]
)
def test_other_figures_are_chosen_and_the_choice_is_in_the_address(
    site: Site, busy: Player, signed_in: Visitor, kind: str, mark: str
) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    explore = panel(page, "explore")
    explore.get_by_label("Show").select_option(kind)
    expect(page).to_have_url(re.compile(f"kind={kind}"))
    expect(page.locator("#y-label")).to_be_visible(visible=kind != "edf")
    page.reload()
    expect(panel(page, "explore").locator(mark).first).to_be_attached()
    expect(page.get_by_label("Show")).to_have_value(kind)


def test_a_figure_follows_the_axis_that_is_chosen(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    explore = panel(page, "explore")
    explore.get_by_label("x", exact=True).select_option("epochs")
    expect(explore.locator(".xtitle")).to_have_text("epochs")


def test_curves_of_another_metric(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    curves = panel(page, "curves")
    curves.get_by_label("Metric").select_option("train/loss")
    expect(curves.locator(".ytitle")).to_have_text("train/loss")
    expect(page).to_have_url(re.compile("metric=train%2Floss"))


def test_no_button_of_a_figure_sends_it_away(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    buttons = panel(page, "history").locator(".modebar-btn")
    expect(buttons).to_have_count(6)
    titles = " ".join(button.get_attribute("data-title") or "" for button in buttons.all())
    assert re.search("download", titles, re.IGNORECASE)
    assert not re.search("cloud|share|link|send|studio", titles, re.IGNORECASE)


def test_the_overview_compares_the_best_with_the_default(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    tiles = page.locator("#tiles")
    expect(tiles).to_contain_text(f"{busy.ended} / 60")
    expect(tiles).to_contain_text(re.compile(r"0\.\d{3} better than the untuned default, 0\.\d{3}"))
    page.get_by_text("Search space and settings").click()
    expect(page.locator("#spec")).to_contain_text("1e-6 … 0.001, log")


def test_headings_sort_on_the_service(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    expect(page.locator("#trials-rows tr")).to_have_count(busy.ended + 3)  # two run, one waits
    assert first_numbers(page) == ["0", "1", "2"]
    heading = page.locator("#trials-head th", has_text="accuracy")
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "descending")
    expect(page.locator("#trials-rows tr").first).to_contain_text("★")
    expect(page).to_have_url(re.compile("sort=-value"))
    best = first_numbers(page)
    page.reload()
    expect(page.locator("#trials-rows tr").first).to_contain_text("★")
    assert first_numbers(page) == best
    heading.get_by_role("button").click()
    expect(heading).to_have_attribute("aria-sort", "ascending")
    expect(page.locator("#trials-rows tr").first).not_to_contain_text("★")


def test_trials_of_one_state(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    page.get_by_label("State").select_option("failed")
    expect(page.locator("#trials-count")).to_have_text("2 trials")
    expect(page.locator("#trials-rows tr")).to_have_count(2)


def test_a_row_leads_to_its_trial(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    page.locator("#trials-rows tr").nth(3).locator("td").nth(1).click()
    expect(page.locator("h1")).to_contain_text("Trial 3")


def test_a_trial_shows_what_it_was_given_and_what_it_reported(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}/trials/0")
    expect(page.locator("#about")).to_have_text("the untuned default")
    expect(page.locator("#parameters")).to_contain_text("learning_rate5e-5")
    expect(page.locator("#metrics tbody tr")).to_have_count(3)
    expect(page.locator("#curve-panel .scatterlayer path.js-line")).to_have_count(1)
    expect(page.locator("#attempts tbody tr")).to_have_count(1)
    expect(page.locator("#details")).to_contain_text("10,664,838")
    expect(page.locator("#log")).to_contain_text("epoch 3: accuracy")
    page.get_by_role("link", name="Next trial").click()
    expect(page.locator("h1")).to_contain_text("Trial 1")


def test_a_failed_trial_says_why(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}/trials/6")
    expect(page.locator("#failure")).to_contain_text("Failed: nan")
    expect(page.locator("#failure")).to_contain_text("learning rate 9.1e-4")


def test_workers_and_what_they_run(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, "/workers")
    row = page.locator("#rows tr", has_text="node-a:4101")
    expect(row).to_contain_text("NVIDIA L4")
    expect(row.get_by_role("link")).to_have_text(re.compile(r"trial \d+"))


def test_a_reported_number_appears_without_reloading(own_site: Site, visitor: Visitor) -> None:
    service = own_site.service
    study = start_study(service, utc_now(), name="live", pruner={"name": "none"})
    lease = service.manager.lease(start_worker(service, utc_now()), now=utc_now())
    assert lease is not None
    visitor.sign_in(own_site)
    page = visitor.open(own_site, f"/studies/{study.id}")
    expect(page.locator("#live")).to_have_text("live")
    expect(panel(page, "curves")).to_contain_text("No trial has reported yet")
    page.evaluate("window.sameDocument = true")

    service.manager.report(lease.id, [point(1, 0.4321)], now=utc_now())
    expect(page.locator("#trials-rows tr").first).to_contain_text("0.432")
    expect(panel(page, "curves").locator("path.point").first).to_be_attached()

    service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.4321}), now=utc_now())
    expect(page.locator("#tiles")).to_contain_text("1 / 30")
    expect(panel(page, "history").locator("path.point").first).to_be_attached()
    assert page.evaluate("window.sameDocument")


def test_what_happens_before_the_stream_opens_is_shown(own_site: Site, visitor: Visitor) -> None:
    service = own_site.service
    study = start_study(service, utc_now(), name="live")
    lease = service.manager.lease(start_worker(service, utc_now()), now=utc_now())
    assert lease is not None
    visitor.sign_in(own_site)

    def log_first(route: Route) -> None:
        expect(visitor.page.locator("#details")).to_contain_text("None")  # the page has read everything once
        service.manager.log(lease.id, ["early"], now=utc_now())
        service.manager.report(lease.id, [point(1, 0.5)], now=utc_now())
        route.continue_()

    visitor.page.route(re.compile("/events"), log_first)
    page = visitor.open(own_site, f"/studies/{study.id}/trials/0")
    expect(page.locator("#log")).to_contain_text("early")


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(site: Site, busy: Player, signed_in: Visitor) -> None:
    held: list[Route] = []
    signed_in.page.route(re.compile("/figures/slice"), lambda route: held.append(route))
    with signed_in.page.expect_request(re.compile("/figures/slice")):
        page = signed_in.open(site, f"/studies/{busy.study.id}")
        explore = panel(page, "explore")
    explore.get_by_label("Show").select_option("contour")
    expect(page.locator("#y-label")).to_be_visible()
    with page.expect_response(re.compile("/figures/slice")):
        held[0].continue_()
    page.wait_for_timeout(200)  # for the page to do with the answer what it does
    expect(page.locator("#y-label")).to_be_visible()


def test_a_log_grows_on_the_page_of_its_trial(own_site: Site, visitor: Visitor) -> None:
    service = own_site.service
    study = start_study(service, utc_now(), name="live")
    lease = service.manager.lease(start_worker(service, utc_now()), now=utc_now())
    assert lease is not None
    visitor.sign_in(own_site)
    page = visitor.open(own_site, f"/studies/{study.id}/trials/0")
    expect(page.locator("#no-log")).to_be_visible()
    for number in (1, 2):
        service.manager.log(lease.id, [f"line {number}"], now=utc_now())
        service.manager.report(lease.id, [point(number, 0.5)], now=utc_now())
        expect(page.locator("#log")).to_contain_text(f"line {number}")
    expect(page.locator("#log")).to_have_text("line 1\nline 2\n")


def test_zoom_survives_a_live_update(own_site: Site, visitor: Visitor) -> None:
    service = own_site.service
    study = start_study(service, utc_now(), name="live", pruner={"name": "none"})
    lease = service.manager.lease(start_worker(service, utc_now()), now=utc_now())
    assert lease is not None
    service.manager.report(lease.id, [point(epoch, 0.1 * epoch) for epoch in (1, 2, 3)], now=utc_now())
    visitor.sign_in(own_site)
    page = visitor.open(own_site, f"/studies/{study.id}")
    plot = panel(page, "curves").locator(".plot")
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
    service.manager.report(lease.id, [point(4, 0.5)], now=utc_now())
    page.wait_for_function("plot => plot.data[0].x.length === 4", arg=plot.element_handle())
    assert plot.evaluate(shown) == zoomed


def test_pausing_resuming_and_stopping_say_what_will_happen(own_site: Site, visitor: Visitor) -> None:
    study = start_study(own_site.service, utc_now(), name="mine")
    visitor.sign_in(own_site)
    page = visitor.open(own_site, f"/studies/{study.id}")
    state, dialog = page.locator("#state"), page.locator("#confirm")
    page.get_by_role("button", name="Pause").click()
    expect(dialog).to_contain_text("No more trials are started")
    dialog.get_by_role("button", name="Cancel").click()
    expect(state).to_contain_text("running")
    page.get_by_role("button", name="Pause").click()
    dialog.get_by_role("button", name="Pause").click()
    expect(state).to_contain_text("paused")
    page.get_by_role("button", name="Resume").click()
    dialog.get_by_role("button", name="Resume").click()
    expect(state).to_contain_text("running")
    page.get_by_role("button", name="Stop").click()
    expect(dialog).to_contain_text("can't be resumed")
    dialog.get_by_role("button", name="Stop the study").click()
    expect(state).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()


def test_a_viewer_is_refused_politely(own_site: Site, visitor: Visitor) -> None:
    study = start_study(own_site.service, utc_now(), name="theirs")
    _, token = own_site.service.access.create_token("viewer", "a guest", now=utc_now())
    visitor.sign_in(own_site, token)
    page = visitor.open(own_site, f"/studies/{study.id}")
    page.get_by_role("button", name="Pause").click()
    page.locator("#confirm").get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert").first).to_contain_text("this needs the role editor; the token has the role viewer")
    # The browser itself notes every refused request.
    assert all("403 (Forbidden)" in complaint for complaint in visitor.complaints)
    visitor.complaints.clear()


def test_signing_in_with_a_token_leads_to_where_one_wanted(site: Site, busy: Player, visitor: Visitor) -> None:
    page = visitor.open(site, "/workers")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_contain_text("this token is not known")
    visitor.complaints.clear()  # the browser notes the 401
    page.get_by_label("Token").fill(site.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_have_text("Workers")
    expect(page.locator("#live")).to_have_text("live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("h1")).to_have_text("Sign in")
    visitor.open(site, "/")
    expect(page.locator("h1")).to_have_text("Sign in")


def test_the_login_leads_to_no_other_site(site: Site, visitor: Visitor) -> None:
    page = visitor.open(site, "/login?next=//example.org/")
    page.get_by_label("Token").fill(site.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("h1")).to_have_text("Studies")
    assert page.url == f"{site.url}/"


def test_what_users_write_is_text(own_site: Site, visitor: Visitor) -> None:
    service = own_site.service
    study = start_study(service, utc_now(), name=NASTY, notes=NASTY, tags={NASTY: NASTY})
    worker = service.manager.register(host=NASTY, pid=1, gpus=[{"name": NASTY}], versions={NASTY: NASTY}, now=utc_now())
    lease = service.manager.lease(worker.id, now=utc_now())
    assert lease is not None
    service.manager.report(lease.id, [point(1, 0.5)], now=utc_now())
    service.manager.log(lease.id, [NASTY], now=utc_now())
    failed = Ending(state="failed", failure=("code", NASTY), details={NASTY: NASTY})
    service.manager.finish(lease.id, failed, now=utc_now())

    visitor.sign_in(own_site)
    page = visitor.open(own_site, "/")
    expect(page.locator("#rows a")).to_have_text(NASTY)
    visitor.open(own_site, f"/studies/{study.id}")
    expect(page.locator("h1")).to_contain_text(NASTY)
    page.get_by_text("Search space and settings").click()
    expect(page.locator("#spec")).to_contain_text(NASTY)
    expect(panel(page, "timeline").locator(".barlayer path").first).to_be_attached()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#confirm")).to_contain_text(NASTY)
    visitor.open(own_site, f"/studies/{study.id}/trials/0")
    expect(page.locator("#failure pre")).to_have_text(NASTY)
    expect(page.locator("#log")).to_contain_text(NASTY)
    visitor.open(own_site, "/workers")
    expect(page.locator("#rows")).to_contain_text(f"{NASTY}:1")
    assert page.locator("main img, main script, main a[href^='javascript']").count() == 0


def test_a_study_without_trials_has_words_instead_of_figures(own_site: Site, visitor: Visitor) -> None:
    study = start_study(own_site.service, utc_now(), name="new")
    visitor.sign_in(own_site)
    page = visitor.open(own_site, f"/studies/{study.id}")
    for name, words in {
        "history": "No trial has finished yet",
        "curves": "No trial has reported yet",
        "importances": "Importances show once a few trials have completed",
        "timeline": "No trial has started yet",
        "parallel": "No trial has completed yet",
        "explore": "No trial has completed yet",
    }.items():
        expect(panel(page, name)).to_contain_text(words)
    expect(page.locator("#tiles")).to_contain_text("no trial has finished yet")


def test_numbers_that_are_none_break_nothing(own_site: Site, visitor: Visitor) -> None:
    service = own_site.service
    study = start_study(service, utc_now(), name="odd", pruner={"name": "none"})
    worker_id = start_worker(service, utc_now())
    for value in (float("nan"), float("inf"), 0.5):
        lease = service.manager.lease(worker_id, now=utc_now())
        assert lease is not None
        service.manager.report(lease.id, [point(1, value)], now=utc_now())
    visitor.sign_in(own_site)
    page = visitor.open(own_site, f"/studies/{study.id}")
    expect(panel(page, "curves").locator("path.point").first).to_be_attached()
    visitor.open(own_site, f"/studies/{study.id}/trials/0")
    expect(page.locator("#metrics tbody")).to_contain_text("NaN")


def test_a_page_that_is_not_there_leads_on(site: Site, signed_in: Visitor) -> None:
    page = signed_in.open(site, "/studies/absent")
    expect(page.locator("main")).to_contain_text("No study 'absent'", ignore_case=True)
    signed_in.complaints.clear()  # the browser notes the 404
    page.get_by_role("link", name="list of studies").click()
    expect(page.locator("h1")).to_have_text("Studies")


def test_the_table_is_used_with_the_keyboard(site: Site, busy: Player, signed_in: Visitor) -> None:
    page = signed_in.open(site, f"/studies/{busy.study.id}")
    heading = page.locator("#trials-head th", has_text="accuracy")
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(heading).to_have_attribute("aria-sort", "descending")
    expect(heading.get_by_role("button")).to_be_focused()


@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_of_every_page(site: Site, busy: Player, browser: Browser, width: int, scheme: Literal["light", "dark"]) -> None:
    """They are written to `tests/output`, to be looked at; no page may be wider than its window."""
    OUTPUT.mkdir(exist_ok=True)
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    visitor = Visitor(context)
    visitor.open(site, "/login").screenshot(path=OUTPUT / f"login-{scheme}-{width}.png")
    visitor.sign_in(site)
    pages = {
        "studies": ("/", "#rows tr"),
        "study": (f"/studies/{busy.study.id}", "#trials-rows tr"),
        "trial": (f"/studies/{busy.study.id}/trials/0", "#curve-panel .point"),
        "workers": ("/workers", "#rows tr"),
    }
    for name, (path, ready) in pages.items():
        page = visitor.open(site, path)
        expect(page.locator(ready).first).to_be_attached()
        for figure in page.locator("[data-figure]").all():
            figure.scroll_into_view_if_needed()
            expect(figure.locator(".main-svg").first).to_be_attached()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=OUTPUT / f"{name}-{scheme}-{width}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    context.close()
    assert visitor.complaints == []

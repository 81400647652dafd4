"""The page of one study: figures, table, marks, notes."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import Site, Visitor, panel
from tests.browser.scene import Player
from tests.simulation import point, start_study, start_worker
from tuner.db.trial_rows import trials_of
from tuner.manager import Ending
from tuner.service import utc_now

pytestmark = pytest.mark.browser


def numbers(page: Page, count: int = 3) -> list[str]:
    return [cell.strip() for cell in page.locator("#trials-rows tr td:nth-child(2)").all_inner_texts()[:count]]


def test_each_figure_is_drawn(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}")
    for figure, mark in {
        "history": ".scatterlayer path.point",
        "curves": ".scatterlayer path.js-line",
        "importances": ".barlayer .point path",
        "timeline": ".barlayer .point path",
        "explore": ".scatterlayer path.point",
    }.items():
        drawn = panel(page, figure).locator(mark)
        expect(drawn.first, figure).to_be_attached()
        box = drawn.last.bounding_box()
        assert box is not None, figure
        assert box["width"] + box["height"] > 3, figure
    # A canvas is drawn if its pixels are not all the same.
    canvas = panel(page, "parallel").locator("canvas")
    expect(canvas).to_have_attribute("aria-label", re.compile(r"learning_rate, .* trials"))
    many_colours = "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size"
    assert canvas.evaluate(many_colours) > 20
    buttons = panel(page, "history").locator(".modebar-btn")
    expect(buttons).to_have_count(7)
    titles = " ".join(button.get_attribute("data-title") or "" for button in buttons.all())
    assert re.search("download", titles, re.IGNORECASE)
    assert not re.search("cloud|share|link|send|studio", titles, re.IGNORECASE)


def test_figures_are_drawn_anew_for_a_narrow_window(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}?marked=3,7")
    plot = panel(page, "history").locator(".plot")
    expect(plot.locator(".legend")).to_be_attached()
    for width in (375, 1280, 375):
        page.set_viewport_size({"width": width, "height": 812})
        page.wait_for_function("p => p.layout.width === p.clientWidth && p.clientWidth < innerWidth", arg=plot.element_handle())
    legend, area = plot.locator(".legend").bounding_box(), plot.locator(".nsewdrag").bounding_box()
    assert legend is not None and area is not None
    assert legend["y"] > area["y"] + area["height"], "the legend takes the plot's room"
    assert area["height"] > 100
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_timeline_has_a_row_for_each_place_and_tells_the_time_of_the_browser(
    site: Site, busy: Player, browser: Browser
) -> None:
    window = browser.new_context(timezone_id="Asia/Kolkata")
    elsewhere = Visitor(window.new_page())
    elsewhere.sign_in(site)
    page = elsewhere.open(site, f"/studies/{busy.study.id}")
    timeline = panel(page, "timeline")
    expect(timeline.locator(".ytick")).to_have_text(["node-a:4101 · GPU 0", "node-a:4102"])
    sent = page.request.get(f"{site.url}/api/v1/studies/{busy.study.id}/figures/timeline").json()["data"]
    drawn = timeline.locator(".plot").evaluate("plot => plot.data.map(({ base }) => base[0])")
    there = [datetime.fromisoformat(trace["base"][0]).replace(tzinfo=None) for trace in sent]
    assert {datetime.fromisoformat(base) - utc for base, utc in zip(drawn, there, strict=True)} == {timedelta(hours=5.5)}
    window.close()
    assert elsewhere.complaints == []


def test_a_low_figure_keeps_its_plot_on_the_narrowest_page_whatever_its_labels(site: Site, busy: Player, admin: Visitor) -> None:
    """The timeline's times may stand upright, which takes more room; its legend has four lines here."""
    page = admin.open(site, f"/studies/{busy.study.id}")
    page.set_viewport_size({"width": 320, "height": 812})
    timeline = panel(page, "timeline").locator(".plot")
    page.wait_for_function("p => p.layout?.width === p.clientWidth && p.clientWidth < 320", arg=timeline.element_handle())
    area = "p => p.querySelector('.nsewdrag').getBoundingClientRect().height"
    assert timeline.evaluate(area) > 100
    timeline.evaluate("p => Plotly.relayout(p, {'xaxis.tickangle': 90})")
    assert timeline.evaluate(area) > 60
    page.set_viewport_size({"width": 1280, "height": 900})


def test_a_figure_that_fails_says_so_and_leaves_the_others_alone(site: Site, visitor: Visitor) -> None:
    service = site.service
    study, worker_id = (
        start_study(service, utc_now(), name="half drawn", pruner={"name": "none"}),
        start_worker(service, utc_now()),
    )

    def complete_a_trial() -> None:
        lease = service.manager.lease(worker_id, studies=[study.id], now=utc_now())
        assert lease is not None
        service.manager.report(lease.id, [point(1, 0.5)], now=utc_now())
        service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.5}), now=utc_now())

    complete_a_trial()
    visitor.sign_in(site)
    failing = re.compile("/figures/history")
    visitor.page.route(failing, lambda route: route.abort())
    page = visitor.open(site, f"/studies/{study.id}")
    expect(panel(page, "curves").locator(".scatterlayer path.point").first).to_be_attached()
    expect(panel(page, "history").locator(".note")).to_contain_text("Not drawn: ")
    page.unroute(failing)
    complete_a_trial()
    expect(panel(page, "history").locator("path.point").first).to_be_attached()
    expect(panel(page, "history").locator(".note")).to_be_hidden()
    visitor.forgive("ERR_FAILED")


def test_long_names_leave_room_for_the_plot_on_a_narrow_page(site: Site, busy: Player, admin: Visitor) -> None:
    def lengthen(route: Route) -> None:
        figure = route.fetch().json()
        for trace in figure["data"]:
            trace["y"] = [f"{name}-and-more-words-than-anyone-would-want" for name in trace["y"]]
        route.fulfill(json=figure)

    admin.page.set_viewport_size({"width": 320, "height": 812})
    admin.page.route(re.compile("/figures/importances"), lengthen)
    page = admin.open(site, f"/studies/{busy.study.id}")
    plot = panel(page, "importances").locator(".nsewdrag")
    expect(plot).to_be_attached()
    box = plot.bounding_box()
    assert box is not None and box["width"] > 100 and box["height"] > 100, box
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_overview_says_what_was_reached_and_what_it_cost(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}")
    tiles = page.locator("#tiles")
    expect(tiles).to_contain_text(re.compile(r"\d+ / 60"))
    expect(tiles).to_contain_text(re.compile(r"0\.\d{3} better than the untuned default, 0\.\d{3}"))
    expect(tiles).to_contain_text(re.compile(r"failures: (nan 1, oom 1|oom 1, nan 1)"))
    expect(tiles).to_contain_text(re.compile(r"GPU time.*spared by pruning, about: \d+ (min|s)", re.DOTALL))
    expect(tiles).to_contain_text("spared by the activation cache: not reported")
    page.get_by_text("Search space and settings").click()
    expect(page.locator("#spec")).to_contain_text("1e-6 … 0.001, log")
    page.get_by_text("Export", exact=True).click()
    for format in ("csv", "json"):
        with page.expect_download() as download:
            page.locator(f'[data-export="{format}"]').click()
        assert download.value.suggested_filename == f"topics.{format}"


def test_views_are_chosen_and_stand_in_the_address(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}")
    explore = panel(page, "explore")
    explore.get_by_label("x", exact=True).select_option("epochs")
    expect(explore.locator(".xtitle")).to_have_text("epochs")
    for kind, mark in {"rank": "path.point", "edf": "path.js-line", "contour": ".contourlayer path, path.point"}.items():
        explore.get_by_label("Show").select_option(kind)
        expect(page.locator("#y-label")).to_be_visible(visible=kind != "edf")
        expect(panel(page, "explore").locator(mark).first).to_be_attached()
    curves = panel(page, "curves")
    curves.get_by_label("Metric").select_option("loss")
    expect(curves.locator(".ytitle")).to_have_text("loss")
    curves.get_by_label("by").select_option("time")
    expect(curves.locator(".xtitle")).to_have_text("seconds since the start")
    curves.get_by_label("log axis").check()
    curves.get_by_label("Smoothing").fill("0.5")
    page.reload()
    expect(panel(page, "curves").locator(".xtitle")).to_have_text("seconds since the start")
    shown = "p => [p.layout.yaxis.type, p.layout.yaxis.title.text].join()"
    assert panel(page, "curves").locator(".plot").evaluate(shown) == "log,loss"
    expect(page.get_by_label("Smoothing")).to_have_value("0.5")
    expect(page.get_by_label("Show")).to_have_value("contour")
    expect(panel(page, "explore").locator(".xtitle")).to_have_text("epochs")


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(site: Site, busy: Player, admin: Visitor) -> None:
    held: list[Route] = []
    admin.page.route(re.compile("/figures/slice"), lambda route: held.append(route))
    with admin.page.expect_request(re.compile("/figures/slice")):
        page = admin.open(site, f"/studies/{busy.study.id}")
        explore = panel(page, "explore")
    explore.get_by_label("Show").select_option("contour")
    expect(page.locator("#y-label")).to_be_visible()
    with page.expect_response(re.compile("/figures/slice")):
        held[0].continue_()
    # The page takes what has come in order: once a later answer is shown, the held one has been dealt with.
    explore.get_by_label("Show").select_option("rank")
    expect(explore.locator(".colorbar")).to_contain_text("rank")
    expect(page.locator("#y-label")).to_be_visible()


def test_the_table_is_sorted_filtered_and_arranged_by_the_service(site: Site, busy: Player, admin: Visitor) -> None:
    with site.service.ledger.read() as connection:
        total = len(trials_of(connection, busy.study.id))
    page = admin.open(site, f"/studies/{busy.study.id}")
    rows, count = page.locator("#trials-rows tr"), page.locator("#trials-count")
    expect(count).to_have_text(f"{total} trials")
    assert numbers(page) == ["0", "1", "2"]
    heading = page.locator("#trials-head th", has_text="accuracy")
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(heading).to_have_attribute("aria-sort", "descending")
    expect(heading.get_by_role("button")).to_be_focused()
    expect(rows.first).to_contain_text("★")
    best = numbers(page)
    page.reload()
    expect(rows.first).to_contain_text("★")
    assert numbers(page) == best
    page.locator("#trial-state").select_option("failed")
    expect(count).to_have_text("2 trials")
    page.locator("#trial-state").select_option("")
    page.get_by_label("Where").fill("value>0.3,optimizer=sgd")
    expect(page).to_have_url(re.compile("where="))
    expect(rows.first).to_contain_text("sgd")
    expect(rows.filter(has_text="adamw")).to_have_count(0)
    page.get_by_label("Where").fill("nothing>3")
    expect(page.locator("#where-wrong")).to_contain_text("unknown column 'nothing'")
    admin.forgive("422")
    page.get_by_label("Where").fill("value>1")
    expect(count).to_have_text("No trial is so")
    page.get_by_label("Where").fill("")
    page.get_by_text("Columns", exact=True).click()
    page.locator("#columns").get_by_label("optimizer").uncheck()
    page.locator("#columns").get_by_label("macro_f1").check()
    expect(page.locator("#trials-head")).not_to_contain_text("optimizer")
    expect(page.locator("#trials-head")).to_contain_text("macro_f1")
    expect(page).to_have_url(re.compile("columns="))


def test_what_is_marked_in_one_view_is_marked_in_all(site: Site, busy: Player, admin: Visitor) -> None:
    with site.service.ledger.read() as connection:
        completed = [trial.number for trial in trials_of(connection, busy.study.id) if trial.state == "completed"]
    one, other = completed[:2]
    page = admin.open(site, f"/studies/{busy.study.id}")
    page.get_by_label(f"Mark trial {one}", exact=True).check()
    page.get_by_label(f"Mark trial {other}", exact=True).check()
    expect(page.locator("#marks")).to_contain_text("2 trials marked")
    rings = "p => (p.data ?? []).filter(trace => trace.name === 'marked').flatMap(({x}) => x).filter(x => x !== null).length"
    page.wait_for_function(f"p => ({rings})(p) === 2", arg=panel(page, "history").locator(".plot").element_handle())
    page.wait_for_function(f"p => ({rings})(p) > 2", arg=panel(page, "curves").locator(".plot").element_handle())
    expect(panel(page, "explore").locator("path.point").first).to_be_attached()
    page.wait_for_function(f"p => ({rings})(p) === 2", arg=panel(page, "explore").locator(".plot").element_handle())
    # A point of a figure is marked by a click on it.
    points = f"p => p.data[0].customdata.findIndex(number => number !== {one} && number !== {other})"
    explore = panel(page, "explore").locator(".plot")
    explore.locator(".scatterlayer .trace").first.locator("path.point").nth(explore.evaluate(points)).click(force=True)
    expect(page.locator("#marks")).to_contain_text("3 trials marked")
    page.reload()
    expect(page.locator("#marks")).to_contain_text("3 trials marked")
    expect(page.locator("#trials-rows input:checked")).to_have_count(3)
    page.get_by_role("button", name=f"Unmark trial {other}", exact=True).click()
    expect(page.locator("#marks")).to_contain_text("2 trials marked")
    page.locator("#marks").get_by_role("link", name="Compare").click()
    expect(page.locator("h1")).to_have_text("Compare trials")


def test_brushes_on_parallel_coordinates_filter_the_table(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}")
    for name in ("history", "curves", "importances", "timeline"):  # what is drawn above it would move it under the mouse
        expect(panel(page, name).locator(".main-svg").first).to_be_attached()
    canvas = panel(page, "parallel").locator("canvas")
    expect(canvas).to_be_visible()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x = box["x"] + box["width"] - 40  # the last axis: the objective
    page.mouse.move(x, box["y"] + 36)
    page.mouse.down()
    page.mouse.move(x, box["y"] + 130, steps=4)
    page.mouse.up()
    expect(page.locator("#brush-count")).to_have_text(re.compile(r"\d+ of \d+ within the brushes"))
    expect(page).to_have_url(re.compile("brush=accuracy"))
    page.get_by_role("button", name="Filter the table so").click()
    expect(page.get_by_label("Where")).to_have_value(re.compile(r"^value>=0\.\d+"))
    expect(page.locator("#trials-count")).to_have_text(re.compile(r"^\d+ trials?$"))
    page.get_by_role("button", name="Mark these").click()
    expect(page.locator("#marks")).to_be_visible()
    page.locator("#brush-clear").click()
    expect(page.locator("#brush-count")).to_have_text("")


def test_notes_and_tags_are_edited_where_they_stand(site: Site, admin: Visitor) -> None:
    study = start_study(site.service, utc_now(), name="annotated")
    page = admin.open(site, f"/studies/{study.id}")
    expect(page.locator("#notes")).to_contain_text("No notes yet")
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Notes", exact=True).fill("Frozen layers hurt.\nTry fewer.")
    page.get_by_label("Tags, as name").fill("team: reading, done")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#notes")).to_have_text("Frozen layers hurt.\nTry fewer.")
    expect(page.locator("#tags .chip")).to_have_text(["team: reading", "done"])
    page.reload()
    expect(page.locator("#notes")).to_contain_text("Try fewer.")


def test_a_row_leads_to_its_trial_and_from_there_to_the_next(site: Site, busy: Player, admin: Visitor) -> None:
    page = admin.open(site, f"/studies/{busy.study.id}")
    page.locator("#trials-rows tr").first.locator("td").nth(2).click()
    expect(page.locator("h1")).to_contain_text("Trial 0")
    expect(page.locator("#about")).to_have_text("the untuned default")
    expect(page.locator("#parameters")).to_contain_text("learning_rate5e-5")
    expect(page.locator("#metrics tbody tr")).to_have_count(3)
    expect(page.locator("#curve-panel .scatterlayer path.js-line")).to_have_count(1)
    expect(page.locator("#attempts tbody tr")).to_have_count(1)
    expect(page.locator("#details")).to_contain_text("22,700,000")
    expect(page.locator("#details")).to_contain_text("790.5 MB")
    expect(page.locator("#log")).to_contain_text("epoch 3: accuracy")
    expect(page.locator("#reproduce")).to_contain_text('"learning_rate": {')
    page.get_by_role("link", name="Next trial").click()
    expect(page.locator("h1")).to_contain_text("Trial 1")
    admin.open(site, f"/studies/{busy.study.id}/trials/6")
    expect(page.locator("#failure")).to_contain_text("Failed: nan")
    expect(page.locator("#failure")).to_contain_text("learning rate 9.1e-4")

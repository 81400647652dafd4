"""Studies of every kind: empty, one trial, all failed, numbers that are none, huge, and written by people of ill will."""

from __future__ import annotations

import math
import re

import pytest
from playwright.sync_api import Response, expect

from tests.browser.big_study import big_study
from tests.browser.conftest import Site, Visitor, panel
from tests.browser.scene import busy_study
from tests.simulation import point, start_study, start_worker
from tuner.granting import Lease
from tuner.manager import Ending
from tuner.records import Study
from tuner.service import Service, utc_now
from tuner.workforce import add_worker

pytestmark = pytest.mark.browser

EMOJI = "🍄‍🟫 Ärger & 研究 👩🏽‍🔬"
RIGHT_TO_LEFT = "دراسة 12 \u202eabc\u202c עברית"
# Sixty ways in which text has been taken for something else.
TAGS = ("img src=x onerror", "svg onload", "body onload", "iframe onload", "video src=x onerror", "audio src=x onerror",
        "details open ontoggle", "input autofocus onfocus", "select autofocus onfocus", "textarea autofocus onfocus",
        "marquee onstart", "object data", "embed src", "math href", "a href", "form action", "button formaction", "base href",
        "link rel=stylesheet href", "meta http-equiv=refresh content")  # fmt: skip
INJECTIONS = (
    *(f"<{tag}=javascript:alert({n})>" for n, tag in enumerate(TAGS)),
    *(f"{quote}><{tag}=alert({n})>" for quote, tags in (('"', TAGS[:10]), ("'", TAGS[10:])) for n, tag in enumerate(tags)),
    "<script>alert(1)</script>", "</script><script>alert(1)</script>", "</title><script>alert(1)</script>",
    "<!--<script>alert(1)//-->", "<![CDATA[<script>alert(1)</script>]]>", "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<style>*{background:url(javascript:alert(1))}</style>", "javascript:alert(1)", "data:text/html,<script>alert(1)</script>",
    "{{7*7}}", "${alert(1)}", "<%= 7*7 %>", "#{7*7}", "{%raw%}", "\\u003cscript\\u003ealert(1)\\u003c/script\\u003e",
    "&lt;script&gt;alert(1)&lt;/script&gt;", "%3Cscript%3Ealert(1)%3C/script%3E", "__proto__", "constructor",
    "<b onclick=alert(1)>bold</b><a href='javascript:alert(1)'>link</a>",
)  # fmt: skip
NASTY = " ".join(INJECTIONS)[:200]


def next_trial(service: Service, study: Study, worker_id: str) -> Lease:
    lease = service.manager.lease(worker_id, studies=[study.id], now=utc_now())
    assert lease is not None
    return lease


def test_there_are_sixty_injections() -> None:
    assert len(set(INJECTIONS)) == 60


def test_a_study_without_trials_has_words_instead_of_figures(site: Site, admin: Visitor) -> None:
    study = start_study(site.service, utc_now(), name="new")
    page = admin.open(site, f"/studies/{study.id}")
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


def test_one_trial_all_failed_and_numbers_that_are_none(site: Site, admin: Visitor) -> None:
    service = site.service
    worker_id = start_worker(service, utc_now())
    one = start_study(service, utc_now(), name=EMOJI, pruner={"name": "none"})
    lease = next_trial(service, one, worker_id)
    service.manager.report(lease.id, [point(1, 0.5)], now=utc_now())
    service.manager.finish(lease.id, Ending(state="completed", values={"accuracy": 0.5}), now=utc_now())
    failed = start_study(service, utc_now(), name=RIGHT_TO_LEFT)
    for _ in range(3):
        ending = Ending(state="failed", failure=("code", "it broke"))
        service.manager.finish(next_trial(service, failed, worker_id).id, ending, now=utc_now())
    odd = start_study(service, utc_now(), name="odd", pruner={"name": "none"})
    for value in (math.nan, math.inf, 0.5):
        service.manager.report(next_trial(service, odd, worker_id).id, [point(1, value)], now=utc_now())

    page = admin.open(site, f"/studies/{one.id}")
    expect(page.locator("#name")).to_have_text(EMOJI)
    expect(panel(page, "history").locator("path.point").first).to_be_attached()
    expect(panel(page, "parallel")).to_contain_text("The completed trials all have the same parameters")
    admin.open(site, f"/studies/{failed.id}")
    expect(page.locator("#name")).to_have_text(RIGHT_TO_LEFT)
    expect(page.locator("#tiles")).to_contain_text("failures: code 3")
    expect(panel(page, "history").locator("path.point")).to_have_count(3)
    admin.open(site, f"/studies/{odd.id}")
    expect(panel(page, "curves").locator("path.point").first).to_be_attached()
    admin.open(site, f"/studies/{odd.id}/trials/0")
    expect(page.locator("#metrics tbody")).to_contain_text("NaN")
    admin.open(site, f"/studies/{odd.id}/compare?trials=0,1")
    expect(page.locator("#heads")).to_contain_text("Trial 1")


def test_two_objectives(site: Site, admin: Visitor) -> None:
    objective = [{"metric": "accuracy"}, {"metric": "trained_parameters"}]
    study = busy_study(site.service, trials=14, name="both", objective=objective).study
    page = admin.open(site, f"/studies/{study.id}")
    pareto = panel(page, "pareto")
    expect(pareto.locator("path.point").first).to_be_attached()
    expect(pareto.locator(".xtitle")).to_have_text("trained_parameters")
    expect(pareto.locator(".ytitle")).to_have_text("accuracy")
    front = pareto.locator(".plot").evaluate("p => p.data.find(trace => trace.name === 'Pareto set').customdata")
    best = page.locator("#trials-rows tr.best td:nth-child(2)").inner_text()
    assert int(best) in front
    page.get_by_text("Columns", exact=True).click()
    page.locator("#columns").get_by_label("trained_parameters").check()
    expect(page.locator("#trials-head")).to_contain_text("trained_parameters")
    admin.open(site, f"/new?from={study.id}")
    expect(page.locator("#form")).to_contain_text("Several objectives: change them in the study file.")
    page.get_by_role("button", name="Dry run").click()
    expect(page.locator("#outcome")).to_contain_text("Nothing is wrong")
    expect(page.locator("#yaml")).to_have_value(re.compile("trained_parameters"))


def test_what_users_write_is_text(own_site: Site, visitor: Visitor) -> None:
    service = own_site.service
    tags = {f"{text}"[:150]: text[:150] for text in INJECTIONS}
    study = start_study(service, utc_now(), name=NASTY, notes="\n".join(INJECTIONS), tags=tags)
    other = start_study(service, utc_now(), name=INJECTIONS[0])
    worker = add_worker(service.ledger, host=NASTY, pid=1, gpus=[{"name": NASTY}], versions={NASTY: NASTY}, now=utc_now())
    ending = Ending(state="failed", failure=("code", "\n".join(INJECTIONS)), details={text: text for text in INJECTIONS})
    for value in (0.5, 0.6):
        lease = next_trial(service, study, worker.id)
        service.manager.report(lease.id, [point(1, value)], now=utc_now())
        service.manager.log(lease.id, INJECTIONS, now=utc_now())
        service.manager.finish(lease.id, ending, now=utc_now())
    service.access.create_token("viewer", NASTY, now=utc_now())

    visitor.sign_in(own_site)
    page = visitor.open(own_site, "/")
    expect(page.get_by_role("link", name=NASTY, exact=True)).to_have_count(1)
    visitor.open(own_site, f"/studies/{study.id}")
    expect(page.locator("#name")).to_have_text(NASTY)
    expect(page.locator("#tags .chip")).to_have_count(len(tags))
    expect(panel(page, "timeline").locator(".barlayer path").first).to_be_attached()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#confirm")).to_contain_text(NASTY)
    for path, place, words in (
        (f"/studies/{study.id}/trials/0", "#log", INJECTIONS[-1]),
        (f"/studies/{study.id}/compare?trials=0,1&all=1", "#rows", "__proto__"),
        (f"/compare?studies={study.id},{other.id}", "#chosen", INJECTIONS[0]),
        (f"/new?from={study.id}", "#from", NASTY),
        ("/workers", "#rows", f"{NASTY}:1"),
        ("/audit", "#rows", NASTY),
        ("/tokens", "#rows", NASTY),
    ):
        visitor.open(own_site, path)
        expect(page.locator(place)).to_contain_text(words)
        assert page.locator("main img, main script, main a[href^='javascript'], main iframe, main style").count() == 0, path


def test_ten_thousand_trials(site: Site, admin: Visitor) -> None:
    study = big_study(site.service)
    sizes: dict[str, int] = {}

    def measure(response: Response) -> None:
        if "/api/v1/" in response.url and "/events" not in response.url:
            sizes[response.url] = int(response.headers.get("content-length", "0"))

    admin.page.on("response", measure)
    page = admin.open(site, f"/studies/{study.id}?marked=4321")
    expect(page.locator("#trials-count")).to_have_text("10,000 trials")
    for name in ("history", "curves", "importances", "timeline", "parallel", "explore"):
        expect(panel(page, name).locator(".main-svg, canvas").first).to_be_attached()
    expect(panel(page, "history").locator(".note")).to_contain_text("an even sample is drawn")
    expect(panel(page, "parallel").locator(".note")).to_contain_text("completed trials")
    page.locator("#trials-head th", has_text="learning_rate").get_by_role("button").click()
    expect(page.locator("#trials-head th", has_text="learning_rate")).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_role("button", name="Previous", exact=True)).to_be_visible()
    assert len(sizes) >= 8
    assert {url: size for url, size in sizes.items() if size > 1_000_000} == {}
    assert page.locator("*").count() < 15_000
    page.remove_listener("response", measure)

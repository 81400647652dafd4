"""The dashboard with many trials, beside optuna-dashboard with the same ones, in one run in headless Chromium.

`make bench-dashboard`; prints the table of docs/performance.md. Times are seconds since the navigation began, in the browser's
own clock. A live update is a trial that is leased, reported and finished while the page is open.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page, Response, sync_playwright

from tests.browser.big_study import big_study
from tuner.service import open_service
from tuner.settings import Settings

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
NOW = "() => performance.now() / 1000"
PAINT = "() => (performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN) / 1000"
Row = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve-optuna", metavar="EXPORT", help="internal: serve these trials with optuna-dashboard")
    given = parser.parse_args()
    if given.serve_optuna:
        _serve_optuna(Path(given.serve_optuna))
        return
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        executable = next(filter(None, map(shutil.which, CHROMIUM)))
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        home = Path(folder)
        export = _fill(home, given.trials, given.points)
        ours: list[Row] = []
        theirs: list[Row] = []
        with _tuner(home) as (url, token), _optuna(export, home) as address:
            for _ in range(given.rounds):  # in turn, so that whatever else the machine does hits both
                ours.append(_measure_tuner(browser, url, token))
                theirs.append(_measure_optuna(browser, address))
        browser.close()
    _print(ours, theirs)


def _fill(home: Path, trials: int, points: int) -> Path:
    """A study in our database, and its trials in a file for the other side."""
    settings = Settings(home=home, port=0)
    with open_service(settings) as service:
        study = big_study(service, trials_=trials, points=points)
        with service.ledger.read() as connection:
            rows = connection.exec_driver_sql("select id, number, state, params, value from trials order by number").fetchall()
            values = connection.exec_driver_sql(
                "select trial_id, step, value from metrics where name = 'accuracy' order by trial_id, step"
            ).fetchall()
    reports: dict[int, list[tuple[int, float]]] = {}
    for trial_id, step, value in values:
        reports.setdefault(trial_id, []).append((step, value))
    export = home / "trials.json"
    listed = [
        {"number": number, "state": state, "params": json.loads(params), "value": value, "reports": reports.get(trial_id, [])}
        for trial_id, number, state, params, value in rows
    ]
    export.write_text(json.dumps({"study": study.id, "trials": listed}))
    return export


@contextmanager
def _tuner(home: Path) -> Iterator[tuple[str, str]]:
    settings = Settings(home=home)
    file = settings.service_file
    assert file is not None
    file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "serve", "--port", "0"], env=os.environ | {"TUNER_HOME": str(home)}
    )
    try:
        _until(file.exists)
        yield json.loads(file.read_text())["url"], settings.local_token_file.read_text().strip()
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _optuna(export: Path, home: Path) -> Iterator[str]:
    ready = home / "optuna-address"
    command = [sys.executable, "-m", "benchmarks.dashboard", "--serve-optuna", str(export)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        _until(ready.exists)
        yield ready.read_text()
    finally:
        process.terminate()
        process.wait()


def _until(ready: Callable[[], bool]) -> None:
    while not ready():
        time.sleep(0.1)


def _serve_optuna(export: Path) -> None:
    """Its own server over trials in memory, the quickest storage it has."""
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    import optuna
    import optuna_dashboard

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *values: Any) -> None:
            pass

    states = {"completed": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "waiting": "WAITING"}
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="many", direction="maximize")
    for row in json.loads(export.read_text())["trials"]:
        distributions = {name: _distribution(name) for name in row["params"]}
        state = optuna.trial.TrialState[states[row["state"]]]
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=row["value"] if row["state"] == "completed" else None,
                params=row["params"],
                distributions=distributions,
                intermediate_values=dict(row["reports"]),
            )
        )
    server = make_server("127.0.0.1", 0, optuna_dashboard.wsgi(storage), handler_class=Quiet)
    (export.parent / "optuna-address").write_text(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


def _distribution(name: str) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    known: dict[str, Any] = {
        "learning_rate": FloatDistribution(1e-6, 1e-3, log=True),
        "batch_size": CategoricalDistribution([8, 16, 32]),
        "optimizer": CategoricalDistribution(["adamw", "sgd"]),
        "momentum": FloatDistribution(0.5, 0.99),
        "weight_decay": CategoricalDistribution([0.01]),
        "epochs": IntDistribution(1, 9),
        "frozen_layers": IntDistribution(0, 6),
    }
    return known[name]


class Sizes:
    """Bytes of the answers of an API, as they are without compression."""

    def __init__(self, page: Page, part: str) -> None:
        self.seen: list[int] = []
        self.part = part
        page.on("response", self._note)

    def _note(self, response: Response) -> None:
        if self.part in response.url and "/events" not in response.url:
            self.seen.append(int(response.headers.get("content-length", "0")))

    def row(self) -> Row:
        return {"largest response, kB": max(self.seen, default=0) / 1000, "all responses, kB": sum(self.seen) / 1000}


def _measure_tuner(browser: Browser, url: str, token: str) -> Row:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.request.get(f"{url}/login?token={token}", max_redirects=0)
    sizes = Sizes(page, "/api/v1/")
    page.goto(f"{url}/studies/many", wait_until="commit")
    page.wait_for_selector("#trials-rows tr")
    row: Row = {"usable: overview and table": page.evaluate(NOW)}
    page.wait_for_selector('[data-figure="history"] path.point', state="attached")
    row["first figure drawn"] = page.evaluate(NOW)
    page.wait_for_selector('[data-figure="curves"] path.js-line', state="attached")
    row["figures in sight drawn"] = page.evaluate(NOW)
    row["first paint"] = page.evaluate(PAINT)
    row["sort, s"] = _timed(page, "document.querySelector('#trials-head th:nth-child(4) button').click()")
    typed = (
        "const f = document.querySelector('#where'); f.value = 'value>0.85,optimizer=sgd'; f.dispatchEvent(new Event('input'))"
    )
    row["filter, s"] = _timed(page, typed)
    row |= _live(page, url, token)
    row |= sizes.row()
    context.close()
    return row


def _timed(page: Page, action: str) -> float:
    """From an action to the change of the table that it leads to."""
    script = f"""() => new Promise((done) => {{
      const rows = document.querySelector('#trials-rows');
      const begin = performance.now();
      new MutationObserver((_, observer) => {{ observer.disconnect(); done((performance.now() - begin) / 1000); }})
        .observe(rows, {{ childList: true }});
      {action};
    }})"""
    return float(page.evaluate(script))


def _live(page: Page, url: str, token: str, updates: int = 4) -> Row:
    """Main-thread time of an update, by the browser's own account: on a core, and by the clock, waits for a core included."""
    accounts = {"live update, main thread s": "threadTicks", "live update, main thread by the clock s": "timeTicks"}
    devtools = {name: page.context.new_cdp_session(page) for name in accounts}
    for name, kind in accounts.items():
        devtools[name].send("Performance.enable", {"timeDomain": kind})
    page.evaluate(
        "() => { window.longest = 0; new PerformanceObserver((list) => { for (const e of list.getEntries()) "
        "window.longest = Math.max(window.longest, e.duration); }).observe({ entryTypes: ['longtask'] }); }"
    )
    page.wait_for_timeout(2500)  # until nothing is left to do
    before = {name: _task_seconds(session) for name, session in devtools.items()}
    with httpx2.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=60) as client:
        worker = client.post("/workers", json={"host": "bench", "pid": 1}).json()["worker_id"]
        for _ in range(updates):
            lease = client.post("/leases", json={"worker_id": worker}).json()
            metric = {"name": "accuracy", "step": 10, "epoch": 1.0, "value": 0.5, "split": "validation"}
            client.post(f"/leases/{lease['id']}/metrics", json={"metrics": [metric]})
            client.post(f"/leases/{lease['id']}/finish", json={"state": "completed", "values": {"accuracy": 0.5}})
            page.wait_for_timeout(3500)  # updates are at least a second apart; each is told alone
    spent = {name: (_task_seconds(session) - before[name]) / updates for name, session in devtools.items()}
    return spent | {"live update, longest task s": page.evaluate("() => window.longest / 1000")}


def _task_seconds(devtools: Any) -> float:
    metrics = devtools.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def _measure_optuna(browser: Browser, address: str) -> Row:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(120_000)
    sizes = Sizes(page, "/api/")
    page.goto(f"{address}/dashboard/studies/0", wait_until="commit")
    page.wait_for_selector(".main-svg .scatterlayer path", state="attached")
    row: Row = {"first figure drawn": page.evaluate(NOW), "first paint": page.evaluate(PAINT)}
    row |= sizes.row()
    context.close()
    return row


def _print(ours: list[Row], theirs: list[Row]) -> None:
    print("| median of the rounds | Tuner | optuna-dashboard |\n|---|---|---|")
    for name in ours[0]:
        cells = [f"{statistics.median(row[name] for row in rows):.2f}" if name in rows[0] else "–" for rows in (ours, theirs)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

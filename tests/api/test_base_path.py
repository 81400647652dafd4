"""Behind a reverse proxy, below a path of a site: whether the proxy passes the path on or takes it away."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from tests.api.conftest import Json, serving
from tuner.client import Client
from tuner.settings import Settings

HOP_BY_HOP = ("connection", "transfer-encoding", "content-length", "host", "keep-alive")


class Proxy(ThreadingHTTPServer):
    """A reverse proxy for `/tuner/`. With `strips` it takes the path away; it keeps no Host of the browser's."""

    daemon_threads = True

    def __init__(self, *, strips: bool) -> None:
        self.strips, self.behind = strips, ""
        super().__init__(("127.0.0.1", 0), Passing)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/tuner"


class Passing(BaseHTTPRequestHandler):
    """Passes a request on, and its answer back as it comes."""

    server: Proxy

    def do_GET(self) -> None:
        if not self.path.startswith("/tuner/") and self.path != "/tuner":
            self.send_error(404, "not ours")
            return
        path = (self.path.removeprefix("/tuner") or "/") if self.server.strips else self.path
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        url = f"{self.server.behind}{path}"
        with httpx2.stream(self.command, url, headers=headers, content=body or None, timeout=20) as answer:
            self.send_response_only(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("connection", "close")
            self.end_headers()
            for chunk in answer.iter_raw():
                self.wfile.write(chunk)
                self.wfile.flush()

    do_POST = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(params=[True, False], ids=["stripped", "passed on"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str, str]]:
    """Where the site is, an admin's token and a worker's."""
    proxy = Proxy(strips=request.param)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    with serving(Settings(home=tmp_path / "home", public_url=proxy.url)) as live:
        proxy.behind = live.url
        yield proxy.url, live.token, live.worker_token
    proxy.shutdown()
    thread.join()
    proxy.server_close()


def test_pages_links_and_files_stay_below_the_path(site: tuple[str, str, str], spec: Json) -> None:
    url, token, _ = site
    root = url.removesuffix("/tuner")
    with httpx2.Client(timeout=20) as browser:
        asked = browser.get(f"{url}/workers")
        assert asked.status_code == 303 and asked.headers["location"] == "/tuner/login?next=%2Ftuner%2Fworkers"
        signed_in = browser.get(f"{url}/login?token={token}")
        assert signed_in.headers["location"] == "/tuner/"
        assert "Path=/tuner/;" in signed_in.headers["set-cookie"]
        pages = [browser.get(f"{url}/"), browser.get(f"{url}/workers"), browser.get(f"{url}/new")]
        addresses: set[str] = set()
        for page in pages:
            assert page.status_code == 200 and 'data-root="/tuner"' in page.text
            addresses |= set(re.findall(r'(?:href|src|data-plotly)="(/[^"]*)"', page.text))
        assert addresses and all(address.startswith("/tuner/") for address in addresses)
        assert {address: browser.get(root + address).status_code for address in addresses} == dict.fromkeys(addresses, 200)
        assert f"{url}" in browser.get(f"{url}/workers").text, "the address for workers"
        assert browser.get(f"{url}/openapi.json").json()["servers"] == [{"url": "/tuner"}]


def test_writes_of_the_pages_count_as_our_own_and_others_do_not(site: tuple[str, str, str], spec: Json) -> None:
    url, token, _ = site
    with httpx2.Client(timeout=20) as browser:
        browser.get(f"{url}/login?token={token}")
        mine = {"Origin": url.removesuffix("/tuner"), "X-Tuner-Request": "1"}
        assert browser.post(f"{url}/api/v1/studies", json=spec, headers=mine).status_code == 201
        other = browser.post(f"{url}/api/v1/studies", json=spec, headers=mine | {"Origin": "http://evil.example"})
        assert other.status_code == 403
        assert browser.post(f"{url}/logout", headers=mine).status_code == 204
        assert browser.get(f"{url}/api/v1/studies").status_code == 401


def test_events_come_through_as_they_happen(site: tuple[str, str, str], spec: Json) -> None:
    url, token, _ = site
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.stream("GET", f"{url}/api/v1/events", headers=headers, timeout=20) as stream:
        assert stream.headers["x-accel-buffering"] == "no"
        lines = stream.iter_lines()
        assert "connected" in next(lines)
        assert httpx2.post(f"{url}/api/v1/studies", json=spec, headers=headers).status_code == 201
        assert next(line for line in lines if line.startswith("event:")) in ("event: trial", "event: study")


def test_a_worker_and_the_command_line_work_through_it(site: tuple[str, str, str], spec: Json) -> None:
    url, token, worker_token = site
    with Client(url, token) as people, Client(url, worker_token) as node:
        study = people.post("/studies", spec)
        trial = node.lease(node.register(), wait_seconds=0)
        assert trial is not None and trial.study_id == study["id"]
        with trial:
            trial.finish({"accuracy": 0.5})
        assert people.study(study["id"])["counts"]["completed"] == 1


def test_behind_tls_the_cookie_is_secure(tmp_path: Path) -> None:
    with serving(Settings(home=tmp_path / "home", public_url="https://ml.example:8443/")) as live:
        headers = {"Host": "ml.example:8443"}
        answer = httpx2.get(f"{live.url}/login?token={live.token}", headers=headers)
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        assert "; Secure" in answer.headers["set-cookie"] and "Path=/;" in answer.headers["set-cookie"]
        assert httpx2.get(f"{live.url}/healthz", headers={"Host": "other.example"}).status_code == 400


@pytest.mark.parametrize(
    "wrong", ["ml.example", "ftp://ml.example", "https://", "https://ml.example/?a=1", "https://me@ml.example"]
)
def test_an_address_that_is_none_is_refused_with_an_example(wrong: str) -> None:
    with pytest.raises(ValidationError, match="must be such as https://ml.example"):
        Settings(public_url=wrong)

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.dashboard.static_files import static_files


def test_each_page_is_a_shell_that_loads_its_script(admin: TestClient, post_study: Callable[..., Any]) -> None:
    study = post_study()
    scripts = {
        "/": "studies.js",
        f"/studies/{study['id']}": "study.js",
        f"/studies/{study['name']}": "study.js",
        f"/studies/{study['id']}/trials/0": "trial.js",
        "/workers": "workers.js",
    }
    for path, script in scripts.items():
        page = admin.get(path)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert f"/{script}" in page.text


def test_everything_that_a_page_loads_can_be_had_without_a_token(anonymous: TestClient) -> None:
    page = anonymous.get("/login").text
    loaded = re.findall(r'(?:src|href)="(/static/.+?)"', page)
    assert len(loaded) >= 3
    assert {anonymous.get(address).status_code for address in loaded} == {200}


@pytest.mark.parametrize("path", ["/", "/workers", "/studies/x", "/studies/x/trials/3"])
def test_a_page_without_a_session_leads_to_the_login_and_back(anonymous: TestClient, path: str) -> None:
    answer = anonymous.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=%2F")


@pytest.mark.parametrize("path", ["/studies/absent", "/studies/absent/trials/0"])
def test_what_is_not_there_is_a_page_that_leads_on(admin: TestClient, path: str) -> None:
    page = admin.get(path)
    assert page.status_code == 404
    assert "no study &#39;absent&#39;" in page.text
    assert "list of studies" in page.text


def test_a_trial_that_is_not_there_is_a_page_too(admin: TestClient, post_study: Callable[..., Any]) -> None:
    page = admin.get(f"/studies/{post_study()['id']}/trials/99")
    assert page.status_code == 404
    assert "no trial 99" in page.text


def test_names_are_text_in_the_page(admin: TestClient, post_study: Callable[..., Any]) -> None:
    study = post_study(name="<script>alert(1)</script>\"'")
    page = admin.get(f"/studies/{study['id']}").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_static_files_may_be_kept_for_ever(anonymous: TestClient) -> None:
    for version, name in static_files():
        answer = anonymous.get(f"/static/{version}/{name}")
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize("path", ["/static/x/style.css", "/static/x/..%2f..%2fpages.py", "/static/7.1.0/%2e%2e%2fpages.py"])
def test_only_files_of_the_table_are_served(anonymous: TestClient, path: str) -> None:
    assert anonymous.get(path).status_code == 404


def test_a_wrong_token_in_the_address_is_told_on_the_login_page(anonymous: TestClient) -> None:
    page = anonymous.get("/login?token=wrong")
    assert page.status_code == 401
    assert "this token is not known" in page.text

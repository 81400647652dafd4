from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import api.dashboard
from api.dashboard.languages import LANGUAGES, preferred, texts_in
from tuner.records import FINISHED_TRIAL_STATES, STUDY_STATES, TRIAL_STATES

FOLDER = Path(next(iter(api.dashboard.__path__)))
TEXT = r'"((?:[^"\\]|\\.)+)"'


def texts_of_scripts() -> set[str]:
    """What `t("…")` and `counted(n, "…", "…")` say, and the tables of names that are said later."""
    found: set[str] = set()
    for file in sorted((FOLDER / "static").glob("*.js")):
        source = file.read_text("utf-8")
        found.update(re.findall(rf"\bt\({TEXT}", source))
        for one, other in re.findall(rf"\bt\([^()\"]*\? {TEXT} : {TEXT}", source):
            found.update((one, other))
        for one, many in re.findall(rf"\bcounted\([^\"]*?{TEXT},\s*{TEXT}\)", source):
            found.update((one, many))
        for table in re.findall(r"const (?:LABELS|LIMITS|MODES|MEANING) = \{(.*?)\};", source, re.DOTALL):
            found.update(re.findall(rf": {TEXT}", table))
    return found


def texts_of_templates() -> set[str]:
    found: set[str] = set()
    for file in sorted((FOLDER / "templates").glob("*.html")):
        source = file.read_text("utf-8")
        found.update(first or second for first, second in re.findall(r"""\bt\((?:"([^"]+)"|'([^']+)')\)""", source))
        found.update(re.findall(r'panel\("[^"]+", "([^"]+)"', source))
        found.update(re.findall(r'\("\w+", "/\w*", "([^"]+)"\)', source))
    return found


def test_the_search_for_texts_finds_each_kind() -> None:
    scripts, templates = texts_of_scripts(), texts_of_templates()
    assert {"Gain", "{n} trial marked", "{n} trials marked", "{gain} better than", "{gain} worse than", "GPU-hours"} <= scripts
    assert {"Sign in", "Learning curves", "Audit"} <= templates


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_every_text_is_in_the_table_and_keeps_its_places(language: str) -> None:
    table = texts_in(language)
    states = {*STUDY_STATES, *TRIAL_STATES, *FINISHED_TRIAL_STATES, "viewer", "editor", "worker", "admin"}
    wanted = texts_of_scripts() | texts_of_templates() | states
    assert sorted(wanted - set(table)) == []
    places = {english: set(re.findall(r"\{\w+\}", english)) for english in table}
    assert {english: text for english, text in table.items() if set(re.findall(r"\{\w+\}", text)) - places[english]} == {}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de, en;q=0.3, zh;q=0.7", "zh"),
        ("en-GB, zh", "en"),
        ("zh;q=x, en", "en"),
        ("*", "en"),
    ],
)
def test_the_browser_says_what_it_prefers(header: str, language: str) -> None:
    assert preferred(header) == language


def test_the_language_is_chosen_in_the_address_and_remembered(anonymous: TestClient) -> None:
    chosen = anonymous.get("/login?lang=zh")
    assert '<html lang="zh">' in chosen.text
    assert '<html lang="zh">' in anonymous.get("/login").text
    assert '<html lang="en">' in anonymous.get("/login?lang=en").text
    assert '<html lang="en">' in anonymous.get("/login?lang=xx").text


def test_the_table_in_the_page_is_data_that_ends_no_script(anonymous: TestClient) -> None:
    page = anonymous.get("/login?lang=zh").text
    data = re.search(r'<script type="application/json" id="texts">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert "<" not in data[1]

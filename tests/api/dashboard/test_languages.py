from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from starlette.testclient import TestClient

import api.dashboard
from api.dashboard.languages import LANGUAGES, preferred, sentences_in, texts_in
from studies.errors import FailureKind
from tuner.records import FINISHED_TRIAL_STATES, STUDY_STATES, TRIAL_STATES

FOLDER = Path(next(iter(api.dashboard.__path__)))
ROOT = FOLDER.parents[1]
# Where what people are told is written: modules, and the calls whose argument of so much says it.
SPEAKING = (
    *(f"studies/{name}.py" for name in ("constraints", "dividing", "space")),
    *(
        f"tuner/{name}.py"
        for name in ("access", "artifacts", "budget", "extensions", "importing", "lifecycle", "manager", "objectives")
    ),
    *(f"tuner/{name}.py" for name in ("pruners", "pruning", "samplers", "sections", "settling", "spec", "starts", "study_files")),
    "tuner/db/engine.py",
    *(f"api/{name}.py" for name in ("deps", "files", "filters", "paging", "security")),
    *(f"api/routes/{name}.py" for name in ("compare", "figures", "sessions", "study_files", "tokens", "trials")),
)
SAYING = {
    **{
        "Conflict": 0,
        "NotFound": 0,
        "Unavailable": 0,
        "ValueError": 0,
        "HTTPException": 1,
        "at": 1,
        "FieldError": 1,
        "Ruling": 1,
    },
    **{"note": 2, "stop_trials": 2, "_set_state": 3},
}
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


def said(node: ast.expr | None) -> list[str]:
    """The texts that an expression can be, `{}` where something is put in."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)]
    return said(node.body) + said(node.orelse) if isinstance(node, ast.IfExp) else []


def sentences_of(path: Path) -> Iterator[str]:
    """What a module tells people."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = SAYING.get(name)
            if place is not None:
                named = [keyword.value for keyword in node.keywords if keyword.arg == "detail" and name == "HTTPException"]
                for argument in [*node.args[place : place + 1], *named]:
                    yield from said(argument)
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("reason", "message"):
            yield from said(node.value)
        elif isinstance(node, ast.Return) and path.name == "budget.py":
            yield from said(node.value)


def test_the_search_for_sentences_finds_each_kind() -> None:
    found = {sentence for name in SPEAKING for sentence in sentences_of(ROOT / name)}
    assert {"trial.stop", "paused by a user", "no gain in {} trials", "threshold: {} is below {}", "is missing"} <= found
    assert {"this needs the role {}; the token has the role {}", "study {} is running; stop it first"} <= found


@pytest.mark.parametrize("language", [name for name in LANGUAGES if name != "en"])
def test_every_sentence_of_the_service_is_in_the_table(language: str) -> None:
    table = sentences_in(language)
    known = {re.sub(r"\{\w+\}", "{}", sentence) for sentence in table}
    told = {sentence for name in SPEAKING for sentence in sentences_of(ROOT / name)} - {"study.{}", ""}
    actions = {f"study.{state}" for state in ("running", "paused", "stopped")}
    assert sorted((told | actions | set(get_args(FailureKind))) - known) == []
    places = {english: sorted(re.findall(r"\{\w+\}", english)) for english in table}
    assert {english: text for english, text in table.items() if sorted(re.findall(r"\{\w+\}", text)) != places[english]} == {}


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

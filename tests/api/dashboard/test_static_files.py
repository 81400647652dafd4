from __future__ import annotations

import re

from api.dashboard.static_files import own_version, plotly_version, static_files


def test_every_file_of_the_table_exists_and_says_what_it_is() -> None:
    for (_, name), file in static_files().items():
        assert file.path.is_file(), name
        assert file.media_type == {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}[name.rsplit(".")[-1]]


def test_plotly_comes_from_its_package_under_its_own_version() -> None:
    head = static_files()[plotly_version(), "plotly.min.js"].path.read_text("utf-8")[:500]
    assert "plotly.js" in head
    assert len(own_version()) == 12


def test_modules_import_only_modules_of_the_table() -> None:
    names = {name for _, name in static_files()}
    for (version, name), file in static_files().items():
        if version == own_version() and name.endswith(".js"):
            imported = re.findall(r'from "(.+?)"', file.path.read_text("utf-8"))
            assert {f"./{known}" for known in names}.issuperset(imported), name


def test_own_scripts_never_read_text_as_markup() -> None:
    for (version, name), file in static_files().items():
        if version == own_version() and name.endswith(".js"):
            forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
            assert not re.search(forbidden, file.path.read_text("utf-8")), name

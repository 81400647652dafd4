"""The languages of the pages: English is what the pages are written in, every other is two tables from English to its own.

A table is a JSON file in `texts/`; the page carries it to its scripts. The service itself (refusals, reasons, actions) speaks
English to programs and people alike; a page says its sentences by a table of their own, whose entries may have places to fill.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from functools import cache

from fastapi import Request

LANGUAGE_COOKIE = "tuner_language"
LANGUAGES: Mapping[str, str] = {"en": "English", "zh": "中文"}  # each by its own name
_FOLDER = pathlib.Path(__file__).parent / "texts"


def texts_in(language: str) -> Mapping[str, str]:
    """English text → text in `language`; empty for English."""
    return _table(language, "")


def sentences_in(language: str) -> Mapping[str, str]:
    """What the service says → the same in `language`; `{name}` stands for what differs each time. Empty for English."""
    return _table(language, "-service")


@cache
def _table(language: str, of: str) -> Mapping[str, str]:
    if language == "en":
        return {}
    table: dict[str, str] = json.loads((_FOLDER / f"{language}{of}.json").read_text("utf-8"))
    return table


def language_of(request: Request) -> str:
    """What `?lang=` asks for, else what was chosen before, else what the browser prefers, else English."""
    for asked in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if asked in LANGUAGES:
            return str(asked)
    return preferred(request.headers.get("accept-language", ""))


def preferred(header: str) -> str:
    """The best of ours in an Accept-Language header such as `zh-CN,zh;q=0.9,en;q=0.8`."""
    wishes = []
    for position, part in enumerate(header.split(",")[:20]):
        name, _, quality = part.strip().partition(";q=")
        language = name.split("-")[0].lower()
        if language in LANGUAGES:
            wishes.append((-_number(quality), position, language))
    return min(wishes)[2] if wishes else "en"


def _number(quality: str) -> float:
    try:
        return float(quality or 1)
    except ValueError:
        return 0.0

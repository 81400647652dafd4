from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.simulation import study_body
from tuner.allowed import NO_FILES, allowed_by, check_allowed
from tuner.settings import Settings
from tuner.spec import StudySpec, parse


def spec(model: str = "builtin:minilm", **data: Any) -> StudySpec:
    return parse(study_body(model=model, data={"train": "builtin:trec"} | data))


def refused(study: StudySpec, patterns: list[str]) -> list[str]:
    try:
        check_allowed(study, patterns)
    except InvalidInput as error:
        return [entry.field for entry in error.errors]
    return []


def test_without_a_list_everything_is_allowed() -> None:
    check_allowed(spec("/etc", train="/etc/passwd.csv"), None)


def test_what_is_built_in_is_always_allowed() -> None:
    assert refused(spec(), []) == []


def test_each_source_outside_the_list_is_named() -> None:
    study = spec("org/model", train="/etc/a.csv", validation="/etc/b.csv", test="/etc/c.csv")
    assert refused(study, ["/data/*"]) == ["model", "data.train", "data.validation", "data.test"]
    assert refused(study, ["/etc/*", "org/*"]) == []


def test_shares_are_no_sources() -> None:
    assert refused(spec(validation=0.2, test=0.1), []) == []


@pytest.mark.parametrize("way", ["{allowed}/../secret.csv", "{allowed}/link.csv", "{allowed}/l?nk.csv", "{allowed}/*"])
def test_a_path_counts_as_where_it_leads(tmp_path: Path, way: str) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (tmp_path / "secret.csv").touch()
    (allowed / "link.csv").symlink_to(tmp_path / "secret.csv")
    assert refused(spec(train=way.format(allowed=allowed)), [f"{allowed}/*"]) == ["data.train"]


def test_the_message_says_what_is_allowed() -> None:
    with pytest.raises(InvalidInput, match=r"data\.train: is not among TUNER_ALLOWED_SOURCES .*built-in ones, and /data/\*"):
        check_allowed(spec(train="/etc/a.csv"), ["/data/*"])


def test_people_on_this_machine_may_name_any_file_and_others_none() -> None:
    assert allowed_by(Settings(host="127.0.0.1")) is None
    assert allowed_by(Settings(host="0.0.0.0")) == NO_FILES
    assert allowed_by(Settings(host="0.0.0.0", allowed_sources=("/data/*",))) == ("/data/*",)
    assert refused(spec("org/model", train="/etc/a.csv"), list(NO_FILES)) == ["data.train"]

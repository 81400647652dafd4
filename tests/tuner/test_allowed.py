from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from studies.errors import InvalidInput
from tests.simulation import study_body
from tuner.allowed import check_allowed
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


@pytest.mark.parametrize("way", ["{allowed}/../secret.csv", "{allowed}/link.csv"])
def test_a_path_counts_as_where_it_leads(tmp_path: Path, way: str) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (tmp_path / "secret.csv").touch()
    (allowed / "link.csv").symlink_to(tmp_path / "secret.csv")
    assert refused(spec(train=way.format(allowed=allowed)), [f"{allowed}/*"]) == ["data.train"]


def test_the_message_says_what_is_allowed() -> None:
    with pytest.raises(InvalidInput, match=r"data\.train: is not among .*allowed: built-in ones, and /data/\*"):
        check_allowed(spec(train="/etc/a.csv"), ["/data/*"])

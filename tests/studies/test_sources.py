from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from studies.errors import InvalidInput
from studies.sources import local_path, read_rows

COLUMNS = {"text": "text", "label": "label"}
RECORDS = [{"text": "hello, world", "label": "a"}, {"text": 'say "hi"\nthere', "label": "b"}]


def error_of(source: str | Path, columns: dict[str, str] | None = None) -> str:
    with pytest.raises(InvalidInput) as caught:
        read_rows(str(source), columns or COLUMNS, where="data.train")
    assert len(caught.value.errors) == 1
    return str(caught.value)


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_formats_give_the_same_rows(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"data.{ending}"
    if ending == "csv":
        path.write_text('label,text\na,"hello, world"\nb,"say ""hi""\nthere"\n')
    elif ending == "jsonl":
        path.write_text("\n".join(json.dumps(record) for record in RECORDS))
    else:
        parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)
    rows = read_rows(str(path), COLUMNS, where="data.train")
    assert [row.values for row in rows] == RECORDS
    assert rows[1].place == f"{path} row 2"


def test_a_glob_reads_every_file_in_the_order_of_names(tmp_path: Path) -> None:
    file(tmp_path, "b.csv", "text,label\nthree,y\n")
    file(tmp_path, "a.csv", "text,label\none,x\ntwo,y\n")
    rows = read_rows(str(tmp_path / "*.csv"), COLUMNS, where="data.train")
    assert [row.values["text"] for row in rows] == ["one", "two", "three"]


def test_roles_take_the_columns_they_are_given(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "id,question,topic\n1,why,x\n")
    rows = read_rows(str(path), {"text": "question", "label": "topic"}, where="data.train")
    assert [row.values for row in rows] == [{"text": "why", "label": "x"}]


def test_builtin_data_is_a_source() -> None:
    assert read_rows("builtin:sms-spam", COLUMNS, where="data.train")[0].place == "builtin:sms-spam row 1"


def test_line_separators_inside_a_text_do_not_end_a_row(tmp_path: Path) -> None:
    text = "one\u2028two"
    csv_file = file(tmp_path, "a.csv", f"text,label\n{text},x\n")
    jsonl_file = file(tmp_path, "a.jsonl", json.dumps({"text": text, "label": "x"}, ensure_ascii=False))
    for path in (csv_file, jsonl_file):
        assert [row.values["text"] for row in read_rows(str(path), COLUMNS, where="")] == [text]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", b"\xef\xbb\xbftext,label\none,x\n")
    assert read_rows(str(path), COLUMNS, where="")[0].values["text"] == "one"


def test_places_that_hold_no_file(tmp_path: Path) -> None:
    assert "data.train: there is no file" in error_of(tmp_path / "nothing.csv")
    assert "data.train: no file matches" in error_of(tmp_path / "*.csv")
    assert "is a folder; name its files with a glob" in error_of(tmp_path)
    assert "has the ending '.txt', which tells no format; known: .csv, .jsonl, .parquet" in error_of(file(tmp_path, "a.txt", ""))
    assert "data.train: data set 'imdb' is not on this machine, and downloads are off" in error_of("hf:imdb")
    assert "data.train: unknown built-in data set 'x'" in error_of("builtin:x")


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_empty_file_has_no_rows(tmp_path: Path, name: str) -> None:
    assert f"{name} has no rows" in error_of(file(tmp_path, name, ""))


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    assert "has no rows" in error_of(file(tmp_path, "a.csv", "text,label\n"))


def test_an_absent_column_is_answered_with_the_ones_that_are_there(tmp_path: Path) -> None:
    path = file(tmp_path, "a.csv", "text,topic\none,x\n")
    assert error_of(path) == f"data.columns.label: {path} has no column 'label'; it has: text, topic"
    assert "data.columns.text: builtin:trec has no column 'question'; it has: text, label" in error_of(
        "builtin:trec", {"text": "question"}
    )


def test_a_key_that_some_lines_leave_out_is_none_there(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", '{"text": "one"}\n\n{"text": "two", "label": "x"}\n')
    assert [row.values["label"] for row in read_rows(str(path), COLUMNS, where="")] == [None, "x"]


def test_malformed_jsonl_names_the_line(tmp_path: Path) -> None:
    assert "a.jsonl line 2 is not JSON" in error_of(file(tmp_path, "a.jsonl", '{"text": "one", "label": "x"}\n{"text": \n'))
    assert "a.jsonl line 1 is not an object" in error_of(file(tmp_path, "a.jsonl", "[1, 2]\n"))


def test_malformed_csv_names_the_line(tmp_path: Path) -> None:
    assert "line 3 is not csv: more fields than the header" in error_of(
        file(tmp_path, "a.csv", "text,label\none,x\nhello, world,x\n")
    )
    assert "is not csv" in error_of(file(tmp_path, "b.csv", 'text,label\n"open,x\n'))


def test_text_that_is_not_utf8_names_the_byte(tmp_path: Path) -> None:
    assert "is not UTF-8 (byte 0xe9 at offset 14)" in error_of(
        file(tmp_path, "a.csv", "text,label\ncaf\u00e9,x\n".encode("latin-1"))
    )


def test_a_file_that_only_claims_to_be_parquet(tmp_path: Path) -> None:
    assert "a.parquet is not a parquet file" in error_of(file(tmp_path, "a.parquet", "text,label\n"))


def test_a_home_folder_that_is_not_there_is_named() -> None:
    with pytest.raises(InvalidInput, match="data.train: '~nosuchuser/x.csv' names the home folder of a user not known here"):
        read_rows("~nosuchuser/x.csv", {}, where="data.train")
    assert local_path("~/x", "model") == Path.home() / "x"

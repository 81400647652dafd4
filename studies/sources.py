"""Reading rows: from a built-in data set, or from csv, jsonl and parquet files named by a path or a glob, or of the hub.

Every error is an InvalidInput that names the field of the study file (`data.train`, `data.columns.label`, …) and the file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any, NamedTuple

from studies.builtin import PREFIX, read_data
from studies.errors import InvalidInput, known
from studies.hub import DATA_PREFIX
from studies.hub_data import split_files


class Row(NamedTuple):
    """One row: its values by column, and where it stands (`train.csv row 17`), for messages."""

    place: str
    values: Mapping[str, Any]
    folder: Path | None = None  # of the file that holds it


def read_rows(source: str, columns: Mapping[str, str], *, where: str) -> list[Row]:
    """Every row of `source`, its `values` under the roles of `columns` (role → column name); an absent value is None.

    `where` is the field that holds `source`. Raises InvalidInput for a source that can't be read, has no rows,
    or lacks a column.
    """
    rows: list[Row] = []
    for name, records in _tables(source, where):
        _check_columns(name, records, columns)
        folder = None if source.startswith((PREFIX, DATA_PREFIX)) else Path(name).parent
        rows.extend(
            Row(f"{name} row {number}", {role: record.get(column) for role, column in columns.items()}, folder)
            for number, record in enumerate(records, start=1)
        )
    return rows


def local_path(text: str, where: str) -> Path:
    """The path that `text` names, a leading `~` or `~user` replaced. `where` is the field that holds it. Raises InvalidInput."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InvalidInput.at(where, f"{text!r} names the home folder of a user not known here; give the whole path") from None


def _tables(source: str, where: str) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Pairs of a name for messages and its records, one pair a file."""
    if source.startswith(PREFIX):
        yield source, list(read_data(source.removeprefix(PREFIX), where=where))
        return
    for path in split_files(source, list(_READERS), where) if source.startswith(DATA_PREFIX) else _files(source, where):
        records = _read_file(path, where)
        if not records:
            raise InvalidInput.at(where, f"{path} has no rows; it needs at least one example of each class")
        yield str(path), records


def _files(source: str, where: str) -> list[Path]:
    pattern = str(local_path(source, where))
    if has_magic(pattern) and not Path(pattern).exists():
        paths = [Path(name) for name in sorted(glob(pattern, recursive=True)) if Path(name).is_file()]
        if not paths:
            raise InvalidInput.at(where, f"no file matches {source!r}, looked for from {Path.cwd()}")
        return paths
    path = Path(pattern)
    if path.is_dir():
        raise InvalidInput.at(where, f"{source!r} is a folder; name its files with a glob such as {source.rstrip('/')}/*.csv")
    if not path.is_file():
        raise InvalidInput.at(
            where, f"there is no file {source!r}, looked for from {Path.cwd()}; or name a built-in one: builtin:trec"
        )
    return [path]


def _read_file(path: Path, where: str) -> list[Mapping[str, Any]]:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        ending = f"the ending {path.suffix!r}" if path.suffix else "no ending"
        raise InvalidInput.at(where, f"{path} has {ending}, which tells no format; {known(list(_READERS))}")
    try:
        return reader(path, where)
    except UnicodeDecodeError as error:
        byte, offset = error.object[error.start], error.start
        raise InvalidInput.at(where, f"{path} is not UTF-8 (byte 0x{byte:02x} at offset {offset}); save it as UTF-8") from None
    except OSError as error:
        raise InvalidInput.at(where, f"{path} can't be read: {error.strerror or error}") from None


def _read_csv(path: Path, where: str) -> list[Mapping[str, Any]]:
    # Decoded as a whole, so that an error's offset counts from the start of the file; -sig drops a byte order mark.
    reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
    records: list[Mapping[str, Any]] = []
    try:
        for record in reader:
            if None in record:
                # Left alone, the second half of a text would silently be taken for its label.
                raise csv.Error("more fields than the header names; put texts that hold a comma into double quotes")
            records.append(record)
    except csv.Error as error:
        raise InvalidInput.at(where, f"{path} line {reader.line_num} is not csv: {error}") from None
    return records


def _read_jsonl(path: Path, where: str) -> list[Mapping[str, Any]]:
    records: list[Mapping[str, Any]] = []
    # Split at newlines only: str.splitlines would also cut at U+2028, which JSON allows inside a string.
    for number, line in enumerate(path.read_bytes().decode("utf-8-sig").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise InvalidInput.at(where, f"{path} line {number} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise InvalidInput.at(where, f'{path} line {number} is not an object such as {{"text": …, "label": …}}')
        records.append(record)
    return records


def _read_parquet(path: Path, where: str) -> list[Mapping[str, Any]]:
    # Imported here: pyarrow is large and only needed for this format.
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise InvalidInput.at(where, f"{path}: reading parquet needs pyarrow; bring it with: pip install pyarrow") from None
    try:
        table = parquet.ParquetFile(path).read()
    except ArrowException as error:
        raise InvalidInput.at(where, f"{path} is not a parquet file: {error}") from None
    names = _class_names(table.schema.metadata or {})
    return [
        {column: _named(value, names[column]) if column in names else value for column, value in record.items()}
        for record in table.to_pylist()
    ]


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of the classes that a column's numbers stand for, as the package `datasets` writes them into parquet."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        classes = {column: feature.get("feature", feature) for column, feature in features.items()}
        return {column: list(kind["names"]) for column, kind in classes.items() if kind.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _named(value: object, names: Sequence[str]) -> object:
    if isinstance(value, list):
        return [_named(one, names) for one in value]
    # Rows without a label have -1.
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


_READERS: Mapping[str, Callable[[Path, str], list[Mapping[str, Any]]]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}


def _check_columns(name: str, records: list[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    # Lines of a jsonl file may leave a key out, so a column is there if any record has it.
    there = dict.fromkeys(column for record in records for column in record)
    for role, column in columns.items():
        if column not in there:
            raise InvalidInput.at(f"data.columns.{role}", f"{name} has no column {column!r}; it has: {', '.join(there)}")

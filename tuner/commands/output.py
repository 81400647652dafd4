"""How the command line prints: numbers, tables, JSON, and study files read from disk."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from studies.errors import InvalidInput
from studies.space import number as as_number

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ServerOption = Annotated[str | None, typer.Option("--server", help="The service's address; default: the one on this machine.")]

console = Console(highlight=False)


def print_json(value: object) -> None:
    """For programs: plain JSON on standard output, whatever the terminal."""
    typer.echo(json.dumps(value, indent=2))


def number(value: Any, digits: int = 4) -> str:
    """A number as people read it: 0.8671, 2.3e-05, 12."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or value == 0:
        return str(value)
    return f"{value:.{digits}f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def params(values: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={number(value, 3)}" for name, value in values.items())


def size(count: int) -> str:
    """Bytes as people read them: 91 MB."""
    for unit, least in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.3g} {unit}"
    return f"{count} bytes"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None, first_folds: bool = False
) -> Table:
    """A table of text; numbers are formatted by the caller. The first column is never folded, unless it may be long."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        made.add_column(escape(column), overflow="fold", no_wrap=index == 0 and not first_folds)
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


def read_study_file(file: Path) -> dict[str, Any]:
    """The object in a study file (YAML or JSON). Raises InvalidInput."""
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput.at(str(file), f"can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput.at(str(file), "is not UTF-8 text") from None
    except yaml.YAMLError as error:
        raise InvalidInput.at(str(file), f"is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InvalidInput.at(str(file), "must hold an object with the keys task, model, data and parameters")
    data = raw.get("data")
    if isinstance(data, dict):
        raw["data"] = data | {key: _absolute(data[key]) for key in ("train", "validation", "test") if key in data}
    model = raw.get("model")
    # org/name is a model of the hub, unless there is such a folder.
    return raw | ({"model": _absolute(model)} if isinstance(model, str) and Path(model).exists() else {})


def assignments(given: Sequence[str]) -> dict[str, Any]:
    """`name=value` pairs, each value read as in a study file. Raises InvalidInput."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise InvalidInput.at(pair, "must be of the form NAME=VALUE")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        if isinstance(value, str) and (read := as_number(value)) is not None:
            value = read  # YAML reads 1e-4 as text
        found[name] = "" if text == "" else value
    return found


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`{"budget.trials": 5}` as `{"budget": {"trials": 5}}`."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *sections, name = path.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
    return tree


def _absolute(source: object) -> object:
    """A path relative to here would mean another file to a service that was started elsewhere."""
    # What YAML reads as text may still be a share: 1e-1.
    is_path = isinstance(source, str) and source and as_number(source) is None
    return source if not is_path or str(source).startswith(("builtin:", "hf:", "~")) else str(Path.cwd() / str(source))

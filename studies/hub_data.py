"""Which files of a data set of the hub hold the rows of a split.

Its page (README.md) says so, or else the names of files and folders do. No code that comes with a data set is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from studies.errors import InvalidInput, known
from studies.hub import dataset, download, files_of

# What each part of a study's data is called there.
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval"),
}
_PAGE = "README.md"


def split_files(source: str, endings: Sequence[str], where: str) -> list[Path]:
    """The files of `hf:…` that hold the split which the field `where` is about: `data.train`, `data.validation` or `data.test`.

    Downloaded where that is allowed. `endings` are those that can be read. Raises InvalidInput at `where`.
    """
    repo, config = dataset(source, where)
    there = files_of(repo, where)
    page = download(repo, [_PAGE], where) / _PAGE if _PAGE in there else None
    listed = _listed(page, source, config, where) if page else None
    if listed is None:
        listed = _guessed(there if config is None else [file for file in there if config in PurePosixPath(file).parts[:-1]])
    split = where.rpartition(".")[2]
    patterns = next((listed[name] for name in _SPLITS[split] if name in listed), None)
    if patterns is None:
        raise InvalidInput.at(where, f"{source} has no split named {split}; it has: {', '.join(sorted(listed)) or 'none'}")
    chosen = [file for file in there if any(fnmatchcase(file, pattern) for pattern in patterns)]
    readable = [file for file in chosen if PurePosixPath(file).suffix in endings]
    if not readable:
        other = sorted({PurePosixPath(file).suffix for file in chosen or there} - {""})
        raise InvalidInput.at(
            where,
            f"{source} has no {', '.join(endings)} files of its split {split}, but {', '.join(other) or 'none'};"
            f" the hub may have made some of them: {source.partition('@')[0]}@refs/convert/parquet",
        )
    folder = download(repo, readable, where)
    return [folder / file for file in readable]


def _listed(page: Path, source: str, config: str | None, where: str) -> dict[str, list[str]] | None:
    """Patterns of files by split, as the page lists them; None if it lists none."""
    header = re.match(r"---\s*\n(.*?)\n---", page.read_text("utf-8", errors="replace"), re.DOTALL)
    try:
        about = yaml.safe_load(header[1]) if header else None
    except yaml.YAMLError:
        about = None
    configs = about.get("configs") if isinstance(about, dict) else None
    if not isinstance(configs, list) or not all(isinstance(entry, dict) for entry in configs):
        return None
    names = [str(entry.get("config_name")) for entry in configs]
    if config is not None and config not in names:
        raise InvalidInput.at(where, f"{source} has no configuration {config!r}; {known(names)}")
    first = [entry for entry in configs if entry.get("default") or entry.get("config_name") == "default"]
    chosen = [entry for entry in configs if entry.get("config_name") == config] if config else first or configs
    if len(chosen) > 1 and not config and not first:
        raise InvalidInput.at(where, f"{source} has several configurations; name one, {source}/{names[0]}; {known(names)}")
    return _patterns(chosen[0])


def _patterns(entry: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Of one configuration: `data_files` is a path, a list of paths, or a list of splits with theirs."""
    listed, folder = entry.get("data_files"), str(entry.get("data_dir") or "")
    if listed is None:
        return None
    found: dict[str, list[str]] = {}
    for one in listed if isinstance(listed, list) else [listed]:
        split, paths = (str(one.get("split")), one.get("path")) if isinstance(one, dict) else ("train", one)
        for path in paths if isinstance(paths, list) else [paths]:
            found.setdefault(split, []).append(str(PurePosixPath(folder, str(path))))
    return found


def _guessed(files: Sequence[str]) -> dict[str, list[str]]:
    """Files by the split that a word of their path names; all of them are training data where none does."""
    found: dict[str, list[str]] = {}
    data = [file for file in files if not PurePosixPath(file).name.startswith((".", "README"))]
    for file in data:
        words = re.split(r"[^a-z]+", file.lower())
        for split, names in _SPLITS.items():
            if any(name in words for name in names):
                found.setdefault(split, []).append(_literally(file))
                break
    return found or ({"train": [_literally(file) for file in data]} if data else {})


def _literally(file: str) -> str:
    """A pattern that matches this name alone."""
    return re.sub(r"([*?[])", r"[\1]", file)

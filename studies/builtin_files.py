"""The files that packages ship, read as rows: one function a data set, given where the package lies."""

from __future__ import annotations

import base64
import csv
import gzip
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

Row = Mapping[str, Any]


def _labelled_questions(folder: Path, *, fine: bool) -> Iterator[Row]:
    # Latin-1: the file predates UTF-8 and holds accented names.
    for line in (folder / "data" / "question_labels.txt").read_text("latin-1").splitlines():
        label, _, text = line.partition(" ")
        yield {"text": text, "label": label if fine else label.partition(":")[0]}


def questions(folder: Path) -> Iterator[Row]:
    return _labelled_questions(folder, fine=False)


def fine_questions(folder: Path) -> Iterator[Row]:
    return _labelled_questions(folder, fine=True)


def messages(folder: Path) -> Iterator[Row]:
    with (folder / "data" / "sms-spam.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {"text": row["text"], "label": "spam" if row["spam"] == "1" else "ham"}


def movie_snippets(folder: Path) -> Iterator[Row]:
    path = folder / "data" / "hutto_ICWSM_2014" / "movieReviewSnippets_GroundTruth.txt"
    for line in path.read_text("utf-8").splitlines()[1:]:
        _, valence, text = line.split("\t")
        # Human raters gave −4 … 4; what they found close to neutral has no clear class.
        if abs(float(valence)) >= 0.5:
            yield {"text": text, "label": "positive" if float(valence) > 0 else "negative"}


def articles(folder: Path) -> Iterator[Row]:
    # One article holds a stray byte that is not UTF-8; losing that character is better than losing the article.
    for path in sorted((folder / "bbcnews" / "data").glob("*/*.txt")):
        yield {"text": path.read_text("utf-8", errors="replace"), "label": path.parent.name}


def addresses(archive: Path) -> Iterator[Row]:
    return _sequences(archive, ["training/labeled.xml"])


def names(archive: Path) -> Iterator[Row]:
    return _sequences(archive, ["name_data/labeled/person_labeled.xml", "name_data/labeled/company_labeled.xml"])


def _sequences(archive: Path, members: Iterable[str]) -> Iterator[Row]:
    """Labelled sequences of a source archive: each child of the root is one, each of its elements a labelled word."""
    with tarfile.open(archive) as tar:
        for member in members:
            file = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/{member}")
            assert file is not None  # a member that is no file would be another archive
            for sequence in ElementTree.fromstring(file.read()):
                words = [(part, element.tag) for element in sequence for part in (element.text or "").split()]
                if words:
                    yield {"tokens": tuple(word for word, _ in words), "tags": tuple(tag for _, tag in words)}


def cloze_questions(folder: Path) -> Iterator[Row]:
    """From each article: its headline without a name or number that the text below begins with."""
    for article in articles(folder):
        headline, _, body = article["text"].partition("\n")
        context = " ".join(body.split()[:90])
        for match in re.finditer(r"[A-Z][\w'-]*(?: [A-Z][\w'-]*)*|[$£]?\d[\d.,]*\w*", headline):
            answer = match.group().removesuffix("'s")
            # The first word of a headline is written large whatever it is: a name is so in the midst of a sentence too.
            before = r"(?<=[a-z,] )" if match.start() == 0 else r"(?<!\w)"
            if re.search(rf"{before}{re.escape(answer)}(?!\w)", context):
                question = f"{headline[: match.start()]}___{headline[match.start() + len(answer) :]}".strip()
                yield {"question": question, "context": context, "answer": answer}


def small_digits(folder: Path) -> Iterator[Row]:
    return _pictures(folder / "datasets" / "data" / "digits.csv.gz", side=8, brightest=16)


def mnist(folder: Path) -> Iterator[Row]:
    return _pictures(folder / "data" / "data" / "mnist_5k.csv.gz", side=28, brightest=255)


def _pictures(path: Path, *, side: int, brightest: int) -> Iterator[Row]:
    """One picture a line: its pixels row by row, then its class."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        for line in file:
            *pixels, label = map(int, line.split(","))
            scaled = bytes(pixel * 255 // brightest for pixel in pixels)
            yield {"image": f"{side}x{side}:{base64.b64encode(scaled).decode()}", "label": str(label)}


def fortunes(folder: Path) -> Iterator[Row]:
    for path in sorted(path for path in folder.iterdir() if path.is_file() and not path.suffix):
        for text in path.read_text("utf-8", errors="replace").split("\n%\n"):
            if text.strip():
                yield {"text": text.strip()}


def package_descriptions(translated: Path) -> Iterator[Row]:
    """Short descriptions in English and in the language of the list `translated`, brought together by their checksum."""
    english = translated.with_name(re.sub(r"Translation-.*", "Translation-en", translated.name))
    sources = dict(_synopses(english)) if english.is_file() else {}
    for checksum, target in _synopses(translated):
        # A few descriptions were begun and left empty.
        if target and checksum in sources and sources[checksum] != target:
            yield {"source": sources[checksum], "target": target}


def _synopses(path: Path) -> Iterator[tuple[str, str]]:
    checksum = ""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("Description-md5: "):
                checksum = line.split(": ", 1)[1].strip()
            elif line.startswith("Description-"):
                yield checksum, line.split(": ", 1)[1].strip()

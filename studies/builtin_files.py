"""The files that packages ship, read as rows: one function a data set, given where the package lies."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from email import message_from_string
from email.message import Message
from html import unescape
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
            yield _picture(scaled, side, str(label))


def _picture(pixels: bytes, side: int, label: str) -> Row:
    return {"image": f"{side}x{side}:{base64.b64encode(pixels).decode()}", "label": label}


_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def clothes(folder: Path) -> Iterator[Row]:
    """The pictures of both sets in MNIST's format: a header of 16 bytes (of labels 8), then a byte for each pixel."""
    size = 28 * 28
    for name in ("train", "t10k"):
        pixels = gzip.decompress((folder / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((folder / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
        for index, label in enumerate(labels):
            yield _picture(pixels[index * size : (index + 1) * size], 28, _CLOTHES[label])


def mails(archive: Path) -> Iterator[Row]:
    """Subject and text of each mail. Its other headers tell when and by whom it was collected, which gives spam away."""
    with tarfile.open(archive) as tar:
        for member in tar:
            group = re.fullmatch(r"package/data/(spam|easy|hard)-[^/]*/[^/]*\.json", member.name)
            file = tar.extractfile(member) if group else None
            if group and file:
                mail = message_from_string(json.load(file)["text"])
                text = f"{mail['subject'] or ''}\n{_mail_text(mail)}".strip()
                if text:
                    yield {"text": text, "label": "spam" if group[1] == "spam" else "ham"}


def _mail_text(mail: Message) -> str:
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    # Many a mail says the same twice, as plain text and as a page.
    part = next((part for part in parts if part.get_content_subtype() == "plain"), next(iter(parts), None))
    if part is None:
        return ""
    content = part.get_payload(decode=True)
    text = content.decode("latin-1") if isinstance(content, bytes) else ""
    if part.get_content_subtype() == "html":
        text = re.sub(r"(?si)<!--.*?-->|<(style|script)\b.*?</\1>|<[^>]*>", " ", text)
    return " ".join(unescape(text).split())


# The files that WordNet's authors wrote, by the number that stands in the second column of its data files.
_SECTIONS = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body noun.cognition "
    "noun.communication noun.event noun.feeling noun.food noun.group noun.location noun.motive noun.object noun.person "
    "noun.phenomenon noun.plant noun.possession noun.process noun.quantity noun.relation noun.shape noun.state noun.substance "
    "noun.time verb.body verb.change verb.cognition verb.communication verb.competition verb.consumption verb.contact "
    "verb.creation verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"
).split()


def glosses(folder: Path) -> Iterator[Row]:
    for part in ("noun", "verb", "adj", "adv"):
        for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
            # The licence at the top of each file is indented.
            if not line.startswith(" "):
                yield {"text": line.partition(" | ")[2].strip(), "label": _SECTIONS[int(line.split(" ", 2)[1])]}


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

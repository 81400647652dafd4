from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from studies.builtin_files import addresses, clothes, cloze_questions, fortunes, glosses, mails, package_descriptions

ADDRESSES = "<A><S><Number>1</Number> <Street>Main St</Street></S><S></S></A>"
ARTICLE = "Boeing wins $4bn deal\n\nThe maker said Boeing would get $4bn. Wins are rare."
ENGLISH = "Package: x\nDescription-md5: 01\nDescription-en: a tool\n long text\n\nDescription-md5: 02\nDescription-en: same\n"
FRENCH = "Description-md5: 02\nDescription-fr: same\n\nDescription-md5: 01\nDescription-fr: un outil\n"
EMPTY = "\nDescription-md5: 03\nDescription-%s: %s\n"

MAIL = "From: a@b\nSubject: Hello\nContent-Type: %s; charset=iso-8859-1\n%s\n%s"
PAGE = MAIL % ("text/html", "Content-Transfer-Encoding: quoted-printable\n", "<style>p {}</style><p>caf=E9 &amp;\n<b>bar</b></p>")
TWICE = MAIL % ('multipart/alternative; boundary="-"', "", "---\nContent-Type: text/html\n\n<p>x</p>\n---\n\nplain\n-----\n")


def archived(path: Path, files: Mapping[str, str]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
    return path


def test_labelled_sequences_of_a_source_archive(tmp_path: Path) -> None:
    archive = archived(tmp_path / "usaddress-0.5.16.tar.gz", {"usaddress-0.5.16/training/labeled.xml": ADDRESSES})
    rows = list(addresses(archive))
    assert rows == [{"tokens": ("1", "Main", "St"), "tags": ("Number", "Street", "Street")}]


def test_a_headline_asks_for_what_the_article_tells(tmp_path: Path) -> None:
    folder = tmp_path / "bbcnews" / "data" / "business"
    folder.mkdir(parents=True)
    (folder / "001.txt").write_text(ARTICLE, encoding="utf-8")
    rows = [(row["question"], row["answer"]) for row in cloze_questions(tmp_path)]
    assert rows == [("___ wins $4bn deal", "Boeing"), ("Boeing wins ___ deal", "$4bn")]


def test_texts_between_lines_of_percent(tmp_path: Path) -> None:
    (tmp_path / "art").write_text("one\ntwo\n%\nthree\n%\n", encoding="utf-8")
    (tmp_path / "art.dat").write_bytes(b"\0")
    assert [row["text"] for row in fortunes(tmp_path)] == ["one\ntwo", "three"]


def test_descriptions_are_brought_together_by_their_checksum(tmp_path: Path) -> None:
    (tmp_path / "deb_Translation-en").write_text(ENGLISH + EMPTY % ("en", "a game"), encoding="utf-8")
    (tmp_path / "deb_Translation-fr").write_text(FRENCH + EMPTY % ("fr", ""), encoding="utf-8")
    # One that is the same in both languages, or empty in the other, was not translated.
    assert list(package_descriptions(tmp_path / "deb_Translation-fr")) == [{"source": "a tool", "target": "un outil"}]


def test_a_mail_is_its_subject_and_its_text(tmp_path: Path) -> None:
    mail = {"spam-1/1.json": PAGE, "easy-ham-2/1.json": TWICE, "hard-ham-1/1.json": "From: a@b\n\n \n"}
    files = {f"package/data/{name}": json.dumps({"text": text}) for name, text in mail.items()}
    archive = archived(tmp_path / "mails.tgz", files | {"package/data/file_list.json": "[]", "package/package.json": "{}"})
    assert list(mails(archive)) == [
        {"text": "Hello\ncaf\u00e9 & bar", "label": "spam"},
        {"text": "Hello\nplain", "label": "ham"},
    ]


def test_what_a_word_means_without_the_licence_above(tmp_path: Path) -> None:
    (tmp_path / "data.noun").write_text(
        "  1 a licence | text\n00001 05 n 01 dog 0 000 | an animal that barks  \n", encoding="utf-8"
    )
    (tmp_path / "data.verb").write_text("00002 43 v 01 rain 0 000 | fall | as rain  \n", encoding="utf-8")
    for part in ("adj", "adv"):
        (tmp_path / f"data.{part}").touch()
    assert list(glosses(tmp_path)) == [
        {"text": "an animal that barks", "label": "noun.animal"},
        {"text": "fall | as rain", "label": "verb.weather"},
    ]


def test_pictures_of_both_sets_of_clothes(tmp_path: Path) -> None:
    for index, name in enumerate(("train", "t10k")):
        pictures = b"\0" * 16 + bytes([index]) * 784 + bytes([9]) * 784
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0" * 8 + bytes([index, 9])))
    rows = list(clothes(tmp_path))
    assert [row["label"] for row in rows] == ["T-shirt/top", "Ankle boot", "Trouser", "Ankle boot"]
    assert base64.b64decode(rows[2]["image"].removeprefix("28x28:")) == bytes([1]) * 784

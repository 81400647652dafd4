from __future__ import annotations

import io
import tarfile
from pathlib import Path

from studies.builtin_files import addresses, cloze_questions, fortunes, package_descriptions

ADDRESSES = "<A><S><Number>1</Number> <Street>Main St</Street></S><S></S></A>"
ARTICLE = "Boeing wins $4bn deal\n\nThe maker said Boeing would get $4bn. Wins are rare."
ENGLISH = "Package: x\nDescription-md5: 01\nDescription-en: a tool\n long text\n\nDescription-md5: 02\nDescription-en: same\n"
FRENCH = "Description-md5: 02\nDescription-fr: same\n\nDescription-md5: 01\nDescription-fr: un outil\n"
EMPTY = "\nDescription-md5: 03\nDescription-%s: %s\n"


def test_labelled_sequences_of_a_source_archive(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "usaddress-0.5.16.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("usaddress-0.5.16/training/labeled.xml")
        member.size = len(ADDRESSES)
        tar.addfile(member, io.BytesIO(ADDRESSES.encode()))
    rows = list(addresses(tmp_path / "usaddress-0.5.16.tar.gz"))
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

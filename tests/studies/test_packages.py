from __future__ import annotations

from pathlib import Path

import pytest

from studies.packages import DebianLists, Folder, NpmArchive, Package, Sdist, converted, downloads


def test_what_lies_where() -> None:
    package = Package(module="sklearn", install="pip install scikit-learn")
    assert (package.folder() or Path()).name == "sklearn"
    assert Package(module="not_there_at_all", install="").folder() is None
    assert Package(module="sklearn", install="", needs=("torch", "not_there_at_all")).folder() is None
    assert Folder(path="/not/there", install="").folder() is None


def test_a_source_archive_is_looked_for_where_its_command_puts_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    archive = Sdist(name="some", version="1.2")
    assert archive.install == f"pip download --no-deps --no-binary some --dest '{tmp_path}/downloads' some==1.2"
    assert archive.folder() is None
    downloads().mkdir()
    (downloads() / "some-1.2.tar.gz").touch()
    assert archive.folder() == downloads() / "some-1.2.tar.gz"
    assert converted().parent == tmp_path
    packed = NpmArchive(name="@some/data", version="1.2")
    assert (
        packed.install == f"mkdir -p '{tmp_path}/downloads' && npm pack --pack-destination '{tmp_path}/downloads' @some/data@1.2"
    )
    assert packed.folder() is None
    (downloads() / "some-data-1.2.tgz").touch()
    assert packed.folder() == downloads() / "some-data-1.2.tgz"


def test_a_list_of_descriptions_is_found_by_its_language(tmp_path: Path) -> None:
    (tmp_path / "deb_main_i18n_Translation-pt%5fBR").touch()
    assert (DebianLists(language="pt_BR", lists=tmp_path).folder() or Path()).name == "deb_main_i18n_Translation-pt%5fBR"
    assert DebianLists(language="fr", lists=tmp_path).folder() is None

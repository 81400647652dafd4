from __future__ import annotations

import os

import pytest

import tuner.commands.worker
from tuner.commands.worker import set_environment


def test_libraries_are_told_before_they_are_imported_and_users_have_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "77")
    set_environment()
    assert [os.environ[name] for name in ("HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM", "GOMP_SPINCOUNT")] == ["1", "false", "77"]
    monkeypatch.delenv("GOMP_SPINCOUNT")
    set_environment()
    assert os.environ["GOMP_SPINCOUNT"] == "10000"


@pytest.mark.parametrize("keeps", [True, False])
def test_memory_is_kept_only_where_the_c_library_can(monkeypatch: pytest.MonkeyPatch, keeps: bool) -> None:
    names = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setattr(tuner.commands.worker, "_keeps_memory", lambda most: keeps)
    set_environment()
    assert [os.environ.get(name) for name in names] == (["1073741824"] * 2 if keeps else [None, None])

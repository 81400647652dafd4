from __future__ import annotations

import os

import pytest

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
    assert os.environ["MALLOC_TRIM_THRESHOLD_"] == os.environ["MALLOC_MMAP_THRESHOLD_"] == "1073741824"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.helpers import wrong_fields

PATH = "/api/v1/study-files"


def test_text_becomes_the_object_that_can_be_posted(admin: TestClient, spec: dict[str, Any]) -> None:
    text = admin.post(PATH, json={"study": spec}).json()["text"]
    study = admin.post(PATH, json={"text": text}).json()["study"]
    assert study == spec
    assert admin.post("/api/v1/studies?dry_run=true", json=study).status_code == 200


def test_a_viewer_may_convert(client_of: Callable[..., TestClient]) -> None:
    assert client_of("viewer").post(PATH, json={"text": "seed: .inf"}).json()["study"] == {"seed": "inf"}


@pytest.mark.parametrize("body", [{}, {"text": "a: 1", "study": {}}])
def test_one_form_is_given(admin: TestClient, body: dict[str, Any]) -> None:
    assert wrong_fields(admin.post(PATH, json=body)) == ["text"]


def test_a_wrong_text_names_its_line(admin: TestClient) -> None:
    assert wrong_fields(admin.post(PATH, json={"text": "a: 1\nb: ]"})) == ["line 2"]

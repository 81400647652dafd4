from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, verb, operation) for path, verbs in document["paths"].items() for verb, operation in verbs.items()]


def test_every_refusal_is_described(admin: TestClient) -> None:
    document = admin.get("/openapi.json").json()
    for path, verb, operation in operations(document):
        refusals = {int(status) for status in operation["responses"] if status >= "400"}
        assert refusals >= {400, 500, 503}, (path, verb)
        assert ("security" in operation) == (refusals >= {401, 403}), (path, verb)
        assert 404 in refusals or "{" not in path
        assert 422 in refusals or "requestBody" not in operation
        for status in refusals:
            content = operation["responses"][str(status)]["content"]
            assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        assert any(status < "400" for status in operation["responses"])


def test_every_reference_leads_somewhere(admin: TestClient) -> None:
    document = admin.get("/openapi.json").json()

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for inner in node.values() for found in references(inner)]
        return [found for inner in node for found in references(inner)] if isinstance(node, list) else []

    names = {reference.removeprefix("#/components/schemas/") for reference in references(document)}
    assert names <= set(document["components"]["schemas"])
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_bodies_and_ways_to_sign_in_are_described(admin: TestClient) -> None:
    document = admin.get("/openapi.json").json()
    body = document["paths"]["/api/v1/studies"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"task", "model", "data", "parameters"} <= set(body["properties"])
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    upload = document["paths"]["/api/v1/leases/{lease_id}/artifacts/{name}"]["put"]["requestBody"]
    assert "application/octet-stream" in upload["content"]


def test_the_description_is_the_same_the_second_time(admin: TestClient) -> None:
    assert admin.get("/openapi.json").content == admin.get("/openapi.json").content

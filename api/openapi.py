"""The description of the API, made complete: every refusal that a route can answer with stands beside its success."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from api.schemas import Problem

_REFERENCE = "#/components/schemas/{model}"


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI object of `app`; made once."""
    if app.openapi_schema is None:
        schema = app.openapi()
        schemas = schema["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template=_REFERENCE)
        schemas |= problem.pop("$defs") | {"Problem": problem}
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        for path, operations in schema["paths"].items():
            for verb, operation in operations.items():
                _add_refusals(path, verb, operation)
        if base_path := app.state.settings.base_path:
            schema["servers"] = [{"url": base_path}]
        app.openapi_schema = schema
    return app.openapi_schema


def _add_refusals(path: str, verb: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    for status in _refusals(path, verb, operation):
        answers[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/problem+json": {"schema": {"$ref": _REFERENCE.format(model="Problem")}}},
        }


def _refusals(path: str, verb: str, operation: dict[str, Any]) -> list[int]:
    statuses = [400, 500, 503]
    if "security" in operation:
        statuses += [401, 403]
    if path == "/login":
        statuses += [401, 429]
    if "{" in path or path.endswith("/leases"):  # a lease is asked for by a worker that has to be known
        statuses += [404]
    if "parameters" in operation or "requestBody" in operation:
        statuses += [422]
    if verb != "get":
        statuses += [413, 415]
    if verb != "get" or "{lease_id}" in path:
        statuses += [409]
    if any(parameter["name"].lower() == "if-match" for parameter in operation.get("parameters", ())):
        statuses += [412]
    return sorted(statuses)

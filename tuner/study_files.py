"""Study files as text: YAML in, an object out, and back. What the object means is `tuner/spec.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from studies.errors import InvalidInput

_MOST_NESTED = 20
_TIMES = "tag:yaml.org,2002:timestamp"


class _Loader(yaml.SafeLoader):
    """Plain values only: dates stay text, and aliases are refused, because ten lines of them can stand for gigabytes."""

    yaml_implicit_resolvers = {
        start: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMES]
        for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise self._refusal("aliases (*name) are not offered; write the value out")
        self.depth += 1
        if self.depth > _MOST_NESTED:
            raise self._refusal(f"nested more than {_MOST_NESTED} deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def _refusal(self, problem: str) -> yaml.MarkedYAMLError:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def read(text: str) -> dict[str, Any]:
    """The object in a study file. Raises InvalidInput, whose field is the line where reading ended."""
    try:
        raw = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader that refuses more
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}" if mark is not None else "text"
        raise InvalidInput.at(where, f"is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInput.at("text", f"is not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise InvalidInput.at("text", "must hold an object with the keys task, model, data and parameters")
    study: dict[str, Any] = _with_text_keys(raw)
    return study


def write(study: Mapping[str, Any]) -> str:
    """A study file, keys in the order given."""
    return yaml.dump(dict(study), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value

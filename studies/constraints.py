"""Constraints over parameters: `batch_size * (1 + blocks - frozen_layers) <= 300`.

Comparisons of arithmetic, read by an own walk over Python's syntax tree: what is not in a short list of node types is
refused, and nothing is ever evaluated by Python itself.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from studies.definition import ParamValue
from studies.errors import FieldError, InvalidInput, known
from studies.space import Choice, Fixed, Parameter, Space

MOST_CONSTRAINTS = 50
MOST_CHARACTERS = 500
MOST_NODES = 150

_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_GRAMMAR = (
    "write comparisons (< <= > >= == !=) of numbers, parameters and `blocks` with + - * / // % and parentheses; "
    "for `and`, write two constraints"
)


@dataclass(frozen=True)
class Constraint:
    """One comparison that every configuration must fulfil."""

    text: str
    names: frozenset[str]  # the parameters it is about
    blocks: int | None  # of the model, what the name `blocks` stands for

    def holds(self, params: Mapping[str, ParamValue]) -> bool:
        """Whether `params` fulfil it. One about a parameter that the configuration does not have says nothing of it."""
        if not self.names <= params.keys():
            return True
        try:
            return _compare(_tree(self.text), dict(params) | {"blocks": self.blocks})
        except (ZeroDivisionError, OverflowError, TypeError):
            return False


def all_hold(constraints: Sequence[Constraint], params: Mapping[str, ParamValue]) -> bool:
    return all(constraint.holds(params) for constraint in constraints)


def parse_constraints(texts: Sequence[str], space: Space, *, blocks: int | None) -> list[Constraint]:
    """Read the `constraints` of a study file. Raises InvalidInput naming every wrong one."""
    if len(texts) > MOST_CONSTRAINTS:
        raise InvalidInput.at("constraints", f"has {len(texts)} entries; at most {MOST_CONSTRAINTS} are read")
    found, errors = [], []
    for index, text in enumerate(texts):
        try:
            found.append(Constraint(text, _names(text, space, blocks), blocks))
        except ValueError as error:
            errors.append(FieldError(f"constraints[{index}]", str(error)))
    if errors:
        raise InvalidInput(errors)
    return found


def _names(text: str, space: Space, blocks: int | None) -> frozenset[str]:
    """The parameters that a well-formed constraint is about. Raises ValueError saying what is wrong."""
    tree = _tree(text)
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    unknown = sorted(names - space.keys() - {"blocks"})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no parameter of this study; {known([*space, 'blocks'])}")
    if "blocks" in names and "blocks" not in space and blocks is None:
        raise ValueError("the number of `blocks` of this model is not known; write a number")
    if not names & space.keys():
        raise ValueError("names no parameter of this study, so it says nothing about any trial")
    for name in sorted(names & space.keys()):
        if not _numeric(space[name]) and _in_arithmetic(tree, name):
            raise ValueError(f"{name} is not always a number; it can only be compared with == or !=")
    return frozenset(names & space.keys())


@lru_cache(maxsize=1024)  # asked of every configuration that is drawn
def _tree(text: str) -> ast.Compare:
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"has {len(text)} characters; at most {MOST_CHARACTERS} are read")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} can't be read; {_GRAMMAR}") from None
    if not isinstance(tree, ast.Compare):
        raise ValueError(f"{text!r} is no comparison; {_GRAMMAR}")
    if len(nodes) > MOST_NODES:
        raise ValueError(f"{text[:40]!r}… is too long; at most {MOST_NODES} names, numbers and operators are read")
    for node in nodes:
        if not _allowed(node):
            raise ValueError(f"{ast.unparse(node) if isinstance(node, ast.expr) else text!r} is not understood; {_GRAMMAR}")
    return tree


def _allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float | str)
    if isinstance(node, ast.Compare):
        return all(type(op) in _COMPARISONS for op in node.ops)
    if isinstance(node, ast.BinOp):
        return type(node.op) in _ARITHMETIC
    if isinstance(node, ast.UnaryOp):
        return type(node.op) in _SIGNS
    return isinstance(node, ast.Name | ast.Load) or type(node) in (*_ARITHMETIC, *_SIGNS, *_COMPARISONS)


def _compare(tree: ast.Compare, values: Mapping[str, Any]) -> bool:
    left = _value(tree.left, values)
    for op, node in zip(tree.ops, tree.comparators, strict=True):
        right = _value(node, values)
        if not _COMPARISONS[type(op)](left, right):
            return False
        left = right
    return True


def _value(node: ast.expr, values: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp):
        return _SIGNS[type(node.op)](_value(node.operand, values))
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_number(_value(node.left, values)), _number(_value(node.right, values)))
    assert isinstance(node, ast.Compare)
    return _compare(node, values)


def _number(value: Any) -> int | float:
    """Text times a number would be text: only numbers are reckoned with."""
    if not isinstance(value, int | float):
        raise TypeError(value)
    return value


def _numeric(parameter: Parameter) -> bool:
    if not isinstance(parameter, Choice | Fixed):
        return True
    values = parameter.values if isinstance(parameter, Choice) else (parameter.value,)
    return all(isinstance(value, int | float) for value in values)


def _in_arithmetic(tree: ast.Compare, name: str) -> bool:
    for node in ast.walk(tree):
        ordered = isinstance(node, ast.Compare) and not all(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
        if (ordered or isinstance(node, ast.BinOp | ast.UnaryOp)) and any(
            isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node)
        ):
            return True
    return False

"""Numbers and texts as they travel: JSON has no NaN and no infinities, and not every text can be stored."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from tuner.sections import Text

_BY_NAME = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_MOST_NESTED = 20
_BIGGEST = 2**53  # the largest whole number that every JSON reader keeps exact


def _read(raw: object) -> object:
    if isinstance(raw, bool) or (isinstance(raw, str) and raw not in _BY_NAME):
        raise ValueError('must be a number, "nan", "inf" or "-inf"')
    return _BY_NAME[raw] if isinstance(raw, str) else raw


def written(value: float) -> float | str:
    """As JSON carries it."""
    return value if math.isfinite(value) else repr(value)


# A number that may be NaN or infinite: those travel as the strings "nan", "inf" and "-inf".
Number = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(_read),
    PlainSerializer(written, return_type=float | Literal["nan", "inf", "-inf"]),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "enum": list(_BY_NAME)}]}),
]

Count = Annotated[int, Field(ge=0, le=_BIGGEST)]
LongText = Annotated[Text, Field(max_length=100_000)]


def _storable(value: Any, depth: int = 0) -> Any:
    """Free JSON that every database keeps and gives back."""
    if depth > _MOST_NESTED:
        raise ValueError(f"is nested more than {_MOST_NESTED} deep")
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _BIGGEST:
        raise ValueError(f"whole numbers may be at most {_BIGGEST}")
    if isinstance(value, str) and ("\0" in value or any("\ud800" <= char <= "\udfff" for char in value)):
        raise ValueError("must not contain U+0000 or lone surrogates")
    if isinstance(value, dict):
        return {_storable(key, depth + 1): _storable(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner, depth + 1) for inner in value]
    return value


FreeJson = Annotated[dict[str, Any], AfterValidator(_storable)]

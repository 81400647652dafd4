"""What every section of a study file is made of: numbers that YAML may read as text, plain text, and no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from studies.space import number


def _plain_text(text: str) -> str:
    # PostgreSQL cannot store U+0000 and UTF-8 cannot carry lone surrogates; refuse both for both databases.
    if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must not contain U+0000 or lone surrogates")
    return text


def _numeric(raw: object) -> object:
    # `parallelism: yes` must not become 1; YAML reads `1e2` as text.
    if isinstance(raw, bool):
        raise ValueError("must be a number, not true or false")
    as_number = number(raw)
    return raw if as_number is None else as_number


Whole = Annotated[int, BeforeValidator(_numeric)]
Real = Annotated[float, BeforeValidator(_numeric)]
Text = Annotated[str, AfterValidator(_plain_text)]
Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain_text)]


class Section(BaseModel):
    """An object of a study file. Unknown keys are refused; what was read never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

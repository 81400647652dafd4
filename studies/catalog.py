"""Every task that can be searched, by name."""

from __future__ import annotations

from collections.abc import Mapping

from studies import (
    image_classification,
    question_answering,
    sequence_to_sequence,
    text_classification,
    text_generation,
    token_classification,
    word_vector_mlp,
    word_vector_rnn,
)
from studies.definition import Definition
from studies.errors import InvalidInput, known

DEFINITIONS: Mapping[str, Definition] = {
    entry.task: entry
    for entry in (
        text_classification.DEFINITION,
        token_classification.DEFINITION,
        question_answering.DEFINITION,
        sequence_to_sequence.DEFINITION,
        text_generation.DEFINITION,
        word_vector_mlp.DEFINITION,
        word_vector_rnn.DEFINITION,
        image_classification.DEFINITION,
    )
}


def definition(task: str) -> Definition:
    """The entry of `task`. Raises InvalidInput at `task` with the known ones."""
    if task not in DEFINITIONS:
        raise InvalidInput.at("task", f"unknown task {task!r}; {known(list(DEFINITIONS))}")
    return DEFINITIONS[task]

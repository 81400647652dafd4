"""The task `question-answering`: a question and a text in, the words of the text that answer it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studies.definition import DataFacts, DataSpec, Definition, Job, Keep, Outcome, Report
from studies.dividing import divide, refuse, texts
from studies.hyperparameters import ENCODER_SPACE, MAX_LENGTH, TRANSFORMER, encoder_recipes, with_defaults
from studies.sources import read_rows
from studies.splits import Splits

COLUMNS: Mapping[str, str] = {"question": "question", "context": "context", "answer": "answer"}


class Question(NamedTuple):
    """A question, the text that holds its answer, the answer, and where in the text it begins (in characters)."""

    question: str
    context: str
    answer: str
    start: int


def read(data: DataSpec, seed: int) -> Splits[Question]:
    """The splits; questions on one text are never in two of them. Raises InvalidInput.

    An answer is a text, or SQuAD's `{"text": [...], "answer_start": [...]}`, whose first one counts.
    """
    columns = dict(COLUMNS) | dict(data.columns)
    return divide(data, seed, lambda name, where: _questions(name, columns, where), group=lambda row: row.context)


def inspect(data: DataSpec, seed: int) -> DataFacts:
    """What the data holds; there is no answer that needs no look at the question, so no baseline."""
    splits = read(data, seed)
    return DataFacts(
        train_rows=len(splits.train),
        validation_rows=len(splits.validation),
        test_rows=len(splits.test),
        fingerprint=splits.fingerprint(),
    )


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    from studies.training import loop
    from studies.training.question_answering import prepare

    return loop.train(prepare, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The answer to each input: a JSON object with `question` and `context`."""
    from studies.training.question_answering import predict as run

    return run(folder, inputs)


def _questions(source: str, columns: Mapping[str, str], where: str) -> list[Question]:
    rows = read_rows(source, columns, where=where)
    questions, contexts = texts(rows, "question"), texts(rows, "context")
    answers = [_answer(row.values["answer"], row.values["context"]) for row in rows]
    missing = [row for row, (_, start) in zip(rows, answers, strict=True) if start < 0]
    refuse("data.columns.answer", "an answer that does not stand in its context", missing)
    return [
        Question(question, context, answer, start)
        for question, context, (answer, start) in zip(questions, contexts, answers, strict=True)
    ]


def _answer(raw: Any, context: str) -> tuple[str, int]:
    """The answer and where it begins; -1 where it is none."""
    given = -1
    if isinstance(raw, Mapping):
        listed, starts = raw.get("text") or [None], raw.get("answer_start") or [-1]
        raw, given = listed[0], int(starts[0])
    if not isinstance(raw, str) or not raw.strip():
        return "", -1
    return raw, given if context[given : given + len(raw)] == raw and given >= 0 else context.find(raw)


DEFINITION = Definition(
    task="question-answering",
    title="Extractive question answering: the words of a text that answer a question",
    metrics={"f1": "maximize", "exact_match": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(*TRANSFORMER, *with_defaults((MAX_LENGTH,), max_length=256)),
    default_space=ENCODER_SPACE,
    recipes=encoder_recipes,
    inspect=inspect,
    train=train,
    predict=predict,
)

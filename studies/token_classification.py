"""The task `token-classification`: words in, a tag for each out. Information extraction: tags of words in a row make a span."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from studies.definition import DataFacts, DataSpec, Definition, Job, Keep, Outcome, Report
from studies.dividing import divide, refuse
from studies.errors import InvalidInput
from studies.hyperparameters import CLASS_WEIGHTS, ENCODER_SPACE, MAX_LENGTH, TRANSFORMER, encoder_recipes
from studies.sources import Row, read_rows
from studies.splits import Splits

COLUMNS: Mapping[str, str] = {"tokens": "tokens", "tags": "tags"}


class Sentence(NamedTuple):
    """Words and the tag of each."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def read(data: DataSpec, seed: int) -> tuple[Splits[Sentence], tuple[str, ...]]:
    """The splits, and the tags (sorted) of the whole training source. Raises InvalidInput.

    Tokens and tags are lists of one length, or texts that are split at white space.
    """
    columns = dict(COLUMNS) | dict(data.columns)
    source = _sentences(data.train, columns, "data.train")
    tags = tuple(sorted({tag for sentence in source for tag in sentence.tags}))
    if len(tags) < 2:
        raise InvalidInput.at("data.columns.tags", f"every word of {data.train} has the tag {tags[0]!r}; two are needed")

    def rows(name: str, where: str) -> Sequence[Sentence]:
        if where == "data.train":
            return source
        other = _sentences(name, columns, where)
        if unseen := sorted({tag for sentence in other for tag in sentence.tags} - set(tags)):
            raise InvalidInput.at(where, f"has tags that the training data never shows: {', '.join(map(repr, unseen[:5]))}")
        return other

    return divide(data, seed, rows), tags


def inspect(data: DataSpec, seed: int) -> DataFacts:
    """What the data holds. The baseline gives every word the commonest tag."""
    splits, tags = read(data, seed)
    counts = Counter(tag for sentence in splits.validation for tag in sentence.tags)
    return DataFacts(
        train_rows=len(splits.train),
        validation_rows=len(splits.validation),
        test_rows=len(splits.test),
        fingerprint=splits.fingerprint(),
        classes=tags,
        baseline={"accuracy": max(counts.values()) / counts.total()},
    )


def train(job: Job, report: Report, keep: Keep) -> Outcome:
    """Fine-tune as `job` says. Raises TrialFailure."""
    from studies.training import loop
    from studies.training.token_classification import prepare

    return loop.train(prepare, DEFINITION.complete(job), report, keep)


def predict(folder: Path, inputs: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    """The spans of each text."""
    from studies.training.token_classification import predict as run

    return run(folder, inputs)


def _sentences(source: str, columns: Mapping[str, str], where: str) -> list[Sentence]:
    rows = read_rows(source, columns, where=where)
    for role in COLUMNS:
        refuse(f"data.columns.{role}", f"no {role}", [row for row in rows if not _words(row.values[role])])
    refuse("data.columns.tags", "not one tag for each token", [row for row in rows if not _fit(row)])
    return [Sentence(_words(row.values["tokens"]), _words(row.values["tags"])) for row in rows]


def _words(raw: Any) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(raw.split())
    return tuple(str(word) for word in raw) if isinstance(raw, list | tuple) else ()


def _fit(row: Row) -> bool:
    return len(_words(row.values["tokens"])) == len(_words(row.values["tags"]))


DEFINITION = Definition(
    task="token-classification",
    title="Information extraction: a tag for each word of a text; words with one tag make a span",
    metrics={"f1": "maximize", "precision": "maximize", "recall": "maximize", "accuracy": "maximize", "loss": "minimize"},
    columns=COLUMNS,
    hyperparameters=(*TRANSFORMER, MAX_LENGTH, CLASS_WEIGHTS),
    default_space=ENCODER_SPACE,
    recipes=encoder_recipes,
    inspect=inspect,
    train=train,
    predict=predict,
)

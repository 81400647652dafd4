"""The model card: what a fine-tuned model is, how it came about and how well it does, for whoever finds its folder.

Its head is what the Hugging Face hub reads (huggingface.co/docs/hub/model-cards).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def card(
    record: Mapping[str, Any], scores: Mapping[str, float], classes: Mapping[str, Mapping[str, float]], *, plain: bool
) -> str:
    """README.md of a model folder, from what tuner.json holds and the evaluation of the best epoch.

    `plain` says whether transformers alone can load the model.
    """
    details = record["details"]
    parts = [
        _head(record),
        f"# {record['task']}: {record['model']}",
        f"`{record['model']}` (revision `{details['model']['revision']}`), fine-tuned by Tuner for the task `{record['task']}`. "
        f"Scores are of epoch {record['epoch']:g}, the best one by `{record['metric']}`, on the validation rows: "
        "they chose it, so they flatter it.",
        _table("Scores", ("metric", "value"), [(name, f"{value:.5g}") for name, value in scores.items()]),
    ]
    if classes:
        columns = list(next(iter(classes.values())))
        rows = [(name, *(f"{row[column]:.4g}" for column in columns)) for name, row in classes.items()]
        parts.append(_table("Results of each class", ("class", *columns), rows))
    parts += [
        _use(record, plain),
        _table("Parameters", ("name", "value"), [(name, json.dumps(value)) for name, value in record["params"].items()]),
        _table(
            "Data",
            ("split", "rows", "sha256"),
            [(name, str(split["rows"]), f"`{split['fingerprint']}`") for name, split in details["data"].items()],
        ),
        f"Source: {_code(json.dumps(record['data'], ensure_ascii=False))}, divided by seed {record['data_seed']}; "
        f"trained with seed {record['seed']}.",
        _table("Made with", ("package", "version"), list(details["versions"].items())),
        f"On {_code(json.dumps(details['hardware']))}. `tuner train FOLDER/tuner.json` trains it again.",
    ]
    return "\n\n".join(parts) + "\n"


# What loads a model, beside its folder.
_HEADS = {
    "text-classification": "SequenceClassification",
    "token-classification": "TokenClassification",
    "question-answering": "QuestionAnswering",
    "sequence-to-sequence": "Seq2SeqLM",
    "text-generation": "CausalLM",
    "image-classification": "ImageClassification",
}


def _use(record: Mapping[str, Any], plain: bool) -> str:
    """How to load it."""
    head = _HEADS.get(record["task"])
    if head is None or not plain:
        return "## Use\n\n`tuner predict` loads it."
    if not record["adapter"]:
        return f"## Use\n\n`transformers.AutoModelFor{head}.from_pretrained(FOLDER)`, or `tuner predict`."
    base = f"transformers.AutoModelFor{head}.from_pretrained(BASE, config=transformers.AutoConfig.from_pretrained(FOLDER))"
    return (
        f"## Use\n\nA LoRA adapter: `model = peft.PeftModel.from_pretrained({base}, FOLDER)`, where BASE is the folder or id of "
        f"`{record['model']}`; or `tuner predict`."
    )


def _head(record: Mapping[str, Any]) -> str:
    base = [] if record["model"].startswith(("builtin:", "/", ".", "~")) else [f"base_model: {json.dumps(record['model'])}"]
    return "\n".join(["---", *base, "tags:", "- tuner", f"- {record['task']}", "---"])


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"## {title}", "", _row(columns), _row(("---",) * len(columns)), *map(_row, rows)]
    return "\n".join(lines)


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _code(text: str) -> str:
    return f"`{text.replace('`', chr(39))}`"

"""Classifiers on word vectors for the training loop: a perceptron on their mean, and a recurrent network.

Their layers are blocks like those of an encoder, the word vectors being the first: `frozen_layers: 1` keeps these as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pyarrow import parquet
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.modeling_outputs import SequenceClassifierOutput

from studies.builtin import model_folder
from studies.definition import Job
from studies.errors import InvalidInput, TrialFailure
from studies.labelled_texts import read
from studies.training.convert import folder_of
from studies.training.data import encode
from studies.training.predict import BATCH_SIZE, compute_logits, quietly
from studies.training.settings import Settings
from studies.training.task import Task
from studies.training.text_changes import text_changes
from studies.training.text_classification import classifier_task, labelled
from studies.word_vectors import GLOVE, MODEL_TYPE

Kind = Literal["mlp", "rnn"]
# The most common words are known besides those of the training texts.
_COMMON_WORDS = 20_000


class WordVectorConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of a classifier on word vectors."""

    model_type = MODEL_TYPE

    def __init__(
        self,
        kind: Kind = "mlp",
        vocab_size: int = 2,
        width: int = 50,
        hidden_size: int = 128,
        dropout: float = 0.1,
        **others: Any,
    ) -> None:
        self.kind = kind
        self.vocab_size = vocab_size
        self.width = width  # of a word vector
        self.hidden_size = hidden_size
        self.dropout = dropout
        super().__init__(**others)


class Layer(nn.Module):
    """One layer, whatever it does: layers of one class in a list are what freezing looks for."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *inputs: Any) -> Any:
        return self.inner(*inputs)


class WordVectorClassifier(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Tokens [texts, words] → logits [texts, classes]."""

    config_class = WordVectorConfig

    def __init__(self, config: WordVectorConfig) -> None:
        super().__init__(config)
        words = nn.Embedding(config.vocab_size, config.width, padding_idx=0)
        above: list[nn.Module]
        if config.kind == "mlp":
            above = [nn.Linear(config.width, config.hidden_size), nn.Linear(config.hidden_size, config.hidden_size)]
        else:
            above = [nn.GRU(config.width, config.hidden_size, batch_first=True, bidirectional=True)]
        self.layers = nn.ModuleList(Layer(inner) for inner in [words, *above])
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.hidden_size * (1 if config.kind == "mlp" else 2), int(config.num_labels or 2))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """As PyTorch has drawn them."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SequenceClassifierOutput:
        vectors = self.layers[0](input_ids)
        read = self._mean if self.config.kind == "mlp" else self._read_both_ways
        return SequenceClassifierOutput(logits=self.head(self.dropout(read(vectors, attention_mask))))

    def _mean(self, vectors: Tensor, mask: Tensor) -> Tensor:
        weights = mask.unsqueeze(-1).to(vectors.dtype)
        hidden = (vectors * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        hidden = self.dropout(self.layers[1](hidden).relu())
        return self.layers[2](hidden).relu()  # type: ignore[no-any-return]

    def _read_both_ways(self, vectors: Tensor, mask: Tensor) -> Tensor:
        """The last state of each direction; padding is not read."""
        lengths = mask.sum(dim=1).clamp(min=1).cpu()
        packed = pack_padded_sequence(self.dropout(vectors), lengths, batch_first=True, enforce_sorted=False)
        _, last = self.layers[1](packed)
        return torch.cat([last[0], last[1]], dim=-1)


def prepare_mlp(job: Job, settings: Settings) -> Task:
    """Data, perceptron and both splits. Raises InvalidInput and TrialFailure."""
    return _prepare("mlp", job, settings)


def prepare_rnn(job: Job, settings: Settings) -> Task:
    """Data, recurrent network and both splits. Raises InvalidInput and TrialFailure."""
    return _prepare("rnn", job, settings)


def predict(folder: Path, texts: Sequence[str]) -> list[dict[str, Any]]:
    """The most probable label of each text, and its probability (0 … 1), by the model that a trial left in `folder`."""
    if not texts:
        return []
    quietly()
    model = WordVectorClassifier.from_pretrained(folder, use_safetensors=True)
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder)
    return labelled(model, compute_logits(model, encode(tokenizer, texts), BATCH_SIZE, "cpu"))


def word_tokenizer(words: Sequence[str], max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer of small-letter words and punctuation marks; what it does not know is `[UNK]`."""
    vocabulary = {word: index for index, word in enumerate(["[PAD]", "[UNK]", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner,
        pad_token="[PAD]",
        unk_token="[UNK]",
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


def _prepare(kind: Kind, job: Job, settings: Settings) -> Task:
    quietly()
    splits, classes = read(job.data, job.data_seed)
    try:
        if job.model == GLOVE:
            model, tokenizer = _on_glove(kind, [row.text for row in splits.train], classes, settings)
        else:
            model, tokenizer = _trained_before(kind, job.model, classes, settings)
    except (InvalidInput, OSError, ValueError) as error:
        raise TrialFailure("data", f"model {job.model!r} can't be loaded: {error}") from error
    change = text_changes(tokenizer, settings)
    return classifier_task(model, tokenizer, splits, classes, settings, partial(encode, tokenizer), augment=change)


def _on_glove(
    kind: Kind, texts: Iterable[str], classes: Sequence[str], settings: Settings
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = model_folder(GLOVE.removeprefix("builtin:"))
    known: list[str] = parquet.read_table(next(folder.glob("*.parquet"))).column(0).to_pylist()
    table = np.load(next(folder.glob("*.npy")), mmap_mode="r")
    rows = _wanted(known, texts)
    tokenizer = word_tokenizer([known[row] for row in rows], settings.max_length)
    config = WordVectorConfig(
        kind=kind,
        vocab_size=len(rows) + 2,
        width=table.shape[1],
        hidden_size=settings.own["hidden_size"],
        id2label=dict(enumerate(classes)),
        label2id={name: index for index, name in enumerate(classes)},
        **({} if settings.dropout is None else {"dropout": settings.dropout}),
    )
    model = WordVectorClassifier(config)
    vectors = torch.from_numpy(np.ascontiguousarray(table[rows]).astype(np.float32))
    with torch.no_grad():
        weight = model.get_parameter("layers.0.inner.weight")
        weight.zero_()
        weight[2:] = vectors
    return model, tokenizer


def _wanted(known: Sequence[str], texts: Iterable[str]) -> list[int]:
    """Rows of the table: the commonest words, which stand first, and those of the training texts."""
    splitter, index = word_tokenizer([], 2), {word: row for row, word in enumerate(known)}
    inner = splitter.backend_tokenizer
    used = Counter(
        word for text in texts for word, _ in inner.pre_tokenizer.pre_tokenize_str(inner.normalizer.normalize_str(text))
    )
    return sorted({index[word] for word in used if word in index} | set(range(min(_COMMON_WORDS, len(known)))))


def _trained_before(
    kind: Kind, reference: str, classes: Sequence[str], settings: Settings
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = folder_of(reference)
    config = WordVectorConfig.from_pretrained(folder)
    if config.kind != kind:
        raise ValueError(f"it is a {config.kind}, not a {kind}")
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: index for index, name in enumerate(classes)}
    if settings.dropout is not None:
        config.dropout = settings.dropout
    tokenizer: PreTrainedTokenizerBase = PreTrainedTokenizerFast.from_pretrained(folder, model_max_length=settings.max_length)
    model = WordVectorClassifier.from_pretrained(folder, config=config, use_safetensors=True, ignore_mismatched_sizes=True)
    return model, tokenizer

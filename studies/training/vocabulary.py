"""A model's table of words, cut to the rows that a trial reads.

A row that no example reads gets no gradient, but training carries it all the same: its zero gradient is written, clipped and
stepped over, and the optimiser holds two numbers for each of its own. Of the 30,522 rows of BERT's table 2,000 questions read
4,860, and the table is half of MiniLM.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from studies.training.data import Encoded

_LOOKED_UP = {"input_ids", "token_type_ids"}  # in GPT-2's table both are looked up


class ReadRows(nn.Embedding):
    """Those rows of a table that are `read` (their indices, [rows]); takes the ids that the table takes.

    Raises IndexError for an id of another row (on a GPU: a failed assertion there).
    """

    places: Tensor

    def __init__(self, table: nn.Embedding, read: Tensor) -> None:
        places = torch.full((table.num_embeddings,), -1)
        places[read] = torch.arange(len(read))
        padding = None if table.padding_idx is None else int(places[table.padding_idx])
        # Given its weights it draws none, which would change all that is drawn later.
        super().__init__(len(read), table.embedding_dim, padding, _weight=table.weight.detach()[read])
        self.register_buffer("places", places, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(self.places[ids])


def train_read_rows(model: PreTrainedModel, *read_by: Encoded) -> Callable[[], None]:
    """Cut the table of words that `model` trains to the rows that any of `read_by` reads; what is returned puts all rows back.

    The model puts out the same for these examples, and trained rows become the same but for rounding in the norm that gradients
    are clipped by. The others stay as they were: what weight decay would have taken off them is not. Nothing is done where the
    table is frozen, is none of words, or has another use, such as to score every word that could come next.
    """
    table = _table_of(model)
    if table is None or not all("input_ids" in examples.inputs for examples in read_by):
        return lambda: None
    seen = torch.zeros(table.num_embeddings, dtype=torch.bool)
    for examples in read_by:
        for name in _LOOKED_UP & set(examples.inputs):
            seen[torch.cat(list(examples.inputs[name]))] = True
            padding = examples.padding.get(name, 0)
            seen[padding : padding + 1] = True  # some have none in the table, and need none
    if table.padding_idx is not None:
        seen[table.padding_idx] = True
    cut = ReadRows(table, seen.nonzero().squeeze(1))
    model.set_input_embeddings(cut)

    def put_back() -> None:
        with torch.no_grad():
            # By its own places: those of a checkpoint, if it was taken up from one.
            table.weight[(cut.places >= 0).cpu()] = cut.weight.to(table.weight.device)
        model.set_input_embeddings(table.to(cut.weight.device))

    return put_back


def _table_of(model: PreTrainedModel) -> nn.Embedding | None:
    """The trained table that turns ids of words into states and does nothing else; None if there is none."""
    try:
        table = model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        return None  # a model of pictures, say
    # A class made from Embedding may do more than look up.
    if type(table) is not nn.Embedding or not table.weight.requires_grad or table.max_norm is not None:
        return None
    uses = sum(parameter is table.weight for _, parameter in model.named_parameters(remove_duplicate=False))
    scores = model.get_output_embeddings()  # type: ignore[no-untyped-call]  # transformers annotates only most of it
    return table if uses == 1 and scores is None else None

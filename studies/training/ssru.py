"""The small translators of the Bergamot project: a transformer that reads, a simpler simple recurrent unit that writes.

Kim et al. 2019, "From Research to Production and Back: Ludicrously Fast Neural Machine Translation" (WNGT), section 3: in
the decoder a recurrent unit without matrix products between steps stands where other decoders look at what they wrote.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForSeq2SeqLM, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import Seq2SeqLMOutput

MODEL_TYPE = "tuner-ssru"


class SsruConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    """Sizes of such a translator."""

    model_type = MODEL_TYPE

    def __init__(
        self,
        vocab_size: int = 32_000,
        hidden_size: int = 256,
        inner_size: int = 1536,
        heads: int = 8,
        encoder_layers: int = 6,
        decoder_layers: int = 2,
        dropout: float = 0.0,  # these students learned without any: a tenth makes one lose more than a study's data can give
        decoder_start_token_id: int = 0,
        **others: Any,
    ) -> None:
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.inner_size = inner_size
        self.heads = heads
        self.encoder_layers = encoder_layers
        self.decoder_layers = decoder_layers
        self.dropout = dropout
        self.decoder_start_token_id = decoder_start_token_id
        super().__init__(**others)


class Attention(nn.Module):
    """What each position sees of `states`, added to it and normalised."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.heads
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.query(hidden), self.key(states), self.value(states))
        )
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.norm(hidden + self.dropout(self.out(seen.transpose(1, 2).flatten(2))))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """Two linear maps at each position, added to it and normalised."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.wide, self.narrow = (
            nn.Linear(config.hidden_size, config.inner_size),
            nn.Linear(config.inner_size, config.hidden_size),
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.norm(hidden + self.dropout(self.narrow(self.wide(hidden).relu())))  # type: ignore[no-any-return]


class Recurrence(nn.Module):
    """The recurrent unit: c[t] = f[t] · c[t-1] + (1 - f[t]) · W x[t] with f[t] = σ(V x[t] + b).

    relu(c) is added to its input and normalised.
    """

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.candidate = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.forget = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=1e-6)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, hidden: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor]:
        """`hidden` [texts, steps, width] and the cell before its first step → states, and the cell after its last."""
        share = self.forget(hidden).sigmoid()
        fresh = (1 - share) * self.candidate(hidden)
        cells = []
        now = torch.zeros_like(hidden[:, 0]) if cell is None else cell
        for step in range(hidden.shape[1]):
            now = share[:, step] * now + fresh[:, step]
            cells.append(now)
        return self.norm(hidden + self.dropout(torch.stack(cells, dim=1).relu())), now


class EncoderBlock(nn.Module):
    """Self-attention and a feed-forward part."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(config), FeedForward(config)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.feed_forward(self.attention(hidden, hidden, mask))  # type: ignore[no-any-return]


class DecoderBlock(nn.Module):
    """The recurrent unit, attention to what was read, and a feed-forward part."""

    def __init__(self, config: SsruConfig) -> None:
        super().__init__()
        self.recurrence, self.attention, self.feed_forward = Recurrence(config), Attention(config), FeedForward(config)

    def forward(self, hidden: Tensor, states: Tensor, mask: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor]:
        hidden, cell = self.recurrence(hidden, cell)
        return self.feed_forward(self.attention(hidden, states, mask)), cell


class SsruTranslator(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Source tokens and the target's tokens so far → logits of the next. One table of embeddings serves all three ends."""

    config_class = SsruConfig

    def __init__(self, config: SsruConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_layers))
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """As PyTorch has drawn them."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor, **_: Any) -> Seq2SeqLMOutput:
        states, mask = self._read(input_ids, attention_mask)
        logits, _cells = self._write(decoder_input_ids, states, mask, [None] * len(self.decoder), first=0)
        return Seq2SeqLMOutput(logits=logits)

    def generate(self, input_ids: Tensor, attention_mask: Tensor, max_new_tokens: int, **_: Any) -> Tensor:
        """The most probable token, one after the other, until every text has ended; [texts, tokens]."""
        states, mask = self._read(input_ids, attention_mask)
        cells: list[Tensor | None] = [None] * len(self.decoder)
        token = torch.full_like(input_ids[:, :1], self.config.decoder_start_token_id)
        ended = torch.zeros_like(token, dtype=torch.bool)
        written = []
        for step in range(max_new_tokens):
            logits, cells = self._write(token, states, mask, cells, first=step)
            token = logits[:, -1:].argmax(dim=-1).masked_fill(ended, self.config.eos_token_id)
            written.append(token)
            ended = ended | (token == self.config.eos_token_id)
            if ended.all():
                break
        return torch.cat(written, dim=1)

    def _read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        seen = mask[:, None, None].bool()
        hidden = self._embedded(self.embeddings(ids), 0)
        for block in self.encoder:
            hidden = block(hidden, seen)
        return hidden, seen

    def _write(
        self, ids: Tensor, states: Tensor, mask: Tensor, cells: list[Tensor | None], first: int
    ) -> tuple[Tensor, list[Tensor | None]]:
        vectors = self.embeddings(ids)
        if first == 0:
            # Nothing was written before the first token: its vector is 0, whatever token stands there.
            vectors = torch.cat([torch.zeros_like(vectors[:, :1]), vectors[:, 1:]], dim=1)
        hidden = self._embedded(vectors, first)
        after: list[Tensor | None] = []
        for block, cell in zip(self.decoder, cells, strict=True):
            hidden, cell = block(hidden, states, mask, cell)
            after.append(cell)
        return functional.linear(hidden, self.embeddings.weight, self.bias), after

    def _embedded(self, vectors: Tensor, first: int) -> Tensor:
        """Scaled, with waves that tell the position: all sines, then all cosines."""
        half = vectors.shape[-1] // 2
        rates = torch.exp(torch.arange(half, device=vectors.device) * -(math.log(10_000.0) / (half - 1)))
        places = torch.arange(first, first + vectors.shape[1], device=vectors.device)
        angles = places[:, None] * rates
        waves = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return self.dropout(vectors * math.sqrt(vectors.shape[-1]) + waves)  # type: ignore[no-any-return]


def register() -> None:
    """Let transformers' Auto classes know it; may be called again."""
    AutoConfig.register(MODEL_TYPE, SsruConfig, exist_ok=True)
    AutoModelForSeq2SeqLM.register(SsruConfig, SsruTranslator, exist_ok=True)

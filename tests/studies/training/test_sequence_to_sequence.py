from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from sacrebleu import corpus_bleu
from transformers import T5Config, T5ForConditionalGeneration

from studies.definition import DataSpec
from studies.errors import InvalidInput
from studies.sequence_to_sequence import DEFINITION, Pair
from studies.training.attention import attention
from studies.training.sequence_to_sequence import encode_pairs
from studies.training.ssru import SsruConfig, SsruTranslator
from tests.studies.conftest import FILLERS, WORDS
from tests.studies.training.conftest import ending_tokenizer, train_tiny, write_jsonl

QUICK = {"max_length": 16, "batch_size": 8, "learning_rate": 1e-2}


def pairs(count: int) -> list[dict[str, object]]:
    """Each animal, among other words, becomes a sentence that names its colour."""
    generator, becomes = random.Random(0), dict(zip(WORDS["animal"], WORDS["colour"], strict=True))
    rows: list[dict[str, object]] = []
    for _ in range(count):
        animal, other = generator.choice(WORDS["animal"]), generator.choices(FILLERS, k=3)
        rows.append({"source": " ".join([*other, animal]), "target": f"it is very {becomes[animal]}"})
    return rows


def test_a_translator_learns_and_keeps_what_it_wrote(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = ending_tokenizer()
    sizes = {"hidden_size": 32, "inner_size": 32, "heads": 2, "encoder_layers": 2, "decoder_layers": 2}
    config = SsruConfig(vocab_size=len(tokenizer), eos_token_id=0, pad_token_id=0, **sizes)
    SsruTranslator(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    source = write_jsonl(tmp_path / "rows.jsonl", pairs(160))
    data = DataSpec(train=source, validation=0.15)
    outcome = train_tiny(DEFINITION, str(tmp_path / "base"), data, tmp_path, **QUICK, epochs=6, dropout=0.0)
    assert outcome.values["bleu"] > 50
    kept = [json.loads(line) for line in (tmp_path / "model" / "predictions.jsonl").read_text("utf-8").splitlines()]
    written, expected = [row["written"] for row in kept], [row["expected"] for row in kept]
    assert outcome.values["bleu"] == pytest.approx(corpus_bleu(written, [expected]).score)
    again = DEFINITION.predict(tmp_path / "model", [row["source"] for row in kept])
    assert [row["written"] for row in again] == written
    # transformers does not know its class.
    assert "`tuner predict` loads it." in (tmp_path / "model" / "README.md").read_text("utf-8")
    with pytest.raises(InvalidInput, match="its model, a tuner-ssru, has no attention to show"):
        attention(tmp_path / "model", "cat")


def test_any_model_of_transformers_will_do(tmp_path: Path) -> None:
    tokenizer = ending_tokenizer()
    config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0)
    config.decoder_start_token_id = 0
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    data = DataSpec(train=write_jsonl(tmp_path / "rows.jsonl", pairs(24)), validation=0.25)
    outcome = train_tiny(DEFINITION, str(tmp_path / "t5"), data, tmp_path, **QUICK, epochs=2)
    assert 0 <= outcome.values["chrf"] <= 100 and outcome.values["loss"] < 6
    assert len(DEFINITION.predict(tmp_path / "model", ["cat", "dog dog"])) == 2


def test_the_decoder_reads_what_it_is_to_write_one_step_late() -> None:
    encoded = encode_pairs(ending_tokenizer(), [Pair("cat", "red blue")], 7)
    labels, inputs = encoded.targets["labels"][0].tolist(), encoded.inputs["decoder_input_ids"][0].tolist()
    assert (inputs, labels[-1]) == ([7, *labels[:-1]], 0)

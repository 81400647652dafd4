from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from safetensors.torch import load_file
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from transformers import AutoTokenizer

from studies import text_generation
from studies.definition import DataSpec
from studies.errors import TrialFailure
from studies.image_classification import DEFINITION as IMAGES
from studies.labelled_texts import read
from studies.text_classification import DEFINITION
from studies.training.attention import attention
from tests.studies.training.conftest import MakeJob, train_tiny, write_jsonl
from tests.studies.training.test_loop import Recorder, run

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")


def test_an_adapter_is_saved_that_peft_loads_and_that_gives_the_recorded_score(make_job: MakeJob) -> None:
    job = make_job(train="lora", lora_targets="all", lora_rank=16, lora_alpha=64, dropout=0.0, frozen_layers=1, epochs=5)
    outcome = run(job)
    folder = job.folder / "model"
    assert not (folder / "model.safetensors").exists()
    model = AutoPeftModelForSequenceClassification.from_pretrained(str(folder), num_labels=3).train(False)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    splits, classes = read(job.data, job.data_seed)
    with torch.inference_mode():
        answers = [int(model(**tokenizer(row.text, return_tensors="pt")).logits.argmax()) for row in splits.validation]
    hits = [classes[answer] == row.label for answer, row in zip(answers, splits.validation, strict=True)]
    assert sum(hits) / len(hits) == outcome.values["accuracy"] > 0.5
    predicted = [row["label"] for row in DEFINITION.predict(folder, [row.text for row in splits.validation])]
    assert predicted == [classes[answer] for answer in answers]
    assert len(attention(folder, splits.validation[0].text).weights) == 3


def test_only_adapters_and_what_is_above_the_blocks_are_trained(make_job: MakeJob) -> None:
    optimizers: list[Optimizer] = []
    hook = register_optimizer_step_post_hook(lambda optimizer, args, kwargs: optimizers.append(optimizer))
    job = make_job(train="lora", lora_rank=4, frozen_layers=1, epochs=1)
    outcome = run(job)
    hook.remove()
    found = load_file(job.folder / "model" / "adapter_model.safetensors")
    adapted = {name.split(".layer.")[1] for name in found if "lora" in name}
    layers = [f"{block}.attention.self.{layer}" for block in (1, 2) for layer in ("query", "value")]
    assert adapted == {f"{layer}.lora_{part}.weight" for layer in layers for part in "AB"}
    # Four layers of 32 × 32 with two matrices of rank 4 each, the pooler, and a head for three classes.
    assert outcome.details["trained_parameters"] == 4 * 2 * 32 * 4 + 32 * 32 + 32 + 3 * 32 + 3
    assert sum(parameter.numel() for parameter in optimizers[-1].state) == outcome.details["trained_parameters"]
    assert sum(tensor.numel() for tensor in found.values()) == outcome.details["trained_parameters"]


def test_the_base_model_stays_bit_equal(make_job: MakeJob, tiny_model: str) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    job = make_job(train="lora", lora_targets="all", weight_decay=0.1, epochs=1)

    def remember(optimizer: Optimizer, args: object, kwargs: object) -> None:
        inside = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        seen.append({str(len(seen)): torch.tensor(len(inside))})

    hook = register_optimizer_step_post_hook(remember)
    run(job)
    hook.remove()
    # Every linear layer of three blocks has an adapter: 6 × 2 matrices each; pooler and head have two tensors each.
    assert {int(value) for step in seen for value in step.values()} == {3 * 6 * 2 + 4}


@pytest.mark.parametrize("depth", [1, 2])
def test_stored_states_of_the_prefix_give_the_same_losses(make_job: MakeJob, tmp_path: Path, depth: int) -> None:
    plain, sharing = Recorder(), Recorder()
    run(make_job(train="lora", frozen_layers=depth), plain)
    outcome = run(make_job(train="lora", frozen_layers=depth, job_shared=tmp_path / "states", job_shared_bytes=10**9), sharing)
    assert outcome.details["prefix"]["depth"] == depth
    for one, other in zip(plain.reports, sharing.reports, strict=True):
        assert [metric.value for metric in one] == pytest.approx([metric.value for metric in other], abs=1e-5)


def test_with_every_block_frozen_it_is_the_head_alone(make_job: MakeJob) -> None:
    adapters, head = Recorder(), Recorder()
    run(make_job(train="lora", frozen_layers=3), adapters)
    run(make_job(train="head", frozen_layers=3), head)
    assert adapters.reports == head.reports


def test_a_language_model_keeps_its_words(tmp_path: Path, word_decoder: str) -> None:
    source = write_jsonl(tmp_path / "texts.jsonl", [{"text": "red green blue"}] * 8)
    train_tiny(
        text_generation.DEFINITION,
        word_decoder,
        DataSpec(train=source, validation=0.25),
        tmp_path,
        train="lora",
        epochs=1,
        max_length=16,
    )
    found = load_file(tmp_path / "model" / "adapter_model.safetensors")
    assert not any("lm_head" in name or "embed" in name for name in found)
    assert any("q_proj.lora_A" in name for name in found)
    assert text_generation.DEFINITION.predict(tmp_path / "model", ["red"])[0]["written"]


def test_layers_that_are_not_there(tmp_path: Path) -> None:
    picture = [[0] * 8] * 8
    source = write_jsonl(tmp_path / "pictures.jsonl", [{"image": picture, "label": name} for name in "ab" * 8])
    data = DataSpec(train=source, validation=0.25)
    with pytest.raises(TrialFailure, match="lora_targets is query_value, but the blocks of .* have no such layers; use all"):
        train_tiny(IMAGES, "builtin:small-cnn", data, tmp_path, train="lora", epochs=1)
    train_tiny(IMAGES, "builtin:small-cnn", data, tmp_path, train="lora", lora_targets="all", epochs=1)
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()

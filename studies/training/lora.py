"""LoRA: beside layers of the blocks small matrices are trained in their stead (Hu et al. 2022), by peft.

What is saved is an adapter: those matrices and what is trained above the blocks, to be put on the base model again.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from studies.errors import TrialFailure
from studies.training.freezing import block_stacks
from studies.training.settings import Settings

ADAPTER = "adapter_config.json"
# What architectures call the layers that make queries and values; some make them, and keys, in one layer.
_QUERY_OR_VALUE = re.compile(
    r"(q|v|query|value|(q|v|query|value|qkv)_(proj|lin)|in_proj|c_attn|w?qkv|query_key_value)", re.IGNORECASE
)


def adapt(model: PreTrainedModel, settings: Settings) -> PeftModel | None:
    """Put adapters beside layers of `model`, which `freeze` has prepared; the model itself is changed, the answer saves it.

    Adapters stand in the blocks above the frozen ones; None where there are none of these. Drawn from torch's random state.
    Raises TrialFailure("data") where such blocks have no layers of the wanted kind.
    """
    blocks = [block for _, stack in block_stacks(model) for block in stack][settings.frozen_layers :]
    head: nn.Module | None = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is not None:
        head.requires_grad_(False)  # the words of a language model, as large as their embeddings
    if not blocks:
        return None
    targets = list(_targets(model, blocks, settings.lora_targets))
    if not targets:
        raise TrialFailure(
            "data",
            f"lora_targets is {settings.lora_targets}, but the blocks of {type(model).__name__} have no such layers; "
            f"{'use all' if settings.lora_targets != 'all' else 'lora does not fit it'}",
        )
    config = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=targets,
        modules_to_save=list(_trained_as_a_whole("", model)),
        fan_in_fan_out=any(isinstance(model.get_submodule(name), Conv1D) for name in targets),
    )
    return quietly_wrapped(get_peft_model, model, config)


def quietly_wrapped(wrap: Any, *arguments: Any) -> PeftModel:
    """peft asks transformers for something by a name that it warns of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        wrapped: PeftModel = wrap(*arguments)
    return wrapped


def _targets(model: nn.Module, blocks: list[nn.Module], kind: str) -> Iterator[str]:
    """Names of the layers of `blocks` that get an adapter."""
    names = {id(module): name for name, module in model.named_modules()}
    for block in blocks:
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d | Conv1D) and (
                kind == "all"
                or (kind == "attention" and "att" in name.casefold())
                or (kind == "query_value" and _QUERY_OR_VALUE.fullmatch(name.rpartition(".")[2]))
            ):
                yield names[id(module)]


def _trained_as_a_whole(name: str, module: nn.Module) -> Iterator[str]:
    """Names of the outermost modules in `module` all of whose parameters are trained."""
    trained = [parameter.requires_grad for parameter in module.parameters()]
    if trained and all(trained):
        yield name
        return
    for child_name, child in module.named_children():
        yield from _trained_as_a_whole(f"{name}.{child_name}".lstrip("."), child)

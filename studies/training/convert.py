"""Models that packages ship in another form, made into a folder that transformers reads: once a machine."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, processors
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    EfficientNetConfig,
    EfficientNetModel,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from studies import hub
from studies.builtin import MODELS, PREFIX, model_folder
from studies.errors import InvalidInput
from studies.models import resolve
from studies.training.ssru import SsruConfig, SsruTranslator


def folder_of(reference: str) -> str:
    """The folder that `from_pretrained` takes for a study's `model`, downloaded or converted if need be.

    Raises InvalidInput at `model`.
    """
    name = reference.removeprefix(PREFIX)
    if not reference.startswith(PREFIX) or name not in _CONVERTERS:
        location = resolve(reference)
        return location if reference.startswith(PREFIX) or Path(location).is_dir() else str(hub.model_folder(location))
    folder = MODELS[name].made
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Trials that start at once wait for the first of them.
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            _CONVERTERS[name](model_folder(name), part)
            part.rename(folder)
    return str(folder)


def _smollm2(package: Path, folder: Path) -> None:
    """Four-bit weights as fp32, so that they can be trained."""
    file = next(package.glob("*.gguf")).name
    quantised = AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = LlamaForCausalLM(config)  # type: ignore[arg-type]
    model.load_state_dict(quantised.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(folder)


def _minilm_l3(package: Path, folder: Path) -> None:
    """An ONNX graph of a BERT encoder; its package has no tokenizer, but the vocabulary is that of `minilm`."""
    import onnx

    graph = onnx.load(next(package.glob("*.onnx"))).graph
    weights = onnx_weights(graph.node, {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer})
    model = BertModel(
        BertConfig(hidden_size=384, num_hidden_layers=3, num_attention_heads=12, intermediate_size=1536), add_pooling_layer=False
    )
    model.load_state_dict({name.partition("auto_model.")[2]: tensor for name, tensor in weights.items()})
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder("minilm")).save_pretrained(folder)


def onnx_weights(nodes: Iterable[Any], constants: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """The weights of an exported PyTorch model by the names they had; matrices as PyTorch keeps them, [outputs, inputs].

    The exporter gives matrices names of its own. The bias that is added to what a matrix puts out has kept the layer's name.
    """
    matrices: dict[str, str] = {}  # by what comes of them
    found = {name: array for name, array in constants.items() if not name.startswith("onnx::")}
    for node in nodes:
        if node.op_type == "MatMul" and node.input[1] in constants:
            matrices[node.output[0]] = node.input[1]
        bias = next((name for name in node.input if name.endswith(".bias")), None)
        matrix = next((matrices[name] for name in node.input if name in matrices), None)
        if node.op_type == "Add" and bias and matrix:
            found[f"{bias.removesuffix('bias')}weight"] = constants[matrix].T
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in found.items()}


def _efficientnet_lite0(package: Path, folder: Path) -> None:
    """The weights of a network that transformers has no class for as those of its EfficientNet, which does the same with them."""
    config = EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        hidden_dim=1280,
        image_size=224,
        hidden_act="relu6",
        batch_norm_momentum=0.01,  # PyTorch's: the share of the new batch. The default, 0.99, is TensorFlow's
        dropout_rate=0.2,
        drop_connect_rate=0.0,  # transformers would drop single values where whole blocks were skipped in training
    )
    model = EfficientNetModel(config)
    weights = torch.load(_unchanged(next(package.glob("*.pth")), _LITE0), weights_only=True)
    model.load_state_dict(model.state_dict() | efficientnet_named(weights) | open_gates(model))
    model.save_pretrained(folder)


def _unchanged(file: Path, sha256: str) -> Path:
    """A pickle can hold code, so only the one that is known is read. Raises InvalidInput at `model`."""
    if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise InvalidInput.at("model", f"{file} is not the file that its package shipped; install it again")
    return file


def efficientnet_named(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of an efficientnet-pytorch model under the names of transformers' EfficientNetModel; without its head."""
    found = {}
    for name, tensor in weights.items():
        layer, _, kind = name.rpartition(".")
        block = re.fullmatch(r"_blocks\.(\d+)\.(\w+)", layer)
        if block:
            found[f"encoder.blocks.{block[1]}.{_BLOCK_LAYERS[block[2]]}.{kind}"] = tensor
        elif layer in _OUTER_LAYERS:
            found[f"{_OUTER_LAYERS[layer]}.{kind}"] = tensor
    return found


def open_gates(model: EfficientNetModel) -> dict[str, Tensor]:
    """Weights with which the channel gates of an EfficientNet let everything pass: σ(100) is 1, and its gradient 0."""
    gates = {name: tensor for name, tensor in model.state_dict().items() if ".squeeze_excite." in name}
    return {name: torch.full_like(tensor, 100.0 if name.endswith("expand.bias") else 0.0) for name, tensor in gates.items()}


_LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # sha256 of its weights
_OUTER_LAYERS = {
    "_conv_stem": "embeddings.convolution",
    "_bn0": "embeddings.batchnorm",
    "_conv_head": "encoder.top_conv",
    "_bn1": "encoder.top_bn",
}
_BLOCK_LAYERS = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}


def _marian(package: Path, folder: Path) -> None:
    """Marian's binary file: eight-bit weights divided by their multiplier."""
    files = next((package / "resources" / "models").glob("enpt-*"))
    tensors = read_marian(next(files.glob("model.*.bin")))
    config = SsruConfig(vocab_size=tensors["Wemb"].shape[0], eos_token_id=0, pad_token_id=0, decoder_start_token_id=0)
    model = SsruTranslator(config)
    model.load_state_dict(_named(tensors))
    model.save_pretrained(folder)
    inner = Tokenizer.from_file(str(files / "tokenizer.json"))
    # A text that has no end would be translated over and over.
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 0)])
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=inner, eos_token="</s>", unk_token="<unk>", pad_token="</s>", model_max_length=512
    )
    tokenizer.save_pretrained(folder)


def read_marian(path: Path) -> dict[str, Tensor]:
    """The tensors of a Marian model file, as fp32; matrices of eight-bit weights as [inputs, outputs].

    Marian's `common/binary.cpp`: version and number of items, a header each (lengths of name, type, shape and data), then all
    names, all shapes, a gap, all data. Eight-bit data ends with the multiplier that made it; matrices lie transposed.
    """
    content = path.read_bytes()
    _, count = struct.unpack_from("<QQ", content, 0)
    headers = [struct.unpack_from("<QQQQ", content, 16 + 32 * index) for index in range(count)]
    place = 16 + 32 * count
    names, shapes = [], []
    for name_length, *_ in headers:
        names.append(content[place : place + name_length - 1].decode())
        place += name_length
    for _, _, dimensions, _ in headers:
        shapes.append(struct.unpack_from(f"<{dimensions}i", content, place))
        place += 4 * dimensions
    place += 8 + struct.unpack_from("<Q", content, place)[0]
    tensors = {}
    for name, shape, (_, kind, _, length) in zip(names, shapes, headers, strict=True):
        data = content[place : place + length]
        place += length
        if name.startswith("special:") or name.endswith("QuantMultA"):
            continue
        size = int(np.prod(shape))
        if kind == _EIGHT_BITS:
            multiplier = struct.unpack_from("<f", data, size)[0]
            values = np.frombuffer(data, np.int8, size).astype(np.float32) / multiplier
            values = values.reshape(shape) if name == "Wemb" else values.reshape(shape[::-1]).T
        else:
            values = np.frombuffer(data, np.float32, size).reshape(shape)
        tensors[name] = torch.from_numpy(np.array(values, order="C"))
    return tensors


_EIGHT_BITS = 0x4101
_PARTS = {
    "self": "attention",
    "context": "attention",
    "ffn": "feed_forward",
    "rnn": "recurrence",
}
_WEIGHTS = {
    "Wq": "query.weight",
    "Wk": "key.weight",
    "Wv": "value.weight",
    "Wo": "out.weight",
    "bq": "query.bias",
    "bk": "key.bias",
    "bv": "value.bias",
    "bo": "out.bias",
    "W1": "wide.weight",
    "W2": "narrow.weight",
    "b1": "wide.bias",
    "b2": "narrow.bias",
    "W": "candidate.weight",
    "Wf": "forget.weight",
    "bf": "forget.bias",
    "Wo_ln_scale": "norm.weight",
    "Wo_ln_bias": "norm.bias",
    "ffn_ln_scale": "norm.weight",
    "ffn_ln_bias": "norm.bias",
}
_NAME = re.compile(r"(encoder|decoder)_l(\d+)_(self|context|ffn|rnn)_(\w+)")


def _named(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Marian's tensors under our names; PyTorch keeps matrices as [outputs, inputs]."""
    found = {"embeddings.weight": tensors["Wemb"], "bias": tensors["decoder_ff_logit_out_b"].flatten()}
    for name, tensor in tensors.items():
        if match := _NAME.fullmatch(name):
            side, layer, part, weight = match.groups()
            ours = f"{side}.{int(layer) - 1}.{_PARTS[part]}.{_WEIGHTS[weight]}"
            found[ours] = tensor.T.contiguous() if weight.startswith("W") and "ln" not in weight else tensor.flatten()
    return found


_CONVERTERS: Mapping[str, Callable[[Path, Path], None]] = {
    "minilm-l3": _minilm_l3,
    "smollm2": _smollm2,
    "marian-en-pt": _marian,
    "efficientnet-lite0": _efficientnet_lite0,
}

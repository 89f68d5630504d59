"""Weights of an ONNX graph in half precision or as bytes.

Halves are widened when the graph is loaded: they halve the file, and every processor computes what
it did before. Bytes (int8) multiply as bytes where a layer is a matrix product, activations being
scaled as they come; convolutions and token vectors are kept as bytes and widened.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

_HALVES = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
_SMALL = 256
"""Numbers up to which a tensor is left as it is."""


def compact(path: Path, dtype: str) -> None:
    """Rewrite a graph with its weights in a number format; float32 leaves it alone."""
    if dtype in _HALVES:
        _halve(path, dtype)
    elif dtype == "int8":
        _multiply_bytes(path)
        _narrow_convolutions(path)


def _halve(path: Path, dtype: str) -> None:
    model = onnx.load(path)
    casts = []
    for tensor in _large(model):
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(_half(values, f"{name}.{dtype}", dtype))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT))
    _save(model, casts, path)


def _half(values: NDArray[Any], name: str, dtype: str) -> TensorProto:
    if dtype == "float16":
        return numpy_helper.from_array(values.astype(np.float16), name)
    import torch

    rounded = torch.from_numpy(np.array(values)).to(torch.bfloat16).view(torch.int16)
    return helper.make_tensor(
        name, TensorProto.BFLOAT16, values.shape, rounded.numpy().tobytes(), raw=True
    )


def _multiply_bytes(path: Path) -> None:
    """Have matrix products and token vectors use bytes, by onnxruntime's own quantisation."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = path.with_name(f"{path.name}.data").is_file()
    whole = path.with_name(f"{path.stem}.whole.onnx")
    path.rename(whole)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        quantize_dynamic(
            whole, path, op_types_to_quantize=["MatMul", "Gemm", "Gather"], per_channel=True,
            weight_type=QuantType.QUInt8,  # signed ones overflow on processors without VNNI
            use_external_data_format=large,
        )  # fmt: skip
    finally:
        logging.getLogger().setLevel(level)
    whole.unlink()


def _narrow_convolutions(path: Path) -> None:
    """Keep the weights of convolutions as bytes, scaled for each output channel."""
    model = onnx.load(path)
    kernels = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    added = []
    for tensor in [t for t in _large(model) if t.name in kernels]:
        name, values = tensor.name, numpy_helper.to_array(tensor)
        scale = np.abs(values).reshape(len(values), -1).max(axis=1) / 127
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        rounded = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1)))
        tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.int8), f"{name}.int8"))
        model.graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
        inputs = [f"{name}.int8", f"{name}.scale"]
        added.append(helper.make_node("DequantizeLinear", inputs, [name], axis=0))
    _save(model, added, path)


def _large(model: Any) -> list[TensorProto]:
    return [
        tensor for tensor in model.graph.initializer
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) > _SMALL
    ]  # fmt: skip


def _save(model: Any, first: list[Any], path: Path) -> None:
    """Write a graph with some nodes before all others."""
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*first, *rest])
    data = path.with_name(f"{path.name}.data")
    large = data.is_file()
    data.unlink(missing_ok=True)
    onnx.save(model, path, save_as_external_data=large, location=data.name)

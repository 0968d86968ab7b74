"""Writes a compact `url-bytes` model file as ONNX, convolutions in their faster two-dimensional form.

    python onnx_model.py MODEL.safetensors OUT.onnx

Inputs `bytes` and `parts`: int64 (batch, length), byte values (256: mask) and part ids.
Output `logit`: float32 (batch, 1).
"""

import json
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def read(path):
    """Tensors by name, and the metadata, of a .safetensors file of float32."""
    content = open(path, "rb").read()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header.pop("__metadata__")
    data = content[8 + length :]
    return {
        name: np.frombuffer(data[slice(*t["data_offsets"])], "<f4").reshape(t["shape"]) for name, t in header.items()
    }, metadata


def export(path):
    """The ONNX model of a file whose layers are those that the compact models use."""
    tensors, metadata = read(path)
    nodes, constants = [], []

    def constant(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind, *inputs, **attributes):
        output = f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    layers = [layer.split() for layer in metadata["phishcnn.layers"].split("; ")]
    assert layers[0] == ["embed", "bytes+parts"]
    tables = [constant(f"embed.{t}", tensors[f"embed.{t}"]) for t in ("bytes", "parts")]
    x = node("Add", node("Gather", tables[0], "bytes"), node("Gather", tables[1], "parts"))
    x = node("Transpose", x, perm=[0, 2, 1])
    x = node("Unsqueeze", x, constant("axis", np.array([2])))
    for kind, *words in layers[1:]:
        if kind == "conv":
            name, *options = words
            assert options[:2] == ["same", "relu"] and options[2:] in ([], ["add"])
            weight = tensors[f"{name}.weight"].transpose(2, 1, 0)[:, :, None]
            width = weight.shape[-1]
            before, after = (width - 1) // 2, width - 1 - (width - 1) // 2
            bias = constant(f"{name}.bias", tensors[f"{name}.bias"])
            y = node("Conv", x, constant(name, weight), bias, pads=[0, before, 0, after])
            y = node("Relu", y)
            x = node("Add", y, x) if options[2:] else y
        elif kind == "maxpool":
            assert words == ["2", "ceil"]
            x = node("MaxPool", x, kernel_shape=[1, 2], strides=[1, 2], ceil_mode=1)
        elif kind == "pool":
            assert words == ["max+avg"]
            x = node("Concat", node("GlobalMaxPool", x), node("GlobalAveragePool", x), axis=1)
            x = node("Flatten", x)
        elif kind == "dense":
            name, *options = words
            weight = constant(name, tensors[f"{name}.weight"])
            x = node("Gemm", x, weight, constant(f"{name}.bias", tensors[f"{name}.bias"]))
            x = node("Relu", x) if options else x
    nodes.append(helper.make_node("Identity", [x], ["logit"]))
    ids = [helper.make_tensor_value_info(n, TensorProto.INT64, ["n", "len"]) for n in ("bytes", "parts")]
    logit = helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["n", 1])
    graph = helper.make_graph(nodes, "phishcnn", ids, [logit], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    onnx.save(export(sys.argv[1]), sys.argv[2])

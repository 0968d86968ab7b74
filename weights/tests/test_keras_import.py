import json

import h5py
import numpy as np
import phishcnn
import pytest
from phishcnn_train.evaluate import jax_logits
from phishcnn_train.export import read
from phishcnn_train.keras_import import KerasImportError, convert

CHARS = {"a": 1, "b": 2, "/": 3, "": 4, "-n-": 5}


def network(last=("Dense", {"units": 2, "activation": "sigmoid"}), extra=()):
    conv = {"strides": [1], "dilation_rate": [1], "data_format": "channels_last"}
    return [
        (
            "Embedding",
            {"name": "e", "batch_input_shape": [None, 20], "input_dim": 6, "output_dim": 3, "input_length": 20},
        ),
        ("Conv1D", {"name": "c", "filters": 4, "kernel_size": [3], "padding": "valid", "activation": "tanh", **conv}),
        ("MaxPooling1D", {"name": "p", "pool_size": [3], "strides": [3], "padding": "valid"}),
        ("Dropout", {"name": "drop", "rate": 0.2}),
        (
            "Conv1D",
            {
                "name": "k",
                "filters": 4,
                "kernel_size": [3],
                "padding": "same",
                "activation": "relu",
                **conv,
                "dilation_rate": [2],
            },
        ),
        *extra,
        ("Flatten", {"name": "f"}),
        (last[0], {"name": "out", **last[1]}),
    ]


def save(path, layers, units=2, embed_attribute=True, seed=1):
    rng = np.random.default_rng(seed)
    arrays = {
        "e": [("embeddings", (6, 3))],
        "c": [("kernel", (3, 3, 4)), ("bias", (4,))],
        "k": [("kernel", (3, 4, 4)), ("bias", (4,))],
        "out": [("kernel", (24, units)), ("bias", (units,))],
    }
    with h5py.File(path, "w") as file:
        if embed_attribute:
            config = {"class_name": "Sequential", "config": [{"class_name": k, "config": c} for k, c in layers]}
            file.attrs["model_config"] = json.dumps(config).encode()
        for layer, tensors in arrays.items():
            group = file.create_group(f"model_weights/{layer}")
            group.attrs["weight_names"] = [f"{layer}/{n}:0".encode() for n, _ in tensors]
            for name, shape in tensors:
                group[f"{layer}/{name}:0"] = rng.normal(size=shape).astype(np.float32)
    return path


@pytest.fixture
def chars(tmp_path):
    (tmp_path / "chars.json").write_text(json.dumps(CHARS))
    return tmp_path / "chars.json"


@pytest.mark.parametrize(
    "units, activation, output",
    [(1, "sigmoid", "logit"), (2, "sigmoid", "sigmoid2 positive=1"), (2, "softmax", "softmax2 positive=1")],
)
def test_converts_and_scores(tmp_path, chars, units, activation, output):
    layers = network(("Dense", {"units": units, "activation": activation}))
    out = tmp_path / "m.safetensors"
    convert(save(tmp_path / "m.h5", layers, units), None, chars, out)
    tensors, metadata = read(out)
    assert (
        metadata["phishcnn.layers"]
        == "embed chars; conv c valid tanh; maxpool 3; conv k same dilation=2 relu; flatten; dense out"
    )
    assert metadata["phishcnn.output"] == output
    assert metadata["phishcnn.input"] == "keras-char/1 length=20 pad=pre truncate=pre canonical=no"
    assert tensors["chars"].tolist() == [0xFFFFFFFF, 97, 98, 47, 0xFFFFFFFF, 0xFFFFFFFE]
    urls = [b"a/b", b"ab" * 30, b"http://b.a/", "ä/b".encode()]
    scored = phishcnn.Model.load(str(out)).score_batch(urls)
    np.testing.assert_allclose(scored.logit, jax_logits(out, urls), atol=1e-4)
    np.testing.assert_allclose(scored.logit[0], by_hand(tensors, [0] * 17 + [1, 3, 2], output), atol=1e-4)


def by_hand(tensors, ids, output):
    """The example network in loops, float64."""
    t = {k: v.astype(np.float64) for k, v in tensors.items()}
    x = t["embed.chars"][ids]
    x = np.tanh(np.array([sum(x[i + j] @ t["c.weight"][j] for j in range(3)) for i in range(18)]) + t["c.bias"])
    x = x.reshape(6, 3, 4).max(1)
    x = np.concatenate([np.zeros((2, 4)), x, np.zeros((2, 4))])
    x = np.maximum(
        np.array([sum(x[i + 2 * j] @ t["k.weight"][j] for j in range(3)) for i in range(6)]) + t["k.bias"], 0
    )
    z = x.reshape(-1) @ t["out.weight"] + t["out.bias"]
    return z[0] if output == "logit" else z[1] - (z[0] if output.startswith("softmax") else 0)


def test_architecture_and_length_from_outside(tmp_path, chars):
    layers = network()
    del layers[0][1]["input_length"], layers[0][1]["batch_input_shape"]
    (tmp_path / "a.json").write_text(
        json.dumps(
            {"class_name": "Sequential", "config": {"layers": [{"class_name": k, "config": c} for k, c in layers]}}
        )
    )
    h5 = save(tmp_path / "m.h5", layers, embed_attribute=False)
    out = tmp_path / "m.safetensors"
    with pytest.raises(KerasImportError, match="--architecture"):
        convert(h5, None, chars, out)
    with pytest.raises(KerasImportError, match="--length"):
        convert(h5, tmp_path / "a.json", chars, out)
    convert(h5, tmp_path / "a.json", chars, out, length=20, canonical=True)
    assert read(out)[1]["phishcnn.input"].endswith("length=20 pad=pre truncate=pre canonical=yes")


@pytest.mark.parametrize(
    "last, extra, problem",
    [
        (("Dense", {"units": 3, "activation": "softmax"}), (), "out: an output of 3 units"),
        (("Dense", {"units": 2, "activation": "relu"}), (), "out: an output of 2 units with activation 'relu'"),
        (("LSTM", {}), (), "out: layer type LSTM"),
        (
            ("Dense", {"units": 2, "activation": "sigmoid"}),
            [("BatchNormalization", {"name": "bn"})],
            "bn: layer type BatchNormalization",
        ),
        (
            ("Dense", {"units": 2, "activation": "sigmoid"}),
            [("MaxPooling1D", {"name": "mp", "pool_size": [3], "strides": [2]})],
            "mp: overlapping",
        ),
    ],
)
def test_other_networks_are_refused_by_layer(tmp_path, chars, last, extra, problem):
    h5 = save(tmp_path / "m.h5", network(last, extra))
    with pytest.raises(KerasImportError, match=problem):
        convert(h5, None, chars, tmp_path / "m.safetensors")


def test_published_network_gives_its_published_logits(shared, tmp_path):
    folder = shared / "dephides"
    out = tmp_path / "dephides.safetensors"
    convert(folder / "weights.h5", folder / "keras_model.json", folder / "char_index.json", out)
    vectors = json.loads((folder / "vectors.json").read_text())["vectors"]
    urls = [v["url"].encode() for v in vectors]
    want = np.array([v["logits"][1] for v in vectors])
    assert len(urls) > 1000
    np.testing.assert_allclose(jax_logits(out, urls), want, atol=1e-4)
    scored = phishcnn.Model.load(str(out)).score_batch(urls)
    assert not np.asarray(scored.errors).any()
    np.testing.assert_allclose(scored.logit, want, atol=1e-4)

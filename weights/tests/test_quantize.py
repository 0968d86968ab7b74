"""The int8 exporter against the engine, which runs its files, and against the f32 network."""

import numpy as np
import phishcnn
import pytest
import synthetic
from phishcnn_train import network
from phishcnn_train import quantize as step
from phishcnn_train.data import read_rows
from phishcnn_train.evaluate import jax_logits
from phishcnn_train.export import encode, read
from phishcnn_train.network import LayerError
from phishcnn_train.quantize import grouped, packed, quantised, quantize

BYTES = "url-bytes/1 max=256"
CHARS = "keras-char/1 length=60 pad=pre truncate=pre canonical=yes"
LINES = {  # every layer that int8 knows; channels that are no multiple of a block
    "compact": (BYTES, "embed bytes+parts; conv c1 same relu; maxpool 2 ceil; conv c2 same relu; maxpool 2 ceil; "
    "conv c3 same relu add; pool max+avg; dense d1 relu; dense d2", "logit", 1),
    "trigrams": (BYTES, "embed bytes+parts+trigrams; conv c1 same relu; maxpool 2 ceil; pool max+avg; dense d2", "logit", 1),
    "ngrams": (BYTES, "embed bytes+parts; conv c1 same relu; pool max+avg; dense d1 relu; dense d2; ngrams words 2..5", "logit", 1),
    "signed": (BYTES, "embed bytes; conv c1 same; conv c2 same dilation=2 relu; conv c3 same add; maxpool 3 ceil; "
    "pool avg; dense d1 tanh; dense d2", "logit", 1),
    "keras": (CHARS, "embed chars; conv c1 valid tanh; maxpool 3; conv c2 same sigmoid; conv c3 same tanh; maxpool 2; "
    "flatten; dense d1 sigmoid; dense d2", "sigmoid2 positive=1", 2),
}  # fmt: skip


def write(path, name):
    """An f32 file with random weights, and the URLs to calibrate it on."""
    input_line, line, output, outputs = LINES[name]
    chars = np.array([0xFFFFFFFF, 0xFFFFFFFE, *map(ord, "abcdefghijklmnopqrstuvwxyz0123456789/.-?=&:")], "<u4")
    sizes = {
        "embed": 10,
        "trigrams": 64,
        "c1": [5, 20],
        "c2": [3, 24],
        "c3": [3, 24],
        "d1": 10,
        "d2": outputs,
    }
    tensors = network.init(network.shapes(network.parse(line), sizes, 60, len(chars)), 3)
    for key, value in network.init({k: v.shape for k, v in tensors.items()}, 4).items():
        if key.endswith(".bias"):
            tensors[key] = (0.1 * np.random.default_rng(len(key)).standard_normal(value.shape)).astype("<f4")
    if "embed.trigrams" in tensors:
        tensors["embed.trigrams"] = np.random.default_rng(5).normal(0, 0.3, (64, 10)).astype("<f4")
    if "ngrams" in line:
        tensors["words.weight"] = np.random.default_rng(6).normal(0, 40, 1024).clip(-127, 127).astype("i1")
        tensors["words.scale"] = np.array([0.05, 0.06, 0.04, 0.03], "<f4")
    if input_line is CHARS:
        tensors["chars"] = chars
    metadata = {
        "phishcnn.format": "1", "phishcnn.name": "test", "phishcnn.version": "0.1.0", "phishcnn.input": input_line,
        "phishcnn.layers": line, "phishcnn.output": output, "phishcnn.calibration": "1 0",
        "phishcnn.thresholds": "phishing=1 suspicious=0",
    }  # fmt: skip
    path.write_bytes(encode(tensors, metadata))
    return tensors, metadata


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return read_rows(synthetic.write(tmp_path_factory.mktemp("rows") / "rows.tsv", 3000, 5))


@pytest.mark.parametrize("name", LINES)
def test_the_engine_reckons_as_the_exporter_does_and_both_near_f32(name, rows, tmp_path):
    tensors, metadata = write(tmp_path / "f32.safetensors", name)
    int8, exact, rounded = quantised(tensors, metadata, rows.urls)
    (tmp_path / "int8.safetensors").write_bytes(encode(int8, metadata))
    logits = np.asarray(phishcnn.Model.load(str(tmp_path / "int8.safetensors")).score_batch(rows.urls).logit)
    f32 = np.asarray(phishcnn.Model.load(str(tmp_path / "f32.safetensors")).score_batch(rows.urls).logit)
    # The engine's last step is one f32 product; all before it is the same integers.
    np.testing.assert_allclose(logits, rounded, rtol=3e-7, atol=1e-6)
    np.testing.assert_allclose(f32, exact, rtol=1e-4, atol=1e-4)
    some = [*rows.urls[:200], b"http://"]  # the mask alone, too
    framework, engine = (
        jax_logits(tmp_path / "f32.safetensors", some),
        phishcnn.Model.load(str(tmp_path / "f32.safetensors")),
    )
    np.testing.assert_allclose(framework, engine.score_batch(some).logit, rtol=1e-4, atol=1e-4)
    # (Random sigmoids hardly tell two URLs apart: seven bits see less of that.)
    assert np.abs(logits - f32).mean() < (0.15 if name == "keras" else 0.06) * f32.std()
    assert np.corrcoef(logits, f32)[0, 1] > (0.98 if name == "keras" else 0.995)


def test_a_fine_embedding_is_nearer_to_f32(rows, tmp_path):
    """By the engine: a tenth less error at least, of which other layers have their part, too. Other embeddings are refused."""
    tensors, metadata = write(tmp_path / "f32.safetensors", "trigrams")
    f32 = np.asarray(phishcnn.Model.load(str(tmp_path / "f32.safetensors")).score_batch(rows.urls).logit)
    errors = []
    for fine in (False, True):
        int8, _, rounded = quantised(tensors, metadata, rows.urls, fine)
        (tmp_path / "int8.safetensors").write_bytes(encode(int8, metadata))
        logits = np.asarray(phishcnn.Model.load(str(tmp_path / "int8.safetensors")).score_batch(rows.urls).logit)
        np.testing.assert_allclose(logits, rounded, rtol=3e-7, atol=1e-6)
        errors.append(np.abs(logits - f32).mean())
    assert errors[1] < 0.9 * errors[0], errors
    for name in ("compact", "keras"):
        tensors, metadata = write(tmp_path / "f32.safetensors", name)
        with pytest.raises(LayerError, match="needs trigrams"):
            quantised(tensors, metadata, rows.urls[:100], True)


def test_channels_that_are_active_together_stand_together():
    rng = np.random.default_rng(7)
    fours = rng.permutation(24).reshape(6, 4)
    active = np.zeros((500, 24), bool)
    for four, rate in zip(fours, (0.1, 0.2, 0.3, 0.4, 0.5, 0.0), strict=True):
        active[:, four] = (rng.random(500) < rate)[:, None]
    assert {frozenset(four) for four in grouped(active).reshape(6, 4).tolist()} == {
        frozenset(f) for f in fours.tolist()
    }


@pytest.mark.parametrize("name", LINES)
def test_the_order_of_channels_changes_no_logit(name, rows, tmp_path, monkeypatch):
    tensors, metadata = write(tmp_path / "f32.safetensors", name)
    int8, _, logits = quantised(tensors, metadata, rows.urls[:300])
    monkeypatch.setattr(step, "ordered", lambda layers, tensors, active: tensors)
    other, _, expected = quantised(tensors, metadata, rows.urls[:300])
    np.testing.assert_allclose(logits, expected, rtol=1e-12)
    moved = any(not np.array_equal(int8[key], other[key]) for key in int8)
    assert moved == ("c2.weight" in int8)  # something was put in order


def test_one_command_gives_the_same_bytes_twice(rows, tmp_path):
    tensors, metadata = write(tmp_path / "f32.safetensors", "compact")
    scores = np.asarray(phishcnn.Model.load(str(tmp_path / "f32.safetensors")).score_batch(rows.urls).logit)
    if np.corrcoef(scores, rows.labels)[0, 1] < 0:  # random weights may have it the wrong way round
        tensors |= {"d2.weight": -tensors["d2.weight"], "d2.bias": -tensors["d2.bias"]}
        (tmp_path / "f32.safetensors").write_bytes(encode(tensors, metadata))
    first = quantize(tmp_path / "f32.safetensors", rows, tmp_path / "a.safetensors", 1000)
    quantize(tmp_path / "f32.safetensors", rows, tmp_path / "b.safetensors", 1000)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert first["bytes"] == (tmp_path / "a.safetensors").stat().st_size
    _, metadata = read(tmp_path / "a.safetensors")
    # The thresholds are what the engine's own logits say, and no float decides between them.
    logits = np.asarray(phishcnn.Model.load(str(tmp_path / "a.safetensors")).score_batch(rows.urls).logit)
    phishing = float(metadata["phishcnn.thresholds"].split()[0].partition("=")[2])
    assert (logits[rows.labels == 0] >= phishing).mean() <= 0.001
    with pytest.raises(ValueError, match="int8 already"):
        quantize(tmp_path / "a.safetensors", rows, tmp_path / "c.safetensors")


def test_a_trigram_that_calibration_never_saw_keeps_its_weight():
    """Of a large table no calibration sees all rows: each is near what it would be if it were seen."""
    rng = np.random.default_rng(8)
    rows, other, table = rng.normal(0, 0.3, 257), rng.normal(0, 0.1, 9), rng.normal(0, 0.2, 64)
    ids, parts, trigrams = rng.integers(0, 257, 9000), rng.integers(0, 9, 9000), rng.integers(0, 32, 9000)
    exact = rows[ids] + other[parts] + table[trigrams]
    scale, _, _, _, third = step.narrowest(exact, rows, other, table, ids, parts, trigrams)
    shift = np.median(third[:32] - table[:32] / scale)
    assert np.abs(third[32:] - table[32:] / scale).max() <= 0.5
    assert np.abs(third[:32] - table[:32] / scale - shift).max() <= 3


def test_packing_by_its_definition():
    weight = np.random.default_rng(1).integers(-127, 128, (3, 8, 32)).astype("i1")
    found = packed(weight)
    assert found.shape == (2, 6, 64)
    for tap, i, o in np.ndindex(weight.shape):
        depth = tap * 8 + i
        assert found[o // 16, depth // 4, 4 * (o % 16) + depth % 4] == weight[tap, i, o]

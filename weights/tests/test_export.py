import json

import numpy as np
import pytest
import safetensors.numpy
from phishcnn_train.export import encode, read


def example():
    rng = np.random.default_rng(1)
    return {"b.weight": rng.normal(size=(3, 4)).astype("<f4"), "a": np.arange(5, dtype="<u4")}, {"z": "é", "a": "1 2"}


def test_same_input_same_bytes():
    tensors, metadata = example()
    again = encode(dict(reversed(tensors.items())), dict(reversed(metadata.items())))
    assert encode(tensors, metadata) == again


def test_reference_package_reads_it(tmp_path):
    tensors, metadata = example()
    (tmp_path / "m").write_bytes(encode(tensors, metadata))
    ours, our_metadata = read(tmp_path / "m")
    theirs = safetensors.numpy.load_file(tmp_path / "m")
    for name, array in tensors.items():
        np.testing.assert_array_equal(theirs[name], array)
        np.testing.assert_array_equal(ours[name], array)
    with safetensors.safe_open(tmp_path / "m", "np") as file:
        assert file.metadata() == our_metadata == metadata


def test_data_is_aligned_and_header_plain():
    blob = encode(*example())
    length = int.from_bytes(blob[:8], "little")
    assert (8 + length) % 16 == 0
    assert blob[8:9] == b"{" and b"\\" not in blob[8 : 8 + length]


def test_tensors_of_whole_cache_lines_begin_with_one():
    shapes = {"a.bias": (2,), "b.weight": (5, 16, 16), "c.bias": (16,), "d.weight": (16, 1), "e.weight": (3, 7)}
    tensors = {name: np.ones(shape, "<f4") for name, shape in shapes.items()} | {"f.weight": np.ones((2, 64), "i1")}
    blob = encode(tensors, {})
    start = 8 + int.from_bytes(blob[:8], "little")
    begins = {
        name: start + entry["data_offsets"][0] for name, entry in json.loads(blob[8:start]).items() if "." in name
    }
    whole = {name for name, tensor in tensors.items() if tensor.nbytes % 64 == 0}
    assert whole == {"b.weight", "c.bias", "d.weight", "f.weight"}
    assert all(begins[name] % 64 == 0 for name in whole)


@pytest.mark.parametrize("value", ['"', "\\", "\n"])
def test_refuses_what_would_need_escapes(value):
    with pytest.raises(ValueError, match="metadata k"):
        encode({}, {"k": value})


def test_refuses_other_types():
    with pytest.raises(ValueError, match="tensor x"):
        encode({"x": np.zeros(3)}, {})

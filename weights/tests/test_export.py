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


@pytest.mark.parametrize("value", ['"', "\\", "\n"])
def test_refuses_what_would_need_escapes(value):
    with pytest.raises(ValueError, match="metadata k"):
        encode({}, {"k": value})


def test_refuses_other_types():
    with pytest.raises(ValueError, match="tensor x"):
        encode({"x": np.zeros(3)}, {})

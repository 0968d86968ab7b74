"""The header is what its sources say, and the ABI is what was recorded for its soname."""

import abi
import pytest
from conftest import FFI, WARNINGS, run


def test_the_committed_header_is_current():
    manifest = FFI / "tools/Cargo.toml"
    run("cargo", "run", "--quiet", "--release", "--manifest-path", manifest, "--", "header", "--check")


@pytest.mark.parametrize(
    "compiler",
    [
        *("gcc -std=c99", "gcc -std=c17", "clang -std=c99", "clang -std=c17"),
        *("g++ -std=c++11", "g++ -std=c++20", "clang++ -std=c++17", "arm-none-eabi-gcc -std=c99"),
    ],
)
def test_the_header_stands_alone(compiler, tmp_path):
    source = tmp_path / ("alone.cpp" if "++" in compiler else "alone.c")
    source.write_text('#include "phishcnn.h"\n#include "phishcnn.h"\n')
    run(*compiler.split(), *WARNINGS, f"-I{FFI}/include", "-c", source, "-o", tmp_path / "alone.o")


def test_abi(package):
    library = package.lib / "libphishcnn.so"
    name = abi.soname(library)
    record = abi.RECORDS / f"{name}.txt"
    assert record.exists(), f"{name} has no record: run `make -C ffi abi`"
    gone, new = abi.compare(record.read_text().splitlines(), abi.current(library))
    assert not gone, f"the ABI of {name} has changed: it needs another soname (version)"
    assert not new, "the ABI has grown: run `make -C ffi abi`"


def test_the_record_cannot_be_overwritten(package, tmp_path):
    now = abi.current(package.lib / "libphishcnn.so")
    assert any(line.startswith("field phishcnn_result.logit offset 8 size 4") for line in now)
    assert any(line.startswith("number PHISHCNN_EMPTY_URL 201") for line in now)
    changed = [line.replace("offset 8", "offset 12") for line in now]
    abi.record(tmp_path, "libphishcnn.so.test", now)
    with pytest.raises(SystemExit, match="offset 8"):
        abi.record(tmp_path, "libphishcnn.so.test", changed)
    # More may come, and another soname starts afresh.
    abi.record(tmp_path, "libphishcnn.so.test", [*now, "symbol phishcnn_more"])
    abi.record(tmp_path, "libphishcnn.so.other", changed)

"""The installed package: what lies where, and the examples built against it."""

import re
import shutil

import abi
import pytest
from conftest import FFI, HONEST, PHISH, ROOT, VECTORS, run

VERSION = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
ABI = ".".join(VERSION.split(".")[:2]) if VERSION.startswith("0.") else VERSION.split(".")[0]

COMPILERS = [("gcc", "c99"), ("clang", "c99"), ("gcc", "c11"), ("clang", "c17")]


def test_files_and_soname(package):
    assert (package.lib / "libphishcnn.so").readlink().name == f"libphishcnn.so.{ABI}"
    assert (package.lib / f"libphishcnn.so.{ABI}").readlink().name == f"libphishcnn.so.{VERSION}"
    assert abi.soname(package.lib / "libphishcnn.so") == f"libphishcnn.so.{ABI}"
    assert package.pkg_config("--modversion") == [VERSION]
    for name in ("phishcnn.h", "phishcnn.hpp"):
        assert (package.include / name).read_bytes() == (FFI / "include" / name).read_bytes()


def test_only_the_headers_functions_are_visible(package):
    functions = set(abi.prototypes())
    assert len(functions) > 15
    assert abi.exported(package.lib / "libphishcnn.so") == functions
    table = run("readelf", "--symbols", "--wide", package.lib / "libphishcnn.a")
    rows = [line.split() for line in table.splitlines()]
    rows = [row for row in rows if len(row) == 8 and row[6] != "UND"]
    assert {row[7] for row in rows if row[4] in ("GLOBAL", "WEAK")} == functions


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize(("compiler", "standard"), COMPILERS)
def test_c_examples(package, tmp_path, compiler, standard, static):
    score = package.compile(FFI / "examples/score.c", tmp_path / "score", compiler, standard, static)
    batch = package.compile(FFI / "examples/batch.c", tmp_path / "batch", compiler, standard, static)
    linked = run("readelf", "-d", score)
    assert (f"libphishcnn.so.{ABI}" in linked) is not static

    lines = run(score, HONEST, PHISH).splitlines()
    assert [line.split()[0] for line in lines] == ["benign", "phishing"]
    text = f"{HONEST}\r\n\n{PHISH}\n{'a' * 70000}\nlast.example".encode()
    done = run(score, check=False, input=text)
    words = [line.split()[:2] for line in done.stdout.decode().splitlines()]
    assert done.returncode == 1
    assert [word for word, _ in words] == ["benign", "error", "phishing", "error", words[4][0]]
    assert [words[1][1], words[3][1]] == ["201:", "202:"]
    assert words[4][0] in ("benign", "suspicious", "phishing")

    model = VECTORS / "url-bytes.safetensors"
    assert "error" not in run(score, "--model", model, HONEST)
    done = run(score, "--model", FFI / "Makefile", HONEST, check=False)
    assert (done.returncode, b"101" in done.stderr) == (3, True)

    lines = run(batch).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["benign", "error", "phishing", "benign"]
    assert "why phishing" in lines[6]
    assert len(lines) == 14


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_cpp_example(package, tmp_path, compiler, static):
    score = package.compile(FFI / "examples/score.cpp", tmp_path / "score", compiler, "c++17", static)
    done = run(score, HONEST, PHISH, "", check=False)
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines if line[0] != " "] == ["benign", "phishing", "error"]
    assert any(line.split()[1:] == ["paypal"] for line in lines)
    assert done.returncode == 1


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_cmake(package, tmp_path, static):
    target = "phishcnn::static" if static else "phishcnn::phishcnn"
    shutil.copy(FFI / "examples/score.c", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.10)\nproject(user C)\n"
        f"find_package(phishcnn {VERSION} REQUIRED)\n"
        f"add_executable(score score.c)\ntarget_link_libraries(score PRIVATE {target})\n"
    )
    where = f"-DCMAKE_PREFIX_PATH={package.lib.parent}"
    run("cmake", "-S", tmp_path, "-B", tmp_path / "build", where)
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build/score", PHISH).startswith("phishing")


def test_cmake_refuses_another_abi(package, tmp_path):
    for asked, fits in [("0.1.0", True), ("0.1", True), ("0.2", False), ("0.1.999", False)]:
        (tmp_path / "CMakeLists.txt").write_text(
            f"cmake_minimum_required(VERSION 3.10)\nproject(user NONE)\nfind_package(phishcnn {asked} REQUIRED)\n"
        )
        where = f"-DCMAKE_PREFIX_PATH={package.lib.parent}"
        done = run("cmake", "-S", tmp_path, "-B", tmp_path / asked, where, check=False)
        assert (done.returncode == 0) is fits, asked


def test_the_embedded_model_is_optional_at_link_time(package, tmp_path):
    """A program that brings its own model does not carry ours."""
    source = tmp_path / "own.c"
    source.write_text(
        "#include <phishcnn.h>\nstatic phishcnn_model model;\n"
        'int main(void) { return phishcnn_model_load(&model, "", 0, 0, 0) != 101; }\n'
    )
    collected = ["-Wl,--gc-sections"]
    own = package.compile(source, tmp_path / "own", static=True, flags=collected)
    run(own)
    source.write_text(source.read_text().replace('load(&model, "", 0, 0, 0) != 101', "load_embedded(&model) != 0"))
    ours = package.compile(source, tmp_path / "ours", static=True, flags=collected)
    run(ours)
    model = (ROOT / "weights/models/phishcnn-compact.safetensors").read_bytes()
    head = model[8:200]
    assert head not in own.read_bytes()
    assert head in ours.read_bytes()


def test_calls_every_function(package, tmp_path):
    """The list is the header's: a function that tests/c/api.c does not call fails here.

    Bound lazily, a function is looked up at its first call, and the dynamic linker says so.
    """
    program = package.compile(FFI / "tests/c/api.c", tmp_path / "api", flags=["-fplt", "-Wl,-z,lazy"])
    env = {"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(tmp_path / "bindings")}
    run(program, VECTORS, tmp_path, env=env)
    (log,) = tmp_path.glob("bindings.*")
    calls = re.findall(r"binding file \S*/api \[0\] to \S*libphishcnn\S* \[0\]: normal symbol `(\w+)'", log.read_text())
    assert set(calls) == set(abi.prototypes())
    # A function that is there but not called is not in the list.
    source = tmp_path / "few.c"
    source.write_text(
        "#include <phishcnn.h>\nint main(int c, char **v) {\n"
        "  return (int)phishcnn_version_number() == PHISHCNN_VERSION_NUMBER ? 0 : c > 9 ? v[0][0] : *phishcnn_version();\n}\n"
    )
    few = package.compile(source, tmp_path / "few", flags=["-fplt", "-Wl,-z,lazy"])
    run(few, env={"LD_DEBUG": "bindings", "LD_DEBUG_OUTPUT": str(tmp_path / "few")})
    (log,) = tmp_path.glob("few.[0-9]*")
    assert re.findall(r"symbol `(phishcnn_\w+)'", log.read_text()) == ["phishcnn_version_number"]

"""The C programs of tests/c, under every compiler, linkage and checker."""

import json

import pytest
from conftest import FFI, SANITIZE, VECTORS, run

BUILDS = {
    "gcc-shared": {"compiler": "gcc"},
    "gcc-static": {"compiler": "gcc", "static": True},
    "clang-shared": {"compiler": "clang"},
    "clang-static": {"compiler": "clang", "static": True},
    "g++": {"compiler": "g++", "standard": "c++17"},
    "clang++": {"compiler": "clang++", "standard": "c++17", "static": True},
}
C = FFI / "tests/c"
VALGRIND = ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full"]


@pytest.mark.parametrize("name", BUILDS)
def test_every_function_and_every_error(package, tmp_path, name):
    program = package.compile(C / "api.c", tmp_path / "api", **BUILDS[name])
    run(program, VECTORS, tmp_path)


@pytest.mark.parametrize("name", ["gcc-shared", "gcc-static", "clang-shared", "clang-static"])
def test_scores_are_the_cores_bit_by_bit(package, answers, tmp_path, name):
    program = package.compile(C / "vectors.c", tmp_path / "vectors", **BUILDS[name])
    # The embedded model answers the URLs of url-bytes as well.
    files = ["url-bytes", "url-bytes", "keras-char", "int8-url-bytes", "int8-keras-char"]
    count = sum(len(json.loads((VECTORS / f"{file}.json").read_text())["vectors"]) for file in files)
    assert f"{count} answers of {len(files)} models" in run(program, answers)


def test_a_wrong_bit_is_seen(package, answers, tmp_path):
    """The comparison can fail."""
    program = package.compile(C / "vectors.c", tmp_path / "vectors")
    wrong = tmp_path / "wrong.txt"
    text = answers.read_text()
    rows = [line.split() for line in text.splitlines() if not line.startswith("model")]
    logit = next(row[4] for row in rows if row[2] == "0")
    flipped = f"{int(logit, 16) ^ 1:x}"
    wrong.write_text(text.replace(f" {logit} ", f" {flipped} "))
    assert b"logit" in run(program, wrong, check=False).stderr


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_threads_share_a_model(package, tmp_path, static):
    run(package.compile(C / "threads.c", tmp_path / "threads", static=static))


def test_threads_race_free(package, tmp_path):
    """Helgrind sees the library's reads and writes too."""
    program = package.compile(C / "threads.c", tmp_path / "threads", flags=["-g", "-DROUNDS=1"])
    run("valgrind", "--quiet", "--tool=helgrind", "--error-exitcode=99", program)


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_allocates_nothing(package, tmp_path, static):
    program = package.compile(C / "no_malloc.c", tmp_path / "no_malloc", static=static)
    run(program, VECTORS / "url-bytes.safetensors")


@pytest.mark.parametrize("model", ["url-bytes", "keras-char"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_fuzz_under_sanitizers(package, tmp_path, compiler, model):
    program = package.compile(C / "fuzz.c", tmp_path / "fuzz", compiler, static=True, flags=SANITIZE)
    run(program, VECTORS / f"{model}.safetensors", 100_000)


def test_a_byte_too_far_ends_the_fuzzer(package, tmp_path):
    """The guard pages work: whoever writes one result too many does not survive."""
    greedy = tmp_path / "greedy.c"
    text = (C / "fuzz.c").read_text()
    call = "phishcnn_score_batch(with, texts, items,"
    assert call in text
    greedy.write_text(text.replace(call, call.replace("items,", "items + 1,")))
    program = package.compile(greedy, tmp_path / "greedy", static=True, flags=[f"-I{C}"])
    assert run(program, VECTORS / "url-bytes.safetensors", 1000, check=False).returncode < 0


def test_sanitizers(package, answers, tmp_path):
    """Error paths, vectors and examples; gcc's sanitizers are linked, as a known error shows."""
    build = {"static": True, "flags": SANITIZE}
    run(package.compile(C / "api.c", tmp_path / "api", **build), VECTORS, tmp_path)
    run(package.compile(C / "vectors.c", tmp_path / "vectors", **build), answers)
    run(package.compile(FFI / "examples/batch.c", tmp_path / "batch", **build))
    run(package.compile(FFI / "examples/score.c", tmp_path / "score", **build), "a.example")
    cpp = {**build, "compiler": "g++", "standard": "c++17"}
    run(package.compile(FFI / "examples/score.cpp", tmp_path / "score++", **cpp), "a.example")
    source = tmp_path / "wrong.c"
    source.write_text("#include <stdlib.h>\nint main(int c, char **v) { return ((char *)calloc(1, 1))[c] + !v; }\n")
    wrong = package.compile(source, tmp_path / "wrong", flags=SANITIZE)
    assert b"heap-buffer-overflow" in run(wrong, check=False).stderr


def test_valgrind(package, answers, tmp_path):
    """Valgrind watches the library's own code as well."""
    flags = ["-g"]
    api = package.compile(C / "api.c", tmp_path / "api", flags=flags)
    run(*VALGRIND, api, VECTORS, tmp_path)
    for source in ("batch", "score"):
        program = package.compile(FFI / f"examples/{source}.c", tmp_path / source, flags=flags)
        run(*VALGRIND, program, "http://a.example/", "http://b.example/c?d=e")
    cpp = package.compile(FFI / "examples/score.cpp", tmp_path / "s++", "g++", "c++17", flags=flags)
    run(*VALGRIND, cpp, "http://a.example/")
    vectors = package.compile(C / "vectors.c", tmp_path / "vectors", flags=flags)
    # The first model's; the longest explanations take minutes here, and ran above.
    first = answers.read_text().split("model ")[1]
    short = [line for line in first.splitlines()[1:] if int(line.split()[0]) < 300]
    (tmp_path / "first.txt").write_text("\n".join(["model " + first.splitlines()[0], *short]))
    run(*VALGRIND, vectors, tmp_path / "first.txt")


@pytest.mark.parametrize("model", ["url-bytes", "keras-char"])
def test_fuzz_under_valgrind(package, tmp_path, model):
    program = package.compile(C / "fuzz.c", tmp_path / "fuzz", flags=["-g"])
    run(*VALGRIND, program, VECTORS / f"{model}.safetensors", 10_000, 7)

"""Without an operating system: what the library needs, and a firmware that runs."""

import os
import re

import abi
from conftest import FFI, HONEST, PHISH, ROOT, run, undefined

TARGET = "thumbv7em-none-eabihf"
MEMORY = {"memcpy", "memmove", "memset", "memcmp"}
# Files are for hosts.
FUNCTIONS = sorted(set(abi.prototypes()) - {"phishcnn_model_load_file"})


def link(library, out, functions=FUNCTIONS):
    """All that these functions reach, as one object."""
    wanted = [word for name in functions for word in ("-u", name)]
    run("arm-none-eabi-ld", "-r", "--gc-sections", *wanted, library, "-o", out)
    return out


def build(tmp_path, *configurations):
    """A library of its own, built with `--cfg` configurations."""
    target = ROOT / "target/bare-metal-checks"
    flags = " ".join(f"--cfg {name}" for name in configurations)
    env = {**os.environ, "RUSTFLAGS": flags, "CARGO_TARGET_DIR": str(target)}
    run("make", "-s", "-C", FFI, "bare-metal", env=env)
    return target / TARGET / "bare-metal/libphishcnn.a"


def test_needs_only_the_four_memory_functions(bare_metal, tmp_path):
    linked = link(bare_metal, tmp_path / "linked.o")
    assert undefined(linked) <= MEMORY
    symbols = run("readelf", "--symbols", "--wide", linked)
    assert all(name in symbols for name in FUNCTIONS)
    assert not re.search(r"core3fmt|panick|alloc", symbols)


def test_no_panic_is_reachable(tmp_path):
    """The panic handler calls a function that does not exist; a control build reaches it."""
    linked = link(build(tmp_path, "phishcnn_panic_symbol"), tmp_path / "linked.o")
    assert undefined(linked) <= MEMORY
    control = build(tmp_path, "phishcnn_panic_symbol", "phishcnn_panic_control")
    linked = link(control, tmp_path / "control.o")
    assert "phishcnn_panic_is_reachable" in undefined(linked)
    assert re.search(r"core3fmt|panick", run("readelf", "--symbols", "--wide", linked))


def firmware(bare_metal, qemu, tmp_path):
    command, env = qemu
    mcu = FFI / "examples/mcu"
    make = ["make", "-s", "-C", mcu, f"LIBRARY={bare_metal}", f"OUT={tmp_path}"]
    run(*make)
    return run(*make, "run", f"QEMU={command}", env=env, timeout=120).splitlines()


def test_firmware(package, bare_metal, qemu, tmp_path):
    """A Cortex-M4F gives every bit that the host gives."""
    lines = firmware(bare_metal, qemu, tmp_path)
    source = tmp_path / "bits.c"
    source.write_text(
        "#include <phishcnn.h>\n#include <stdio.h>\n#include <string.h>\n"
        "static phishcnn_model model;\n"
        "static PHISHCNN_ALIGNED unsigned char scratch[PHISHCNN_EMBEDDED_SCRATCH_SIZE];\n"
        "int main(int argc, char **argv) {\n"
        "  phishcnn_result result;\n  unsigned bits;\n"
        "  if (argc != 2 || phishcnn_model_load_embedded(&model) != 0) return 1;\n"
        "  phishcnn_score(&model, argv[1], strlen(argv[1]), scratch, sizeof scratch, &result);\n"
        "  memcpy(&bits, &result.logit, sizeof bits);\n"
        '  printf("%s %08x %s\\n", phishcnn_verdict_text(result.verdict), bits, argv[1]);\n'
        "  return 0;\n}\n"
    )
    host = package.compile(source, tmp_path / "bits")
    assert lines[0] == run(host, HONEST).strip()
    assert lines[1] == run(host, PHISH).strip()
    assert lines[2] == "error 201 empty URL"
    assert lines[3] == "segments 7"

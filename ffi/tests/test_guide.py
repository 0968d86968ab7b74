"""The guides' programs do what the guides say, and the memory table holds what this build needs.

`make memory` rewrites the table.
"""

import os
import re
import shutil
import struct

import pytest
from conftest import FFI, ROOT, VECTORS, run
from test_bare_metal import firmware, link

GUIDE = FFI / "README.md"
PORTING = FFI / "PORTING.md"
MODELS = ROOT / "weights/models"
EMBEDDED = "phishcnn-compact"
# What pieces of programs in the guide have around them.
AROUND = """
#include <phishcnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static phishcnn_model model;
static PHISHCNN_ALIGNED unsigned char scratch[PHISHCNN_EMBEDDED_SCRATCH_SIZE];
int main(void) {
  const char *url = "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login";
  if (phishcnn_model_load_embedded(&model) != PHISHCNN_OK) return 1;
  if (url == NULL || scratch[0] != 0) return 1;
  %s
  return 0;
}
"""


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def programs():
    """Each C block of the guides, and what the guide says that it prints, if anything."""
    for page in (GUIDE, PORTING):
        text = page.read_text()
        for block in re.finditer(r"```c\n(.*?)```", text, re.DOTALL):
            until_next = text[block.end() :].split("```c\n")[0].split("\n## ")[0]
            printed = re.search(r"```text\n(.*?)```", until_next, re.DOTALL)
            code = block[1] if "int main(void)" in block[1] else AROUND % block[1]
            yield pytest.param(code, printed and printed[1], id=f"{page.stem}-{text[: block.start()].count('```c')}")


@pytest.mark.parametrize(("code", "printed"), list(programs()))
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_programs(package, tmp_path, compiler, code, printed):
    source = tmp_path / "program.c"
    source.write_text(code)
    (tmp_path / "other.safetensors").write_bytes((VECTORS / "url-bytes.safetensors").read_bytes())
    program = package.compile(source, tmp_path / "program", compiler, "c11")
    said = run(program, cwd=tmp_path)
    assert printed is None or said == printed
    assert "error" not in said and "109" not in said


def test_programs_are_found():
    found = list(programs())
    assert len(found) >= 8
    assert sum(parameters.values[1] is not None for parameters in found) == 2


def commands(page):
    """The `cc` commands of a page, each on one line."""
    text = "".join(blocks(page, "sh")).replace("\\\n", "")
    return [line for line in text.splitlines() if line.startswith("cc ")]


def as_installed(package):
    """What makes compiler and loader find the package under its DESTDIR."""
    return {
        "CPATH": str(package.include),
        "PKG_CONFIG_PATH": str(package.lib / "pkgconfig"),
        "LIBRARY_PATH": str(package.lib),
        "LD_LIBRARY_PATH": str(package.lib),
    }


def test_commands(package, tmp_path):
    """Compiling and linking as the guide says, against the installed package."""
    (tmp_path / "first.c").write_text(blocks(GUIDE, "c")[0])
    (tmp_path / "CMakeLists.txt").write_text(blocks(GUIDE, "cmake")[0])
    env = as_installed(package)
    compiles = commands(GUIDE)
    assert len(compiles) == 2
    for number, line in enumerate(compiles):
        run("sh", "-c", line, cwd=tmp_path, env=env)
        # The second, and only that, runs without the shared library.
        alone = run(tmp_path / "first", env={"LD_LIBRARY_PATH": ""}, check=False)
        assert (alone.stdout == b"phishing\n") is (number == 1)
        assert run(tmp_path / "first", env=env) == "phishing\n"
    run("cmake", f"-DCMAKE_PREFIX_PATH={package.lib.parent}", "-B", tmp_path / "build", "-S", tmp_path)
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build/first") == "phishing\n"


@pytest.mark.parametrize("name", ["squid", "milter"])
def test_integrations_compile_as_their_pages_say(package, tmp_path, name):
    folder = shutil.copytree(FFI / "examples" / name, tmp_path / name)
    (command,) = commands(folder / "README.md")
    run("sh", "-c", command, cwd=folder, env=as_installed(package))
    program = command.rsplit(" -o ", 1)[1]
    assert run(folder / program, "--nonsense", check=False, env=as_installed(package)).returncode == 2


def test_installs_where_the_guide_says(package):
    """`make -C ffi install` is the package fixture; the first block is its commands."""
    commands = blocks(GUIDE, "sh")[0].splitlines()
    assert commands == ["make -C ffi", "sudo make -C ffi install", "sudo ldconfig"]
    assert "prefix ?= /usr/local\n" in (FFI / "Makefile").read_text()


def test_model_in_flash(bare_metal, tmp_path):
    """The symbol that PORTING.md names is what the linker makes."""
    command = next(line for block in blocks(PORTING, "sh") for line in block.splitlines() if "-b binary" in line)
    (tmp_path / "phishcnn.safetensors").write_bytes((VECTORS / "url-bytes.safetensors").read_bytes())
    run("sh", "-c", command, cwd=tmp_path)
    assert "_binary_phishcnn_safetensors_start" in PORTING.read_text()
    assert "_binary_phishcnn_safetensors_start" in run("arm-none-eabi-nm", tmp_path / "model.o")


def sizes(binary):
    """Bytes in flash and static RAM."""
    text, data, bss = map(int, run("arm-none-eabi-size", binary).splitlines()[1].split()[:3])
    return text + data, data + bss


def cards():
    """Names of the models that have a card, the embedded one first."""
    found = sorted(path.stem for path in MODELS.glob("*.safetensors") if path.with_suffix(".md").exists())
    return [EMBEDDED, *(name for name in found if name != EMBEDDED)]


def table(package, bare_metal, qemu, tmp_path):
    """The memory table, as measured."""
    source = tmp_path / "sizes.c"
    source.write_text(
        "#include <phishcnn.h>\n#include <stdio.h>\nstatic phishcnn_model model;\nint main(int argc, char **argv) {\n"
        "  if (argc != 2 || phishcnn_model_load_file(&model, argv[1], 0, 0) != 0) return 1;\n"
        '  printf("%zu %zu\\n", phishcnn_model_scratch_size(&model), phishcnn_model_max_segments(&model));\n'
        "  return 0;\n}\n"
    )
    program = package.compile(source, tmp_path / "sizes")
    segment = struct.calcsize("<IIB3xf")  # with 32-bit pointers
    lines = [
        "| model | file, in flash | scratch | segments, at most |",
        "|---|---|---|---|",
    ]
    for name in cards():
        file = MODELS / f"{name}.safetensors"
        scratch, segments = map(int, run(program, file).split())
        inside = " (embedded)" if name == EMBEDDED else ""
        lines.append(f"| `{name}`{inside} | {file.stat().st_size:,} | {scratch:,} | {segments} × {segment} |")

    model = (MODELS / f"{EMBEDDED}.safetensors").stat().st_size
    every = sizes(link(bare_metal, tmp_path / "every.o"))[0] - model
    one = ["phishcnn_model_load_embedded", "phishcnn_score"]
    one = sizes(link(bare_metal, tmp_path / "one.o", one))[0] - model
    output = "\n".join(firmware(bare_metal, qemu, tmp_path))
    load, score, explain = map(int, re.search(r"stack load (\d+) score (\d+) explain (\d+)", output).groups())
    memory, scratch = map(int, re.search(r"model (\d+) bytes, scratch (\d+)", output).groups())
    flash, ram = sizes(tmp_path / "firmware.elf")
    lines += [
        "",
        "| Cortex-M4F, the embedded model | flash | RAM | stack |",
        "|---|---|---|---|",
        f"| `phishcnn_model` | | {memory:,} | |",
        f"| scratch | | {scratch:,} | |",
        f"| code: load the embedded model | {one:,} with score | | {load:,} |",
        f"| code: score | | | {score:,} |",
        f"| code: every function, explain | {every:,} | | {explain:,} |",
        f"| [`examples/mcu`](examples/mcu) whole, with the model, `printf` and all | {flash:,} | {ram:,} | |",
        "",
        "| host (x86-64), with the embedded model | file |",
        "|---|---|",
    ]
    for name in ("libphishcnn.so", "libphishcnn.a"):
        lines.append(f"| `{name}` | {(package.lib / name).resolve().stat().st_size:,} |")
    return "\n".join(lines)


def differs(stated, measured, tolerance=0.05):
    """Whether two tables differ in words, or in a number by more than the tolerance."""
    number = re.compile(r"\d[\d,]*")
    if number.sub("#", stated) != number.sub("#", measured):
        return True
    pairs = zip(number.findall(stated), number.findall(measured), strict=True)
    pairs = [tuple(int(text.replace(",", "")) for text in pair) for pair in pairs]
    return any(abs(a - b) > tolerance * b for a, b in pairs)


def test_memory_table(package, bare_metal, qemu, tmp_path):
    measured = table(package, bare_metal, qemu, tmp_path)
    text = GUIDE.read_text()
    head, stated, tail = re.fullmatch(r"(.*<!-- memory -->\n)(.*?)\n?(<!-- /memory -->.*)", text, re.DOTALL).groups()
    if os.environ.get("WRITE_MEMORY_TABLE"):
        GUIDE.write_text(f"{head}{measured}\n{tail}")
        return
    assert not differs(stated, measured), f"`make -C ffi memory` writes what is so now:\n{measured}"


def test_a_wrong_table_is_seen(package):
    stated = GUIDE.read_text().split("<!-- memory -->\n")[1].split("\n<!-- /memory -->")[0]
    assert not differs(stated, stated)
    number = re.search(r"\d[\d,]{5,}", stated)[0]
    grown = int(int(number.replace(",", "")) * 1.06)
    assert differs(stated, stated.replace(number, f"{grown:,}", 1))
    assert differs(stated, stated.replace("flash", "ROM", 1))

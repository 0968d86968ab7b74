"""The ABI of the shared library, one fact a line, and its record in `tests/abi/SONAME.txt`.

The test compares; `make abi` (`abi.py --record`) records. With the same soname, what is recorded
never changes: a program that was linked with it must go on working. New functions and constants
may come.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

FFI = Path(__file__).resolve().parent.parent
HEADER = FFI / "include/phishcnn.h"
RECORDS = FFI / "tests/abi"
LIBRARY = FFI.parent / "target/c"


def header_text():
    """The header without comments and preprocessor lines."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    return re.sub(r"^#.*?(?<!\\)$", "", text, flags=re.MULTILINE | re.DOTALL)


def prototypes():
    """Function name → declaration on one line."""
    found = re.findall(r"^[a-z][^;{}]*?\b(phishcnn_\w+)\([^;]*\);", header_text(), re.MULTILINE)
    declarations = re.findall(r"^([a-z][^;{}]*?\bphishcnn_\w+\([^;]*\));", header_text(), re.MULTILINE)
    return {n: re.sub(r"\s+", " ", d) for n, d in zip(found, declarations, strict=True)}


def structures():
    """Structure name → names of its fields."""
    found = re.findall(r"typedef struct (\w+) \{(.*?)\} \w+;", header_text(), re.DOTALL)
    return {name: re.findall(r"(\w+)(?:\[\w+\])?;", body) for name, body in found}


def constants():
    """Names of the numbers."""
    return re.findall(r"^\s+(PHISHCNN_\w+) = ", header_text(), re.MULTILINE)


def layout():
    """Sizes, offsets and numbers as this machine's C compiler sees them."""
    lines = []
    for name, fields in structures().items():
        lines.append(f'printf("struct {name} size %zu\\n", sizeof({name}));')
        for field in fields:
            lines.append(
                f'printf("field {name}.{field} offset %zu size %zu\\n", '
                f"offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
            )
    for name in ("phishcnn_status", "phishcnn_verdict"):
        lines.append(f'printf("type {name} size %zu\\n", sizeof({name}));')
    for name in constants():
        lines.append(f'printf("number {name} %d\\n", (int){name});')
    source = "#include <phishcnn.h>\n#include <stdio.h>\nint main(void) {\n"
    source += "\n".join(lines) + "\nreturn 0;\n}\n"
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "layout"
        command = ["gcc", "-x", "c", "-", f"-I{HEADER.parent}", "-o", program]
        subprocess.run(command, input=source.encode(), check=True)
        return subprocess.run([program], capture_output=True, check=True).stdout.decode()


def soname(library):
    dynamic = subprocess.run(["readelf", "-d", library], capture_output=True, check=True)
    return re.search(r"SONAME.*\[(.*)\]", dynamic.stdout.decode())[1]


def exported(library):
    table = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, check=True)
    return {line.split()[-1] for line in table.stdout.decode().splitlines()}


def current(library):
    lines = [f"function {declaration}" for declaration in prototypes().values()]
    lines += [f"symbol {name}" for name in exported(library)]
    return sorted(set(lines + layout().splitlines()))


def compare(recorded, now):
    """What has changed or gone, and what is new."""
    return [f for f in recorded if f not in now], [f for f in now if f not in recorded]


def record(folder, name, now):
    """Writes the record; refuses to change one."""
    path = folder / f"{name}.txt"
    recorded = path.read_text().splitlines() if path.exists() else []
    gone, _ = compare(recorded, now)
    if gone:
        sys.exit(
            f"{name} is what programs are linked with, and this is no longer so:\n"
            + "\n".join(gone)
            + "\nRaise the version in the workspace's Cargo.toml so that "
            "the soname changes, or keep the ABI."
        )
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(now) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        sys.exit("usage: abi.py --record")
    shared = next(LIBRARY.glob("libphishcnn.so.*"))
    record(RECORDS, soname(shared), current(shared))

"""What the tests of other targets share: one model, the same URLs, one program that prints bits."""

import json
import random

from conftest import FFI, ROOT, VECTORS, run

# The int8 model, as every target reads it.
MODEL = ROOT / "weights/models/phishcnn-compact.safetensors"
BITS = FFI / "tests/c/bits.c"
CHARACTERS = b"abcdefghijklmnopqrstuvwxyz" * 3 + b"0123456789" * 2 + b"/.?=&-%:@#_~ \t\x00\x7f\xc3\xa9\xff"


def urls(folder, count):
    """Writes the golden vectors' URLs and `count` made-up ones, of those without a line's end."""
    lines = []
    for vector in json.loads((VECTORS / "url-bytes.json").read_text())["vectors"]:
        url = bytes.fromhex(vector["url_hex"]) if "url_hex" in vector else vector["url"].encode()
        repeat = vector.get("repeat", {"text": "", "times": 0})
        lines.append(url + repeat["text"].encode() * repeat["times"])
    chance = random.Random(1)
    for _ in range(count):
        length = chance.randrange(300 if chance.randrange(8) == 0 else 80)
        lines.append(b"http://" + bytes(chance.choices(CHARACTERS, k=length)))
    folder.mkdir()
    # (bits.c holds a line of up to 4,096 bytes.)
    lines = [line for line in lines if b"\n" not in line and len(line) < 4096]
    (folder / "urls").write_bytes(b"".join(line + b"\n" for line in lines))
    return folder


def host(package, folder, model=MODEL):
    """The host's bits of the URLs, without the backend."""
    program = package.compile(BITS, folder / "bits")
    lines = run(program, model, cwd=folder).splitlines()
    # (The smallest fixture sees a URL's largest values and nothing else.)
    assert len(set(lines)) > (len(lines) / 2 if model == MODEL else 8)
    assert not any(lines[0] == line for line in lines[1:])
    return lines[1:]

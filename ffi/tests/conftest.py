"""The library as its users get it: installed by `make install`, found by pkg-config."""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FFI = Path(__file__).resolve().parent.parent
ROOT = FFI.parent
VECTORS = ROOT / "core/tests/vectors"
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
PHISH = "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login"
HONEST = "https://en.wikipedia.org/wiki/Phishing"

# `make test` calls `make ffi`: the tests' own makes shall print as when called by hand.
for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
    os.environ.pop(variable, None)


def run(*command, check=True, env=None, **more):
    """Runs a command; its output, with everything it said when it fails."""
    environment = {**os.environ, **(env or {})}
    done = subprocess.run([str(word) for word in command], capture_output=True, env=environment, **more)
    output = done.stdout.decode(errors="replace")
    if check and done.returncode != 0:
        said = output + done.stderr.decode(errors="replace")
        pytest.fail(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{said}")
    return output if check else done


@dataclasses.dataclass
class Package:
    """An installed library, under a DESTDIR."""

    destdir: Path
    prefix: Path

    @property
    def lib(self):
        return self.destdir / self.prefix.relative_to("/") / "lib"

    @property
    def include(self):
        return self.destdir / self.prefix.relative_to("/") / "include"

    def pkg_config(self, *words):
        env = {
            "PKG_CONFIG_SYSROOT_DIR": str(self.destdir),
            "PKG_CONFIG_PATH": str(self.lib / "pkgconfig"),
        }
        return run("pkg-config", *words, "phishcnn", env=env).split()

    def compile(self, source, out, compiler="gcc", standard="c99", static=False, flags=()):
        """Compiles one of the tests or examples; the program finds the shared library itself."""
        if static:
            # As `pkg-config --static`, for this library alone.
            libraries = [
                word if word != "-lphishcnn" else self.lib / "libphishcnn.a"
                for word in self.pkg_config("--static", "--libs")
            ]
        else:
            libraries = [*self.pkg_config("--libs"), f"-Wl,-rpath,{self.lib}"]
        language = ["-x", "c++"] if standard.startswith("c++") else []
        run(
            *(compiler, f"-std={standard}", *WARNINGS, *flags),
            *(*self.pkg_config("--cflags"), *language, source, "-x", "none"),
            *(*libraries, "-lm", "-lpthread", "-o", out),
        )
        return out


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    destdir = tmp_path_factory.mktemp("destdir")
    prefix = Path("/opt/phishcnn")
    run("make", "-s", "-C", FFI, "install", f"DESTDIR={destdir}", f"prefix={prefix}")
    return Package(destdir, prefix)


@pytest.fixture(scope="session")
def answers(tmp_path_factory):
    """The core's answers to the golden vectors' URLs, as tests/c/vectors.c reads them."""
    file = tmp_path_factory.mktemp("answers") / "answers.txt"
    manifest = FFI / "tools/Cargo.toml"
    file.write_text(run("cargo", "run", "--quiet", "--release", "--manifest-path", manifest, "--", "vectors"))
    return file


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The int8 models of the core's tests: together every layer kind and option."""
    folder = tmp_path_factory.mktemp("models")
    words = ["-p", "phishcnn-core", "--test", "suite", "--", "--ignored", "--exact", "int8::write_models"]
    run("cargo", "test", "--quiet", *words, env={"PHISHCNN_TEST_MODELS": str(folder)}, cwd=ROOT)
    found = sorted(folder.iterdir())
    assert len(found) >= 12
    return found


@pytest.fixture(scope="session")
def bare_metal():
    """The library for a Cortex-M4F."""
    run("make", "-s", "-C", FFI, "bare-metal")
    return ROOT / "target/thumbv7em-none-eabihf/bare-metal/libphishcnn.a"


@pytest.fixture(scope="session")
def qemu():
    """The command `qemu-system-arm`, and the environment that it needs."""
    installed = shutil.which("qemu-system-arm")
    if installed:
        return installed, {}
    unpacked = ROOT / "target/qemu"
    folders = [unpacked / "usr/lib/x86_64-linux-gnu", unpacked / "lib/x86_64-linux-gnu"]
    command = f"{unpacked}/usr/bin/qemu-system-arm -L {unpacked}/usr/share/qemu"
    return command, {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


def undefined(*objects):
    """Names of the undefined symbols of object files. (nm stumbles over Rust's bitcode.)"""
    table = run("readelf", "--symbols", "--wide", *objects)
    rows = (line.split() for line in table.splitlines())
    return {row[7] for row in rows if len(row) == 8 and row[6] == "UND"}

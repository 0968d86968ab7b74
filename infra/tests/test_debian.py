"""The Debian package: what is in it, that Debian's own checker finds no error, that it can be built upon."""

import os
import re
import subprocess

import pytest
from conftest import ROOT

UNIT = ROOT / "infra/debian/phishcnn.service"
ROLES_UNIT = ROOT / "infra/ansible/roles/phishcnn/templates/phishcnn.service.j2"


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def tree(deb, tmp_path_factory):
    """The package's files, unpacked."""
    folder = tmp_path_factory.mktemp("package")
    run("dpkg-deb", "--extract", deb, folder)
    return folder


def library(tree):
    [folder] = (tree / "usr/lib").glob("*-linux-*")
    return folder


def test_lintian_finds_nothing(deb):
    done = subprocess.run(["lintian", "--fail-on", "error,warning", deb], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_same_inputs_give_the_same_bytes(deb, binary):
    first = deb.read_bytes()
    run(ROOT / "infra/debian/build.sh", env=os.environ | {"PHISHCNN": str(binary)})
    assert deb.read_bytes() == first


def test_command_and_manual(tree, binary):
    command = tree / "usr/bin/phishcnn"
    assert command.read_bytes() == binary.read_bytes()
    commands = re.findall(r"^  ([a-z]+) ", run(command, "--help").split("Commands:")[1].split("Options:")[0], re.M)
    pages = {path.name for path in (tree / "usr/share/man/man1").iterdir()}
    assert pages == {"phishcnn.1.gz"} | {f"phishcnn-{name}.1.gz" for name in commands if name != "help"}
    page = run("man", "--local-file", tree / "usr/share/man/man1/phishcnn-serve.1.gz")
    assert "PHISHCNN_TRUSTED_PROXIES" in page


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_a_program_builds_against_it(tree, tmp_path, static):
    lib = library(tree)
    environment = {
        "PKG_CONFIG_LIBDIR": str(lib / "pkgconfig"),
        "PKG_CONFIG_SYSROOT_DIR": str(tree),
        "PATH": "/usr/bin:/bin",
    }
    options = run("pkg-config", "--cflags", "--libs", *(["--static"] if static else []), "phishcnn", env=environment)
    options = options.replace("-lphishcnn", "-l:libphishcnn.a") if static else options
    run("cc", ROOT / "ffi/examples/score.c", *options.split(), "-o", tmp_path / "score")
    said = run(
        tmp_path / "score", "http://paypal.com.secure-login.account-verify.ru/webscr", env={"LD_LIBRARY_PATH": str(lib)}
    )
    assert said.startswith("phishing")


def test_control_names_what_the_library_needs(deb, tree):
    fields = dict(line.split(": ", 1) for line in run("dpkg-deb", "--field", deb).splitlines() if line[0] != " ")
    assert "libc6" in fields["Depends"] and fields["Package"] == "phishcnn"
    assert fields["Version"] == run(tree / "usr/bin/phishcnn", "--version").split()[-1]
    # Removing it must leave the host's settings alone.
    assert run("dpkg-deb", "--info", deb, "conffiles").split() == ["/etc/default/phishcnn"]


def lines(path, begin):
    """The unit's lines from the first that starts so."""
    text = path.read_text()
    return text[text.index(begin) :].splitlines()


def test_unit_is_as_hardened_as_the_roles(tree):
    assert lines(UNIT, "CapabilityBoundingSet=") == lines(ROLES_UNIT, "CapabilityBoundingSet=")
    shared = {
        line
        for line in lines(ROLES_UNIT, "[Unit]")
        if re.match(r"Restart|StartLimit|LimitNOFILE|ExecReload|Type|IPAddressDeny", line)
    }
    assert len(shared) == 7 and shared <= set(lines(UNIT, "[Unit]"))
    assert (tree / "usr/lib/systemd/system/phishcnn.service").read_text() == UNIT.read_text()

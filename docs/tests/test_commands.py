"""Every command block of every page runs, or its marker says where it is run, or what it needs.

A command block is fenced as `sh` (all of it commands) or `console` (commands behind `$ `, the rest is
what they print: `…` stands for anything, and white space at the end of a line does not count). On the line before it may stand

    <!-- serve -->            127.0.0.1:8000 is a service that runs meanwhile
    <!-- tree -->             it runs in the root of the tree, else in an empty folder
    <!-- rows -->             it runs in a copy of weights/mine/, with made-up rows.tsv and without `phishcnn` on PATH
    <!-- fails: 1 -->         its last command ends with this exit code
    <!-- tested: FILE -->     it is run elsewhere: by a file of tests, or by a target `make NAME`
    <!-- needs: REASON -->    it is not run; what it needs: a cluster, hosts, somebody's rows

`phishcnn` is the binary, `cargo run --release --` too: the build from nothing is `tools/fresh.sh`'s.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest
from conftest import ROOT

MARKS = ("serve", "tree", "rows", "fails", "tested", "needs")
LANGUAGES = ("sh", "console")


@dataclass
class Block:
    page: str
    line: int
    language: str
    text: str
    marks: dict[str, str]

    def __str__(self):
        return f"{self.page}:{self.line}"


def pages():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return sorted(set(listed.stdout.split()))


def blocks(page, text):
    """The fenced blocks of a page, with the markers in front of them."""
    marks, fence, start, language = {}, None, 0, ""
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        opened = re.fullmatch(r"( *)(`{3,})(\w*).*", line)
        if fence is not None:
            if line.strip() == fence:
                yield Block(page, start, language, "\n".join(body) + "\n", marks)
                fence, marks = None, {}
            else:
                body.append(line)
        elif opened:
            fence, language, start, body = opened[2], opened[3], number, []
        elif mark := re.fullmatch(r" *<!-- (\w+)(?:: (.*))? -->", line):
            if mark[1] in MARKS:
                marks[mark[1]] = mark[2] or ""
        elif line.strip() and not line.lstrip().startswith("<!-- "):
            marks = {}
    assert fence is None, f"{page}:{start}: the block does not end"


def indented(page, text):
    """Indented blocks that are commands: only with a marker that says where they run."""
    text = re.sub(r"^( *)(`{3,}).*?^\1\2 *$", lambda m: "\n" * m[0].count("\n"), text, flags=re.M | re.S)
    for block in re.finditer(r"(?:<!-- (\w+): (.*) -->\n)?\n((?: {4}\S.*\n?)+)", text):
        if re.match(r"    (\$P|\$ |P=|PATH=|\./|python|dvc|cargo|make|pip|phishcnn) ?", block[3]):
            marks = {block[1]: block[2]} if block[1] else {}
            yield Block(page, text.count("\n", 0, block.start(3)) + 1, "indented", block[3], marks)


ALL = [block for page in pages() for block in blocks(page, (ROOT / page).read_text())]
INDENTED = [block for page in pages() for block in indented(page, (ROOT / page).read_text())]
COMMANDS = [block for block in ALL if block.language in LANGUAGES] + INDENTED
RUN = [block for block in COMMANDS if block.language in LANGUAGES and not {"tested", "needs"} & set(block.marks)]


def test_every_block_has_a_language():
    """Else a command could hide in it."""
    assert not [str(block) for block in ALL if not block.language]


def test_no_command_hides_in_another_language():
    told = [
        str(b)
        for b in ALL
        if b.language == "text" and re.search(r"^(\$ |make |pip |cargo |helm |phishcnn )", b.text, re.M)
    ]
    told = [t for t in told if not t.startswith("docs/command.md")]  # the help's own examples
    assert not told


def test_indented_commands_are_marked():
    assert not [str(block) for block in INDENTED if not {"tested", "needs"} & set(block.marks)]


def test_markers_say_something():
    for block in COMMANDS:
        if "needs" in block.marks:
            assert len(block.marks["needs"].split()) >= 3, f"{block}: what does it need?"
        if "tested" in block.marks:
            where = block.marks["tested"]
            if where.startswith("make "):
                assert re.search(rf"^{where[5:]}:", (ROOT / "Makefile").read_text(), re.M), f"{block}: {where}"
            else:
                file, _, name = where.partition("::")
                assert (ROOT / file).is_file() and name in (ROOT / file).read_text(), f"{block}: {where}"


def commands(block):
    """(shell command, what it prints or None), in order."""
    if block.language == "sh":
        return [(block.text, None)]
    found, lines = [], iter(block.text.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line[2:]
            while command.endswith("\\"):
                command += "\n" + next(lines)
            found.append((command, []))
        else:
            assert found, f"{block}: output before the first command"
            found[-1][1].append(line)
    return found


def same(said, wanted):
    """Whether the lines are those; a line of nothing but `…` is any number of lines."""
    said = [line.rstrip() for line in said.rstrip("\n").split("\n") if said]
    fits = {0}  # how many lines of what was said may be used up
    for line in wanted:
        if line.strip() == "…":
            fits = set(range(min(fits), len(said) + 1)) if fits else set()
        else:
            pattern = re.escape(line.rstrip()).replace("…", ".*")
            fits = {n + 1 for n in fits if n < len(said) and re.fullmatch(pattern, said[n])}
    return len(said) in fits


@pytest.fixture(scope="session")
def service(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    command = [binary, "serve", "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if address := re.search(r"on http://(127\.0\.0\.1:\d+)", line):
            break
    yield address[1]
    process.terminate()
    assert process.wait() == 0


@pytest.mark.parametrize("block", RUN, ids=str)
def test_command(block, binary, request, tmp_path):
    folder = ROOT if "tree" in block.marks else tmp_path
    shutil.copy(ROOT / "core/tests/vectors/url-bytes.safetensors", tmp_path / "other.safetensors")
    if "rows" in block.marks:
        folder = weights_folder(tmp_path)
    tools = tmp_path / "bin"
    tools.mkdir()
    if "rows" not in block.marks:  # there the block itself says where they are
        (tools / "phishcnn").symlink_to(binary)
        (tools / "python").symlink_to(sys.executable)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PHISHCNN_")}
    environment |= {"PATH": f"{tools}:{environment['PATH']}", "NO_COLOR": "1", "HOME": str(tmp_path)}
    environment |= {k: os.environ[k] for k in ("CARGO_HOME", "RUSTUP_HOME") if k in os.environ}
    for place, name in (("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")):
        environment.setdefault(place, os.path.expanduser(f"~/{name}"))
    for command, wanted in commands(block):
        command = command.replace("cargo run --release -- ", "phishcnn ")
        if "serve" in block.marks:
            command = command.replace("127.0.0.1:8000", request.getfixturevalue("service"))
        if re.fullmatch(r"phishcnn serve.*\n?", command):
            starts_and_answers(command, folder, environment)
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=folder, env=environment, capture_output=True, text=True
        )
        code = int(block.marks.get("fails", 0)) if (command, wanted) == commands(block)[-1] else 0
        assert done.returncode == code, f"{block}: {command}\n{done.stdout}{done.stderr}"
        if wanted is not None:
            assert same(done.stdout + done.stderr, wanted), (
                f"{block}: {command} says\n{done.stdout}{done.stderr}\nnot\n" + "\n".join(wanted)
            )


def weights_folder(folder):
    """What training needs, beside a `.venv`; and rows that somebody could have."""
    (folder / ".venv").symlink_to(ROOT / ".venv")
    made = shutil.ignore_patterns("__pycache__", "build", "cache", "data", "models", "rows.tsv", "CHANGELOG.md")
    for name in ("phishcnn_train", "fixtures", "mine"):
        shutil.copytree(ROOT / "weights" / name, folder / "weights" / name, ignore=made)
    for name in ("DATA.md", "evaluation.toml", "known_sites.txt", "requirements.txt", "requirements-evaluation.txt"):
        shutil.copy(ROOT / "weights" / name, folder / "weights")
    mine = folder / "weights/mine"
    program = "import pathlib, synthetic; synthetic.write(pathlib.Path('rows.tsv'), 4000, 1)"
    path = {**os.environ, "PYTHONPATH": str(ROOT / "weights/tests")}
    subprocess.run([sys.executable, "-c", program], cwd=mine, env=path, check=True)
    return mine


def starts_and_answers(command, folder, environment):
    """`phishcnn serve` on a free port; it answers, and stops when it is told to."""
    command = command.strip() + " --listen 127.0.0.1:0"
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )
    said = ""
    for line in process.stderr:
        said += line
        if address := re.search(r"on (http://127\.0\.0\.1:\d+)", line):
            page = subprocess.run(["curl", "-sf", address[1] + "/"], capture_output=True, text=True)
            assert "<title>" in page.stdout
            break
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0, said


def test_the_wheel_needs_nothing_before_it(tmp_path):
    """In a clone that has no .venv. (The tests themselves run behind `make setup`, which would hide what is missing.)"""
    shutil.copy(ROOT / "Makefile", tmp_path)
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    said = subprocess.run(
        ["make", "--dry-run", "wheel"], cwd=tmp_path, env=alone, capture_output=True, text=True, check=True
    )
    venv, install, *_, build, into = said.stdout.splitlines()
    assert venv == "tools/venv.sh" and install.split()[-1] == "maturin" and "maturin build" in build and ".whl" in into


def test_output_is_compared():
    assert same("a 1 b\n", ["a … b"]) and not same("a 1 c\n", ["a … b"])
    assert (
        same("1\n2\n3\n", ["1", "…", "3"]) and same("1\n3\n", ["1", "…", "3"]) and not same("1\n2\n", ["1", "…", "3"])
    )
    assert same("", []) and not same("x", [])

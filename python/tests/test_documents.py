"""README, notebook and types say what is true."""

import doctest
import subprocess
import sys

import nbformat
import phishcnn
import pytest
from conftest import ROOT
from nbclient import NotebookClient

PYTHON = ROOT / "python"


def test_readme_examples():
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    result = doctest.testfile(str(PYTHON / "README.md"), module_relative=False, optionflags=flags)
    assert result.attempted > 10 and result.failed == 0


@pytest.mark.parametrize("name", ["first_steps"])
def test_notebooks_run(name, tmp_path):
    notebook = nbformat.read(PYTHON / f"examples/{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    html = [
        o.data["text/html"]
        for c in notebook.cells
        if c.cell_type == "code"
        for o in c.outputs
        if "data" in o and "text/html" in o.data
    ]
    assert any("phishing" in text and "<span" in text for text in html)
    assert not any(c.get("outputs") for c in nbformat.read(PYTHON / f"examples/{name}.ipynb", as_version=4).cells)


@pytest.mark.parametrize(
    "command",
    [
        ["mypy"],
        [
            "mypy.stubtest",
            "phishcnn",
            "--mypy-config-file",
            "pyproject.toml",
            "--allowlist",
            "tests/stubtest-allowed.txt",
        ],
    ],
)
def test_types(command):
    run = subprocess.run([sys.executable, "-m", *command], cwd=PYTHON, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_users_see_the_types(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import phishcnn\n"
        "reveal_type(phishcnn.Model().score('a').logit)\n"
        "reveal_type(phishcnn.Model().score_batch(['a'], threads=2).errors)\n"
        "phishcnn.Model().score(1)\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert 'is "float"' in run.stdout and "unsignedinteger" in run.stdout
    assert 'has incompatible type "int"' in run.stdout and run.stdout.count("error") == 2


def test_everything_public_is_documented():
    for name in phishcnn.__all__:
        thing = getattr(phishcnn, name)
        if callable(thing):
            assert (thing.__doc__ or "").strip(), name
    assert phishcnn.__version__ in (ROOT / "Cargo.toml").read_text()

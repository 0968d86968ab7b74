"""The command: the same as the binary's, and every form of table in and out."""

import csv
import gzip
import io
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import phishcnn
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import BINARY, ROOT, random_urls

URLS = ["http://a.b.co.uk/x,y", "", 'https://bücher.example/"q"\t\\', *random_urls(40), "x" * 70_000]
OTHER = ROOT / "core/tests/vectors/url-bytes.safetensors"


def phishcnn_command(*arguments, **options) -> subprocess.CompletedProcess:
    options = {"capture_output": True, "timeout": 120, **options}
    return subprocess.run([sys.executable, "-m", "phishcnn", *map(str, arguments)], **options)


def rows(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


COMMANDS = [
    [],
    ["--version"],
    ["score", "https://a.example/", "", "b"],
    ["score", "urls.txt", "--format", "tsv"],
    ["score", "urls.txt.gz", "--format", "csv", "--threads", "2"],
    ["score", "urls.txt", "-", "--format", "ndjson", "--base-rate", "0.01"],
    ["score", "table.csv", "--column", "link"],
    ["score", "table.csv", "--column", "none"],
    ["score", "table.jsonl", "--column", "link", "--format", "ndjson", "--model", OTHER],
    ["score", "--threads", "0"],
    ["score", "nowhere/urls.txt", "/nowhere"],
    ["score", "a", "--model", "nowhere"],
    ["score", "a", "--model", "urls.txt"],
    ["explain", "http://paypal.com.verify.example/login?a=b#c"],
    ["explain", "http://u:p@192.0.2.1:8080/%00", "--format", "json"],
    ["explain", ""],
    ["model", "info"],
    ["model", "info", OTHER, "--format", "json"],
    ["model", "check", OTHER],
    ["model", "check", "urls.txt"],
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    text = "\n".join(URLS).encode() + b"\n\xff\xfe\0"
    (tmp_path / "urls.txt").write_bytes(text)
    (tmp_path / "urls.txt.gz").write_bytes(gzip.compress(text))
    with open(tmp_path / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([("id", "link"), *enumerate(URLS)])
    (tmp_path / "table.jsonl").write_text("".join(json.dumps({"link": url}) + "\n" for url in [*URLS, None, 1]))
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(map(str, command))[:60])
def test_output_and_exit_code_are_those_of_the_binary(command, files):
    options = {"cwd": files, "input": b"http://stdin.example/\n\n", "timeout": 120, "capture_output": True}
    ours = phishcnn_command(*command, **options)
    binary = subprocess.run([BINARY, *map(str, command)], **options)
    assert (ours.returncode, ours.stdout) == (binary.returncode, binary.stdout)
    if command:  # The binary has more commands, and so another help.
        assert ours.stderr == binary.stderr


# Parquet packs its columns itself.
FORMS = [(name, packed) for name in ("in.txt", "in.csv", "in.jsonl", "in.ndjson") for packed in ("", ".gz", ".zst")]


@pytest.mark.parametrize("name, packed", [*FORMS, ("in.parquet", "")])
def test_every_form_is_read(name, packed, tmp_path):
    urls = [url for url in URLS if "\n" not in url]
    if name == "in.parquet":
        pq.write_table(pa.table({"n": range(len(urls)), "link": urls}), tmp_path / name, row_group_size=7)
    else:
        file = io.StringIO(newline="")
        if name == "in.txt":
            file.write("".join(url + "\n" for url in urls))
        elif name == "in.csv":
            csv.writer(file).writerows([("n", "link"), *enumerate(urls)])
        else:
            file.writelines(json.dumps({"n": 0, "link": url}) + "\n" for url in urls)
        codec = {"": None, ".gz": "gzip", ".zst": "zstd"}[packed]
        with pa.output_stream(str(tmp_path / (name + packed)), compression=codec) as out:
            out.write(file.getvalue().encode())
    column = [] if name == "in.txt" else ["--column", "link"]
    run = phishcnn_command("score", tmp_path / (name + packed), *column, "--format", "ndjson")
    assert run.returncode == 1, run.stderr
    assert [row["url"] for row in rows(run.stdout)] == urls
    expected = phishcnn.Model().score_batch(urls)
    assert [row.get("error", {}).get("code", 0) for row in rows(run.stdout)] == expected.errors.tolist()
    logits = np.array([row.get("logit", np.nan) for row in rows(run.stdout)], np.float32)
    assert logits.tobytes() == expected.logit.tobytes()


@pytest.mark.parametrize("name", ["o.csv", "o.tsv", "o.ndjson", "o.jsonl.gz", "o.csv.zst", "o.txt.gz", "o.parquet"])
def test_every_form_is_written(name, files):
    command = ["score", files / "urls.txt", "--output", files / name]
    run = phishcnn_command(*command)
    assert (run.returncode, run.stdout) == (1, b""), run.stderr
    expected = phishcnn.Model().score_batch([*URLS, b"\xff\xfe\0"])
    if name == "o.parquet":
        table = pq.read_table(files / name)
        errors = [int((error or "0").split(":")[0]) for error in table["error"].to_pylist()]
        assert errors == expected.errors.tolist()
        assert table["url"].to_pylist() == [*URLS, "\ufffd\ufffd\0"]
        assert table["logit"].to_numpy().tobytes() == expected.logit.tobytes()
        assert table["verdict"].to_pylist()[0] == "benign" and table["truncated"].null_count == 2
        return
    form = {"o.csv": "csv", "o.tsv": "tsv", "o.csv.zst": "csv", "o.txt.gz": "text"}.get(name, "ndjson")
    plain = phishcnn_command("score", files / "urls.txt", "--format", form).stdout
    with pa.input_stream(str(files / name)) as packed:  # An independent reader of gzip and zstd.
        assert packed.read() == plain
    if form == "csv":
        assert [row["url"] for row in csv.DictReader(io.StringIO(plain.decode(errors="replace"), newline=""))][
            :-1
        ] == URLS


def test_parquet_with_nulls_and_odd_types(tmp_path):
    path = tmp_path / "in.parquet"
    for column in (
        pa.array(["a", None, ""]),
        pa.array(["a", None, ""]).dictionary_encode(),
        pa.array([b"a", None, b""]),
    ):
        pq.write_table(pa.table({"url": column}), path)
        run = phishcnn_command("score", path, "--output", tmp_path / "out.parquet")
        assert run.returncode == 1, run.stderr
        out = pq.read_table(tmp_path / "out.parquet")
        assert [e and e[:3] for e in out["error"].to_pylist()] == [None, "203", "201"]
    pq.write_table(pa.table({"url": [1, 2]}), path)
    run = phishcnn_command("score", path)
    assert run.returncode == 1 and b"a column of text is needed" in run.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["table.parquet", "--column", "nope"], ["402", "nope", "id, link"]),
        (["no.parquet"], ["402", "no.parquet"]),
        (["urls.txt", "--format", "parquet"], ["402", "--output"]),
        (["--input", "parquet"], ["402", "standard input"]),
        (["urls.txt", "--column", "link"], ["402", "--input"]),
        (["urls.txt", "--output", "no/where.csv"], ["no/where.csv"]),
    ],
)
def test_wrong_use_of_tables_is_explained(arguments, words, files):
    pq.write_table(pa.table({"id": [1], "link": ["a"]}), files / "table.parquet")
    (files / "no.parquet").write_text("not parquet")
    run = phishcnn_command("score", *arguments, cwd=files, input=b"")
    assert run.returncode == 2
    for word in words:
        assert word in run.stderr.decode()


def test_the_binary_points_to_the_wheel_for_parquet(files):
    pq.write_table(pa.table({"url": ["a"]}), files / "table.parquet")
    run = subprocess.run([BINARY, "score", files / "table.parquet"], capture_output=True)
    assert run.returncode == 2 and b"402" in run.stderr and b"PyArrow" in run.stderr


def test_without_pyarrow_parquet_is_refused_with_the_way_out(files):
    pq.write_table(pa.table({"url": ["a"]}), files / "table.parquet")
    code = "import sys; sys.modules['pyarrow'] = None; from phishcnn.__main__ import main; main()"
    run = subprocess.run([sys.executable, "-c", code, "score", files / "table.parquet"], capture_output=True)
    assert run.returncode == 2 and b"phishcnn[parquet]" in run.stderr


def test_a_progress_bar_on_a_terminal_and_only_there(files):
    primary, replica = pty.openpty()
    big = files / "big.txt"
    big.write_text("\n".join(random_urls(3000)))
    phishcnn_command("score", big, "--output", files / "o.csv", stderr=replica, capture_output=False)
    os.close(replica)
    shown = os.read(primary, 1 << 16).decode()
    os.close(primary)
    assert "of" in shown and "B/s" in shown
    assert phishcnn_command("score", big, "--output", files / "o.csv").stderr == b""


def test_control_c_ends_the_command():
    process = subprocess.Popen(
        [sys.executable, "-m", "phishcnn", "score", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(b"http://a.example/\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith(b"benign")  # It runs, and waits for more.
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == -signal.SIGINT


@pytest.mark.parametrize("name", ["in.txt", "in.csv", "in.ndjson", "in.parquet"])
def test_memory_does_not_grow_with_the_file(name, tmp_path):
    """Twice: a file, and a much longer one, each the least of three runs, because Arrow's memory pool grows in the first
    50 MB and then no more, but now and then takes 32 MiB at once."""
    urls = ["http://a/" + str(i % 1000) + "x" * 4000 for i in range(500)]
    peaks, sizes = [], []
    for times in (24, 96) if name == "in.parquet" else (4, 24):
        if name == "in.parquet":
            pq.write_table(
                pa.table({"url": urls * times}),
                tmp_path / name,
                row_group_size=100,
                compression="none",
                use_dictionary=False,
            )
        else:
            start, line = {"in.txt": ("", "{}\n"), "in.csv": ("url\n", "{}\n"), "in.ndjson": ("", '{{"url":"{}"}}\n')}[
                name
            ]
            (tmp_path / name).write_text(start + "".join(line.format(url) for url in urls) * times)
        column = [] if name == "in.txt" else ["--column", "url"]
        code = (
            "import sys; from phishcnn._core import command\n"
            "code = command(['phishcnn', 'score', *sys.argv[1:-1], '--output', '/dev/null', '--threads', '2', '--model', sys.argv[-1]])\n"
            "print(code, *[line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')])"
        )
        command = [sys.executable, "-c", code, tmp_path / name, *column, OTHER]
        runs = [subprocess.run(command, capture_output=True, check=True).stdout.split() for _ in range(3)]
        assert {exit_code for exit_code, _ in runs} == {b"0"}
        peaks.append(min(int(peak) for _, peak in runs) / 1024)
        sizes.append((tmp_path / name).stat().st_size / 2**20)
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 4, (peaks, sizes)

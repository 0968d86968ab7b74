"""The recipe for Spark on a cluster of real executors, some of which are killed. `make spark` runs it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import phishcnn
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest

PYTHON = Path(__file__).parents[2]
sys.path[:0] = [str(PYTHON / "tests")]
from conftest import random_urls  # noqa: E402

ROWS, FILES = 3000, 4
CLUSTER = "local-cluster[2,1,1024]"  # two executors of one core, each a process of its own


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """Parquet files with an id, URLs that repeat, nulls and empty ones."""
    folder = tmp_path / "in"
    folder.mkdir()
    for i in range(FILES):
        urls = [None, "", *random_urls(ROWS - 3, seed=i), "x" * 70_000]
        ids = range(i * ROWS, (i + 1) * ROWS)
        pq.write_table(pa.table({"id": ids, "url": urls}), folder / f"part-{i}.parquet", row_group_size=ROWS // 4)
    return folder


@pytest.fixture
def start() -> Iterator[Callable[[Path, Path], subprocess.Popen]]:
    """Starts a run; whatever still lives at the end of a test is killed."""
    started = []
    yield lambda inputs, output: started.append(submit(inputs, output)) or started[-1]
    for process in started:
        for pid in descendants(process.pid) if process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)


def submit(inputs: Path, output: Path) -> subprocess.Popen:
    environment = {
        **os.environ,
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    settings = ["spark.ui.enabled=false", "spark.sql.execution.arrow.maxRecordsPerBatch=200"]
    # Small partitions: several tasks for each file.
    settings += ["spark.sql.files.maxPartitionBytes=40000", "spark.sql.files.openCostInBytes=1"]
    command = [str(Path(sys.executable).parent / "spark-submit"), "--master", CLUSTER]
    command += [word for setting in settings for word in ("--conf", setting)]
    command += [str(PYTHON / "examples/spark_score.py"), str(inputs), str(output)]
    return subprocess.Popen(
        command,
        env=environment,
        cwd=output.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def descendants(process: int) -> dict[int, str]:
    """Process ids and command lines of all that this process has started."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                found[int(entry.name)] = (int(stat[1]), (entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
    inside, grown = {process}, True
    while grown:
        more = {pid for pid, (parent, _) in found.items() if parent in inside} - inside
        inside |= more
        grown = bool(more)
    return {pid: found[pid][1] for pid in inside if pid in found}


def wait_for(condition, process: subprocess.Popen, seconds: float = 400):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if value := condition():
            return value
        time.sleep(0.05)
    for pid in descendants(process.pid) if process.poll() is None else ():
        os.kill(pid, signal.SIGKILL)
    raise AssertionError(process.communicate(timeout=30))


def check(inputs: Path, output: Path) -> None:
    """Exactly one row for each input row, with the score that the wheel gives."""
    table = pa.concat_tables(pq.read_table(output / f"part-{i}.parquet") for i in range(FILES)).sort_by("id")
    expected = pa.concat_tables(pq.read_table(inputs / f"part-{i}.parquet") for i in range(FILES))
    assert table["id"].to_pylist() == list(range(FILES * ROWS))
    assert table["url"].to_pylist() == expected["url"].to_pylist()
    scores = phishcnn.Model().score_batch(expected["url"])
    assert [e or 0 for e in table["error"].to_pylist()] == scores.errors.tolist()
    assert table["logit"].to_numpy().tobytes() == scores.logit.astype(np.float32).tobytes()


def some_output(output: Path) -> bool:
    return any(output.glob("**/*.snappy.parquet"))


def test_executors_and_their_workers_are_killed_and_no_row_is_lost_or_doubled(start, inputs, tmp_path):
    output = tmp_path / "out"
    process = start(inputs, output)

    def running(what: str):
        return [pid for pid, command in descendants(process.pid).items() if what in command]

    def at_work() -> bool:
        executors, workers = running("CoarseGrainedExecutorBackend"), running("pyspark.daemon")
        return len(executors) >= 2 and len(workers) >= 1 and some_output(output)

    wait_for(at_work, process)
    victims = running("pyspark.daemon")[-1:] + running("CoarseGrainedExecutorBackend")[:1]
    assert len(victims) == 2
    assert not (output / f"part-{FILES - 1}.parquet/_SUCCESS").exists(), "nothing was left to be killed for"
    for victim in victims:
        os.kill(victim, signal.SIGKILL)
    out, log = process.communicate(timeout=500)
    assert process.returncode == 0, log
    assert out.count(": scored") == FILES
    assert "ExecutorLostFailure" in log or "Lost executor" in log or "exited unexpectedly" in log
    check(inputs, output)


def test_a_run_that_died_goes_on_where_it_was(start, inputs, tmp_path):
    output = tmp_path / "out"
    process = start(inputs, output)
    wait_for(lambda: (output / "part-0.parquet/_SUCCESS").exists(), process)
    for pid in descendants(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=30)
    done = {path.parent.name: path.stat().st_mtime_ns for path in output.glob("*/_SUCCESS")}
    assert 1 <= len(done) < FILES
    out, log = start(inputs, output).communicate(timeout=500)
    assert out.count("done before") == len(done) and out.count(": scored") == FILES - len(done), log
    for name, time_ns in done.items():
        assert (output / name / "_SUCCESS").stat().st_mtime_ns == time_ns
    check(inputs, output)

"""The wheel's own promises: errors, threads, forks, memory, pickles."""

import concurrent.futures
import hashlib
import html.parser
import importlib.metadata
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time

import numpy as np
import phishcnn
import pytest
from conftest import ROOT, random_urls

ODD = ["http://a.b.co.uk/x", "", None, b"\xff\x00", "https://", "x" * 70_000, 7]
MODEL = phishcnn.Model()


def test_embedded_model_is_the_file_of_this_repository():
    file = (ROOT / "weights/models/phishcnn-compact.safetensors").read_bytes()
    assert MODEL.sha256 == hashlib.sha256(file).hexdigest()
    assert MODEL.file == file and MODEL.embedded
    assert MODEL.info["phishcnn.name"] == "phishcnn-compact"


def test_a_row_that_cannot_be_scored_keeps_its_place_and_number():
    scores = MODEL.score_batch(ODD)
    assert scores.errors.tolist() == [0, 201, 203, 0, 0, 202, 203]
    assert np.isnan(scores.logit).tolist() == (scores.errors != 0).tolist()
    assert np.isnan(scores.probability).tolist() == (scores.errors != 0).tolist()


def test_scores_as_arrow():
    scores = MODEL.score_batch([*ODD, "http://paypal.com.secure-login.account-verify.ru/webscr?cmd=_login"])
    table = scores.to_arrow()
    table.validate(full=True)
    assert table.column("error").to_pylist() == [None, 201, 203, None, None, 202, 203, None]
    good = [i for i, error in enumerate(scores.errors) if error == 0]
    for name in ("logit", "probability", "truncated"):
        expected = [getattr(scores, name)[i].item() if i in good else None for i in range(8)]
        assert table.column(name).to_pylist() == expected
    assert table.column("verdict").to_pylist() == ["benign", None, None, "benign", "benign", None, None, "phishing"]
    assert table.column("logit").buffers()[1].address == scores.logit.ctypes.data
    assert len(MODEL.score_batch([]).to_arrow()) == 0


@pytest.mark.parametrize("threads", [None, 1, 2, 9])
def test_the_caller_may_have_the_first_error_raised(threads):
    with pytest.raises(phishcnn.PhishcnnError) as caught:
        MODEL.score_batch(ODD, threads, errors="raise")
    assert (caught.value.code, caught.value.row, str(caught.value)) == (201, 1, "201: empty URL (row 1)")
    assert MODEL.score_batch(["a", b"b"], threads, errors="raise").errors.tolist() == [0, 0]


@pytest.mark.parametrize("url, code", [("", 201), (b" \t\n", 201), ("x" * 65_537, 202), (None, 203), (1, 203)])
def test_single_urls_raise(url, code):
    for refused in (MODEL.score, MODEL.explain, MODEL.tokenize, phishcnn.tokenize, phishcnn.canonicalize):
        with pytest.raises(phishcnn.PhishcnnError) as caught:
            refused(url)
        assert caught.value.code == code and str(caught.value).startswith(str(code))
        assert pickle.loads(pickle.dumps(caught.value)).code == code


@pytest.mark.parametrize("settings", [{"threads": 0}, {"threads": -1}, {"errors": "drop"}, {"base_rate": 0.0}])
def test_wrong_settings_are_named(settings):
    with pytest.raises(phishcnn.PhishcnnError, match=f"402: bad value: {next(iter(settings))}"):
        MODEL.score_batch(["a"], **settings)


def test_the_base_rate_moves_probabilities_and_no_verdict():
    urls = random_urls(300)
    even, rare = MODEL.score_batch(urls), MODEL.score_batch(urls, base_rate=0.001)
    assert (rare.probability <= even.probability).all() and (rare.verdict == even.verdict).all()
    odds = lambda p: np.log(p.astype(float) / (1 - p.astype(float)))  # noqa: E731
    between = (even.probability > 0.05) & (even.probability < 0.95)
    shift = odds(rare.probability[between]) - odds(even.probability[between])
    assert between.sum() > 10 and shift == pytest.approx(np.log(0.001 / 0.999), abs=0.15)
    assert MODEL.score(urls[0], base_rate=0.001).probability == rare.probability[0]


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_change_nothing(threads):
    urls = random_urls(100)
    one, many = MODEL.score_batch(urls), MODEL.score_batch(iter(urls), threads)
    for a, b in zip(one, many, strict=True):
        assert a.tobytes() == b.tobytes()


def test_no_thread_is_started_unasked_and_none_stays():
    def threads() -> set[str]:
        return set(os.listdir("/proc/self/task"))

    before, during, done = threads(), set(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            during.update(threads())

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = threads()
    MODEL.score_batch(random_urls(3000))
    assert during <= before
    MODEL.score_batch(random_urls(3000), threads=3)
    assert len(during - before) == 2 and threads() == before
    done.set()
    watcher.join()


def test_other_threads_run_during_a_batch():
    ticks, done = [], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0)

    thread = threading.Thread(target=tick)
    urls = random_urls(6000)
    thread.start()
    start = time.monotonic()
    MODEL.score_batch(urls)
    end = time.monotonic()
    done.set()
    thread.join()
    # With the GIL held, the other thread could act before and after the batch alone.
    middle = [t for t in ticks if start + 0.3 * (end - start) < t < start + 0.7 * (end - start)]
    assert len(middle) > 10


def test_many_threads_share_a_model():
    urls = random_urls(200)
    expected = MODEL.score_batch(urls).logit.tolist()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert [s.logit for s in pool.map(MODEL.score, urls)] == expected
        for scores in pool.map(lambda n: MODEL.score_batch(urls, n), range(1, 9)):
            assert scores.logit.tolist() == expected


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_may_start_after_a_batch(method):
    urls = random_urls(50)
    expected = MODEL.score_batch(urls, threads=2).logit.tolist()
    with multiprocessing.get_context(method).Pool(2) as pool:
        for scores in pool.map(MODEL.score_batch, [urls] * 4):
            assert scores.logit.tolist() == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_in_the_midst_of_batches_on_other_threads():
    code = """
import os, threading
import phishcnn
from conftest import random_urls
model, urls, done = phishcnn.Model(), random_urls(500), threading.Event()
expected = model.score_batch(urls).logit.tobytes()
def work():
    while not done.is_set():
        assert model.score_batch(urls, threads=2).logit.tobytes() == expected
workers = [threading.Thread(target=work) for _ in range(2)]
for worker in workers:
    worker.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        same = model.score_batch(urls, threads=2).logit.tobytes() == expected
        os._exit(0 if same and model.sha256 and model.score("a") else 1)
    assert os.waitpid(child, 0)[1] == 0
done.set()
for worker in workers:
    worker.join()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT / "python/tests", timeout=120)


def test_the_wheel_requires_nothing_and_serves_every_later_python():
    wheel = importlib.metadata.distribution("phishcnn")
    assert all("extra ==" in requirement for requirement in wheel.requires or [])
    assert "cp310-abi3-" in wheel.read_text("WHEEL")
    assert wheel.metadata["Requires-Python"] == ">=3.10"


def test_models_keep_through_a_pickle():
    other = phishcnn.Model.load(ROOT / "core/tests/vectors/keras-char.safetensors")
    for model in (MODEL, other):
        copy = pickle.loads(pickle.dumps(model))
        assert copy.sha256 == model.sha256 and copy.score("a.example") == model.score("a.example")
    assert len(pickle.dumps(MODEL)) < 200


def test_without_numpy_the_fields_are_memoryviews():
    code = """
import sys
sys.modules["numpy"] = None
import phishcnn
scores = phishcnn.Model().score_batch(["a", None])
assert [type(f) for f in scores] == [memoryview] * 5
assert scores.errors.tolist() == [0, 203] and scores.logit[0] == phishcnn.Model().score("a").logit
assert phishcnn.tokenize("ab").ids.tolist() == [97, 98]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_stays_flat_over_many_batches():
    code = """
import os, sys
import pyarrow as pa
import phishcnn
from conftest import random_urls
model, urls = phishcnn.Model(), random_urls(500)
column = pa.array(urls)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
sizes = []
for i in range(60):
    model.score_batch(urls if i % 2 else column)
    model.explain(urls[i])
    sizes.append(resident())
grown = sizes[-1] - sizes[19]
assert grown < 1 << 20, sizes
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "python/tests")


def test_tokens_of_odd_rows():
    tokens = phishcnn.tokenize_batch(ODD)
    assert tokens.errors.tolist() == [0, 201, 203, 0, 0, 202, 203]
    assert np.diff(tokens.offsets).tolist() == [11, 0, 0, 2, 1, 0, 0]
    assert tokens.ids[-3:].tolist() == [255, 0, 256]


def test_text_and_its_utf8_bytes_score_alike():
    url = "http://bücher.example/ß"
    assert MODEL.score(url) == MODEL.score(url.encode())
    assert MODEL.score(url) != MODEL.score("a") and hash(MODEL.score(url)) == hash(MODEL.score(url))


@pytest.mark.parametrize("file, number", [(b"", 101), (b"not a model file", 101), (b"\x02" + b"\0" * 7 + b"{}", 108)])
def test_a_file_that_is_no_model_is_refused_by_number(file, number, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(file)
    for load in (lambda: phishcnn.Model.from_bytes(file), lambda: phishcnn.Model.load(path)):
        with pytest.raises(phishcnn.PhishcnnError, match=str(number)) as caught:
            load()
        assert caught.value.code == number


def test_a_missing_file_is_an_oserror():
    with pytest.raises(FileNotFoundError):
        phishcnn.Model.load("no-such-model.safetensors")


@pytest.mark.parametrize("line", ["", "url-bytes/9 max=256", "keras-char/1 length=200"])
def test_an_unknown_input_line_is_refused(line):
    with pytest.raises(ValueError, match="104"):
        phishcnn.tokenize_batch(["a"], input=line)


def test_keras_characters_need_their_table():
    line = "keras-char/1 length=4 pad=pre truncate=pre canonical=no"
    with pytest.raises(ValueError, match="105"):
        phishcnn.tokenize_batch(["a"], input=line)
    table = np.array([0xFFFFFFFF, ord("a"), 0xFFFFFFFE], np.uint32)
    tokens = phishcnn.tokenize_batch(["aé", "bcaaa"], input=line, chars=table)
    assert tokens.ids.tolist() == [0, 0, 1, 2, 2, 1, 1, 1]
    assert tokens.truncated.tolist() == [False, True]


class Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.text, self.marked = [], "", ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    "url",
    [
        "http://paypal.com.verify.example/login?a=b#c",
        "http://a.example/<script>alert(1)</script>?\"'><img src=x onerror=alert(1)>",
        "http://a.example/\u202egpj.exe\u200b\0\x1b[31m",
        b"http://a.example/\xff&lt;",
        "a",
    ],
)
def test_an_explanation_in_a_notebook_shows_the_url_and_runs_nothing(url):
    why = MODEL.explain(url)
    page = Page()
    page.feed(why._repr_html_())
    assert set(page.tags) <= {"div", "p", "b", "code", "span", "table", "tr", "th", "td"}
    shown = phishcnn._core.visible(url if isinstance(url, bytes) else url.encode())
    assert shown in page.text and why.score.verdict in page.text
    assert not set("\u202e\u200b\0\x1b") & set(page.text) and not set("\u202e\x1b") & set(repr(why))
    assert page.tags.count("span") == len(why.segments)

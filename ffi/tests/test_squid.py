"""The helper of examples/squid in Debian's Squid, in front of a server of our own on loopback."""

import concurrent.futures
import http.client
import http.server
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
from conftest import FFI, HONEST, PHISH, SANITIZE, VECTORS, run

SQUID = FFI / "examples/squid"
PLAIN = HONEST.replace("https:", "http:")  # what a proxy sees in full


@pytest.fixture(scope="session")
def score(package, tmp_path_factory):
    """URLs → their verdicts, by examples/score.c."""
    program = package.compile(FFI / "examples/score.c", tmp_path_factory.mktemp("score") / "score")
    return lambda urls: [line.split()[0] for line in run(program, *urls).splitlines()]


@pytest.fixture(scope="session")
def helper(package, tmp_path_factory):
    for compiler in ("clang", "gcc"):
        out = tmp_path_factory.mktemp("squid") / "squid-phishcnn"
        # Static: Squid's user may not read the folder that holds the shared library.
        package.compile(SQUID / "squid-phishcnn.c", out, compiler, static=True)
    return out


def test_helper_speaks_squids_protocol(package, tmp_path):
    out = tmp_path / "squid-phishcnn"
    helper = package.compile(SQUID / "squid-phishcnn.c", out, static=True, flags=SANITIZE)

    def ask(*lines):
        answers = run(helper, input=b"".join(line + b"\n" for line in lines)).splitlines()
        assert len(answers) == len(lines)
        return answers

    phish, honest = PHISH.encode(), HONEST.encode()
    with_channels = ask(b"0 " + honest + b" -", b"17 " + phish + b" -", b"4294967295 " + phish)
    assert with_channels[0] == "0 ERR"
    assert re.fullmatch(
        r'17 OK log=phishing:\+\d+\.\d\d message="phishing, logit \+\d+\.\d\d, mostly for its \w+ \S+"',
        with_channels[1],
    )
    assert with_channels[2].startswith("4294967295 OK ")
    # Squid's acl words, and no channel at all, as with concurrency=0.
    assert ask(phish + b" -")[0].startswith("OK ")
    assert ask(b"3 " + phish + b" one two three")[0].startswith("3 OK ")

    longest, too_long = b"http://a.example/".ljust(65536, b"a"), b"http://a.example/".ljust(65537, b"a")
    odd = ask(b"1 " + longest, b"2 " + too_long, b"3 " + b"a" * 5_000_000, b"4 " + honest)
    assert odd[0].split()[0] == "1" and "BH" not in odd[0]
    assert odd[1:] == [
        '2 BH message="phishcnn 202: URL too long"',
        '3 BH message="phishcnn 202: URL too long"',
        "4 ERR",
    ]
    assert ask(b"", b"5", b"5 ", b"x" * 70000) == [
        'BH message="phishcnn 201: empty URL"',
        '5 BH message="phishcnn 201: empty URL"',
        '5 BH message="phishcnn 201: empty URL"',
        'BH message="phishcnn 202: URL too long"',
    ]
    # Whatever the bytes, one line with the channel's number.
    binary = [bytes(c for c in os.urandom(200) if c not in b"\r\n ") or b"x" for _ in range(500)]
    for number, line in enumerate(ask(*(b"%d %s -" % (n, url) for n, url in enumerate(binary)))):
        assert re.fullmatch(rf'{number} (ERR|OK log=\S+ message="[ -~]+")', line)
    hostile = ask(b'1 http://paypal.com.secure-login.account-verify.ru/"\\<script>\x1b\x00' + b"&'" * 99)[0]
    assert hostile.count('"') in (0, 2) and "\\" not in hostile and "<" not in hostile


def test_helper_starts_or_says_why_not(helper, tmp_path):
    for words, code, said in [
        (["--from", "benign"], 2, "usage"),
        (["--model"], 2, "usage"),
        (["--model", SQUID / "README.md"], 3, "101: not a safetensors file"),
        (["--model", tmp_path / "absent"], 3, "109: model file cannot be opened"),
    ]:
        done = run(helper, *words, check=False, stdin=subprocess.DEVNULL)
        assert (done.returncode, said in done.stderr.decode()) == (code, True)
    assert run(helper, "--model", VECTORS / "url-bytes.safetensors", input=b"1 a.example\n").startswith("1 ")


class Origin(http.server.BaseHTTPRequestHandler):
    """Answers every request with its path, and remembers its host and path."""

    seen: list[str] = []

    def do_GET(self):
        self.seen.append(f"http://{self.headers['Host']}{self.path}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"here is {self.path}".encode())

    def log_message(self, *_):
        pass


class Proxy:
    """Squid with the lines that examples/squid/phishcnn.conf tells its users to add."""

    def __init__(self, folder, helper, origin_port):
        self.folder = folder
        shutil.copy(helper, folder / "squid-phishcnn")
        shutil.copy(SQUID / "ERR_PHISHING", folder)
        # What goes in and out of the helper is kept.
        recorder = folder / "recorder"
        recorder.write_text(
            f'#!/bin/sh\ntee -a {folder}/asked | {folder}/squid-phishcnn "$@" | tee -a {folder}/answered\n'
        )
        recorder.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.origin_port = origin_port
        self.configure()
        self.process = None

    def configure(self, *words, helper=None):
        rules = (SQUID / "phishcnn.conf").read_text()
        command = " ".join(map(str, [helper or self.folder / "recorder", *words]))
        assert rules.count("/usr/local/libexec/squid-phishcnn") == 1
        rules = rules.replace("/usr/local/libexec/squid-phishcnn", command)
        (self.folder / "squid.conf").write_text(
            f"http_port 127.0.0.1:{self.port}\npid_filename {self.folder}/pid\n"
            f"cache_log {self.folder}/cache.log\nlogformat tagged %>Hs %ru %ea\n"
            f"access_log stdio:{self.folder}/access.log tagged\n"
            f"coredump_dir {self.folder}\nerror_directory {self.folder}\ncache_mgr postmaster@a.example\n"
            "cache deny all\npinger_enable off\nshutdown_lifetime 1 second\nvisible_hostname proxy.example\n"
            # All requests go to our server, whatever their host.
            f"cache_peer 127.0.0.1 parent {self.origin_port} 0 no-query no-digest originserver\n"
            f"never_direct allow all\n{rules}\nhttp_access allow localhost\nhttp_access deny all\n"
        )

    def start(self):
        run("squid", "-k", "parse", "-f", self.folder / "squid.conf")
        log = (self.folder / "stderr").open("wb")
        self.process = subprocess.Popen(["squid", "-N", "-f", self.folder / "squid.conf"], stderr=log)
        self.until(self.listens)

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def until(self, condition, seconds=30):
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, (self.folder / "cache.log").read_text()
            assert time.monotonic() < end, "Squid did not get there"
            time.sleep(0.1)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)

    def get(self, url):
        """Status and body of a request, with the URL's characters as they are."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            target = url if isinstance(url, bytes) else url.encode()
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % target)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read().decode(errors="replace")

    def status(self, url):
        """Status of a request; none while a reload has closed the port."""
        try:
            return self.get(url)[0]
        except ConnectionError:
            return None

    def connect(self, host):
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
            return int(connection.recv(4096).split()[1])

    def helpers(self):
        """Process ids of the running helpers."""
        binary = self.folder / "squid-phishcnn"
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "exe").readlink() == binary:
                    found.append(int(process.name))
            except OSError:
                continue
        return found


@pytest.fixture
def proxy(helper):
    Origin.seen.clear()
    origin = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=origin.serve_forever, daemon=True).start()
    # Root's Squid works as another user, who may not enter pytest's folder.
    with tempfile.TemporaryDirectory(prefix="squid-") as name:
        folder = Path(name).resolve()
        proxy = Proxy(folder, helper, origin.server_address[1])
        folder.chmod(0o755)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("proxy")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        proxy.start()
        yield proxy
        proxy.stop()
    origin.shutdown()


def test_phishing_is_denied_and_the_page_says_why(proxy):
    assert proxy.get(PLAIN) == (200, "here is /wiki/Phishing")
    assert Origin.seen == [PLAIN]

    status, page = proxy.get(PHISH)
    assert status == 403
    # (Squid leaves out the query, as in its log, unless strip_query_terms is off.)
    assert "looks like phishing" in page and f"<code>{PHISH.split('?')[0]}?</code>" in page
    assert re.search(r"Why: <code>phishing, logit \+\d+\.\d\d, mostly for its \w+ \S+</code>", page)
    assert Origin.seen == [PLAIN]
    proxy.until(lambda: re.search(r"403 \S+paypal\S+ phishing:\+\d", (proxy.folder / "access.log").read_text()))

    # The command that README.md shows.
    (command,) = re.findall("^curl .*$", (SQUID / "README.md").read_text(), re.MULTILINE)
    said = run("sh", "-c", command.replace("3128", str(proxy.port)))
    assert said.startswith("HTTP/1.1 403 ") and "X-Squid-Error: ERR_PHISHING 0" in said

    # What the page repeats cannot become markup.
    status, page = proxy.get(PHISH.replace("webscr", '<script>alert("1")</script>/webscr'))
    assert status == 403 and "&lt;script&gt;alert" in page and "<script" not in page

    # https: the host alone. (Allowed, but nobody is there.)
    assert proxy.connect("en.wikipedia.org") == 500
    assert proxy.connect("paypal.com.secure-login.account-verify.ru") == 403


def test_watching_without_blocking(proxy):
    readme = (SQUID / "README.md").read_text()
    (watch,) = re.findall("^http_access deny phishing .*$", readme, re.MULTILINE)
    config = proxy.folder / "squid.conf"
    lines = config.read_text()
    assert lines.count("http_access deny phishing\n") == 1
    config.write_text(lines.replace("http_access deny phishing\n", f"{watch}\n"))
    run("squid", "-k", "reconfigure", "-f", config)
    proxy.until(lambda: proxy.status(PHISH) == 200)
    log = proxy.folder / "access.log"
    proxy.until(lambda: re.search(r"200 \S+paypal\S+ phishing:\+\d", log.read_text()))


def test_odd_requests_leave_it_running(proxy):
    helpers = proxy.helpers()
    assert len(helpers) == 1
    for tail in [
        b"%20%00%ff%25",
        b"~it's[1]{2}|^`",
        "é中".encode(),
        b"\xff\xfe\x80",
        b'"\\',
        b"%",
        b"a" * 8000,
        b"%41" * 2600,
    ]:
        url = f"{PLAIN}/".encode() + tail
        status, _ = proxy.get(url)
        assert status in (200, 403)
        # The helper was asked with the very characters of the request.
        assert b" " + url + b" -\n" in (proxy.folder / "asked").read_bytes()
    assert proxy.get(f"{PLAIN}/{'a' * 10000}")[0] in (400, 414)  # Squid's own limit
    for garbage in (
        b"\x00\x01\x02\r\n\r\n",
        b"GET \r\n\r\n",
        os.urandom(5000),
        b"GET http://a.example/\x00\xff\x01 HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as connection:
            connection.sendall(garbage)
    assert proxy.get(PHISH)[0] == 403 and proxy.get(PLAIN)[0] == 200
    assert proxy.helpers() == helpers


def test_many_at_once_each_get_their_own_answer(proxy, score):
    urls = [url for n in range(150) for url in (f"{PLAIN}_{n}", PHISH.replace("webscr", f"webscr{n}"))]
    denied = [verdict == "phishing" for verdict in score(urls)]
    assert 100 < sum(denied) < 200
    asked, answered = (proxy.folder / name for name in ("asked", "answered"))
    # Forty questions wait in the helper's channels before it answers the first.
    (process,) = proxy.helpers()
    os.kill(process, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        waiting = pool.map(proxy.get, urls)
        proxy.until(lambda: asked.exists() and asked.read_text().count("\n") == 40)
        assert answered.read_text() == ""
        os.kill(process, signal.SIGCONT)
        answers = list(waiting)
    assert [status == 403 for status, _ in answers] == denied
    for url, (status, body) in zip(urls, answers, strict=True):
        assert (url.split("?")[0] in body) if status == 403 else body == f"here is /{url.split('/', 3)[3]}"
    # Each answer has the number of its question.
    proxy.until(lambda: answered.read_text().count("\n") == len(urls))
    questions = [line.split()[:2] for line in asked.read_text().splitlines()]
    said = dict(line.split()[:2] for line in answered.read_text().splitlines())
    assert len(questions) == len(said) == len(urls)
    verdicts = dict(zip(urls, denied, strict=True))
    assert all((said[number] == "OK") is verdicts[url] for number, url in questions)


def test_reload_and_a_helper_that_dies(proxy, score):
    candidates = [
        f"http://{a}-{b}.{c}/{d}"
        for a in ("secure", "my", "shop", "login", "mail")
        for b in ("bank", "account", "garden", "cloud")
        for c in ("com", "info", "web.app")
        for d in ("", "signin", "verify.php", "about")
    ]
    suspicious = candidates[score(candidates).index("suspicious")]
    assert proxy.get(suspicious)[0] == 200

    before = proxy.helpers()
    # Without the recorder, whose end of a broken pipe would outlive the helper.
    proxy.configure("--from", "suspicious", helper=proxy.folder / "squid-phishcnn")
    run("squid", "-k", "reconfigure", "-f", proxy.folder / "squid.conf")
    proxy.until(lambda: proxy.helpers() and not set(before) & set(proxy.helpers()))
    proxy.until(lambda: proxy.status(suspicious) == 403)
    assert proxy.get(PLAIN)[0] == 200

    before = proxy.helpers()
    for process in before:
        os.kill(process, signal.SIGKILL)
    proxy.until(lambda: not set(before) & set(proxy.helpers()))
    assert proxy.get(PHISH.replace("webscr", "afterwards"))[0] == 403
    assert proxy.get(f"{PLAIN}_afterwards")[0] == 200
    assert len(proxy.helpers()) == 1

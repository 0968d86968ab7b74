"""The milter of examples/milter in Debian's Postfix: in by SMTP, out into a Maildir, on loopback."""

import concurrent.futures
import email
import email.policy
import os
import pwd
import random
import re
import smtplib
import socket
import subprocess
import tempfile
import time
from email.message import EmailMessage
from pathlib import Path

import pytest
from conftest import FFI, HONEST, PHISH, SANITIZE, run

MILTER = FFI / "examples/milter"
CLEAN = f"Hello,\nas I said (see {HONEST}).\n"
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]  # Postfix's master runs as root only


def message(text=CLEAN, html=None, **how):
    new = EmailMessage()
    new["From"], new["To"], new["Subject"] = "ann@a.example", "bob@b.example", "for you"
    new.set_content(text, **how)
    if html is not None:
        new.add_alternative(html, subtype="html", **how)
    return new


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="session")
def milter(package, tmp_path_factory):
    """Built as README.md says, with sanitizers; they watch every test of this file."""
    out = tmp_path_factory.mktemp("milter") / "phishcnn-milter"
    libraries = run("pkg-config", "--cflags", "--libs", "gmime-3.0", "libxml-2.0").split()
    for compiler in ("clang", "gcc"):
        # The libraries stand before the sources here.
        flags = [*SANITIZE, MILTER / "links.c", *libraries, "-lmilter"]
        package.compile(MILTER / "phishcnn-milter.c", out, compiler, flags=["-Wl,--no-as-needed", *flags])
    return out


def check(milter, folder, *messages):
    """The header's value for each message, by --check, as one line."""
    files = []
    for number, content in enumerate(messages):
        files.append(folder / f"{number}.eml")
        files[-1].write_bytes(content)
    output = run(milter, "--check", *files)
    headers = output.replace("\n\t", " ").splitlines()
    assert len(headers) == len(messages)
    return [header.removeprefix("X-PhishCNN: ") for header in headers]


def test_links_are_found_where_mail_hides_them(milter, tmp_path):
    accented = f"é\n{PHISH}\n"
    forwarded = message("look\n")
    forwarded.add_attachment(message(accented, cte="base64"))
    entities = PHISH.replace("http", "&#104;ttp").replace("=", "&#x3d;")
    raw = f"Subject: x\n\n{PHISH}\n".encode()
    hidden = [
        message(f"<{PHISH}>").as_bytes(),
        message(accented, cte="base64").as_bytes(),
        message(accented + "x" * 200, cte="quoted-printable").as_bytes(),
        message(accented, charset="utf-16", cte="base64").as_bytes(),
        message(html=f"<p>é <a href=' {entities} '>here</a>", cte="quoted-printable").as_bytes(),
        message(html=f"<A HREF={PHISH}>here").as_bytes(),
        message(html=f'<form action="{PHISH[:20]}\n{PHISH[20:]}">').as_bytes(),
        message(html=f"<p>{PHISH}<b>!</b>").as_bytes(),
        forwarded.as_bytes(),
        raw.replace(b"paypal", b"pay\0pal"),
        raw.replace(b"Subject", b"Content-Type: text/plain; charset=no-such\nSubject"),
        raw.replace(b"\n\n", b"\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n"),
        f"Content-Type: text/html\n\n{'<div>' * 100_000}{PHISH}".encode(),
    ]
    for number, said in enumerate(check(milter, tmp_path, *hidden)):
        assert said.startswith("verdict=phishing; score=+"), (number, said)
        assert said.endswith(f"url={PHISH}"), (number, said)

    plain = message(f"({HONEST}). {HONEST}, [{HONEST}]: '{HONEST}'").as_bytes()
    assert check(milter, tmp_path, plain)[0].endswith(f"; urls=1; url={HONEST}")


def test_what_is_left_out_is_said(milter, tmp_path):
    links = "".join(f"<a href=http://a.example/{n}>" for n in range(1500))
    said = check(
        milter,
        tmp_path,
        b"",
        message("nothing here, http:// www. http\n").as_bytes(),
        f"Content-Type: text/html\n\n{links}".encode(),
        f"\n\nhttp://a.example/{'a' * 70000}\n{HONEST}\n".encode(),
        b"\n\n" + b"word " * 7_000_000,
        f'\n\nhttp://{"b" * 500};"é.example/'.encode(),
    )
    assert said[:2] == ["verdict=none; urls=0"] * 2
    assert "; urls=1000; skipped=500; " in said[2]
    assert "; urls=2; unscored=1; " in said[3]
    assert said[4] == f"verdict=none; urls=0; unread={2 + 35_000_000 - 32 * 1024 * 1024}"
    assert said[5].endswith("b...") and len(said[5]) < 500


def test_fuzzed_messages(milter, tmp_path):
    """Bytes changed, cut, doubled: an answer for each, under the sanitizers."""
    chance = random.Random(5)
    nested = message("look\n")
    nested.add_attachment(message(f"é {PHISH}", f"<a href='{PHISH}'>é</a>", cte="base64"))
    seeds = [
        nested.as_bytes(),
        message(f"é {PHISH}", f"<p><a href='{PHISH}'>é &amp; <form action=x>", cte="quoted-printable").as_bytes(),
        b"Content-Type: message/rfc822\n\n" * 3000 + PHISH.encode(),
        b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 2000,
    ]
    odd = [b"\0", b"\xff", b"\r", b"\n\n", b"--", b"=", b"<", b"&#", b'"', b"charset=utf-7", b"Content-Type: "]
    mutants = []
    for _ in range(3000):
        content = bytearray(chance.choice(seeds[:2]) if chance.random() < 0.98 else chance.choice(seeds[2:]))
        for _ in range(chance.randint(1, 12)):
            at = chance.randrange(len(content))
            to = min(len(content), at + chance.randint(0, 40))
            content[at:to] = chance.choice([b"", chance.choice(odd), chance.randbytes(3), content[at:to] * 2]) or b"x"
        mutants.append(bytes(content))
    for said in check(milter, tmp_path, *mutants):
        assert re.match(r"verdict=(none|benign|suspicious|phishing); ", said)


class Mail:
    """A Postfix of our own, with the lines that README.md tells its users to add, and a milter."""

    def __init__(self, folder, milter):
        self.folder, self.milter = folder, milter
        self.port, self.milter_port = free_port(), free_port()
        self.inbox = folder / "mail/bob/new"
        self.process = None
        self.counter = 0
        config = folder / "postfix"
        config.mkdir()
        mail = folder / "mail"
        mail.mkdir()
        nobody = pwd.getpwnam("nobody")
        run(*AS_ROOT, "chown", "nobody", mail)
        readme = (MILTER / "README.md").read_text()
        lines = re.search(r"```ini\n(smtpd_milters = .*?)```", readme, re.DOTALL)[1]
        assert lines.count("inet:127.0.0.1:8892") == 1
        (config / "main.cf").write_text(
            f"compatibility_level = 3.6\nqueue_directory = {folder}/queue\ndata_directory = {folder}/data\n"
            "command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\n"
            f"mail_owner = postfix\nsetgid_group = postdrop\nmaillog_file = {folder}/log\nmaillog_file_prefixes = {folder}\n"
            "inet_interfaces = loopback-only\ninet_protocols = ipv4\nmyhostname = mail.b.example\nmydestination =\n"
            "virtual_mailbox_domains = b.example\nvirtual_mailbox_maps = inline:{bob@b.example=bob/}\n"
            f"virtual_mailbox_base = {mail}\nvirtual_uid_maps = static:{nobody.pw_uid}\n"
            f"virtual_gid_maps = static:{nobody.pw_gid}\nalias_maps =\nlocal_recipient_maps =\n"
            + lines.replace("8892", str(self.milter_port))
        )
        services = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "rewrite unix - - n - - trivial-rewrite",
            *(f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")),
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "proxymap unix - - n - - proxymap",
            "virtual unix - n n - - virtual",
            "postlog unix-dgram n - n - 1 postlogd",
        ]
        (config / "master.cf").write_text("\n".join(services) + "\n")
        (folder / "data").mkdir()
        run(*AS_ROOT, "chown", "postfix", folder / "data")
        (folder / "queue").mkdir()
        run(*AS_ROOT, "chown", "-R", "root", config, folder / "queue")

    def postfix(self, word, check=True):
        return run(*AS_ROOT, "postfix", "-c", self.folder / "postfix", word, check=check)

    def start_milter(self, *words):
        self.process = subprocess.Popen(
            [self.milter, "--socket", f"inet:{self.milter_port}@127.0.0.1", *words], stderr=subprocess.PIPE
        )
        until(lambda: listens(self.milter_port) or self.process.poll() is not None)

    def stop_milter(self):
        """It ends well: no sanitizer saw an error, no leak either."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=30)
        assert (self.process.returncode, said.decode()) == (0, "")

    def send(self, content):
        """Sends a message, as bytes or not, and waits for what arrives."""
        content = content if isinstance(content, bytes) else content.as_bytes()
        before = self.arrived()
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.sendmail("ann@a.example", ["bob@b.example"], content)
        (new,) = until(lambda: self.arrived() - before)
        read = run(*AS_ROOT, "cat", self.inbox / new, check=False).stdout
        return email.message_from_bytes(read, policy=email.policy.default)

    def arrived(self):
        listing = run(*AS_ROOT, "ls", self.inbox, check=False).stdout
        return set(listing.decode().split())


@pytest.fixture(scope="module")
def mail(milter):
    # Postfix's users may not enter pytest's folder.
    folder = Path(tempfile.mkdtemp(prefix="mail-")).resolve()
    folder.chmod(0o755)
    mail = Mail(folder, milter)
    mail.postfix("start")
    until(lambda: listens(mail.port))
    yield mail
    mail.postfix("stop")
    run(*AS_ROOT, "rm", "-rf", folder)


def test_mail_through_postfix(mail, package, tmp_path):
    mail.start_milter()
    try:
        got = mail.send(message())
        benign = rf"verdict=benign; score=-\d+\.\d{{3}}; urls=1;\s+url={re.escape(HONEST)}"
        assert re.fullmatch(benign, got["X-PhishCNN"])
        assert "as I said" in got.get_content()

        got = mail.send(message(html=f'<p>é <a href="{PHISH}&amp;é=1">your account</a>', cte="base64"))
        assert re.match(
            r"verdict=phishing; score=\+\d+\.\d{3}; urls=2;\s+url=http://paypal\S+%C3%A9=1$", got["X-PhishCNN"]
        )

        # The score is the library's own.
        score = package.compile(FFI / "examples/score.c", tmp_path / "score")
        logit = run(score, PHISH).split()[2]
        got = mail.send(message(PHISH))
        assert f"verdict=phishing; score={logit}; urls=1;" in got["X-PhishCNN"]

        # What a sender writes into our header is taken out.
        forged = message(PHISH)
        for _ in range(3):
            forged._headers.append(("x-phishcnn", "verdict=benign; score=-9.000; urls=1"))
        (only,) = mail.send(forged).get_all("X-PhishCNN")
        assert only.startswith("verdict=phishing")

        # One connection, many messages: nothing of one stays for the next.
        with smtplib.SMTP("127.0.0.1", mail.port, timeout=60) as client:
            before = mail.arrived()
            for text in (PHISH, CLEAN, PHISH, CLEAN):
                client.sendmail("ann@a.example", ["bob@b.example"], message(text).as_bytes())
            until(lambda: len(mail.arrived() - before) == 4)
        texts = [run(*AS_ROOT, "cat", mail.inbox / name) for name in mail.arrived() - before]
        assert sorted("verdict=phishing" in text for text in texts) == [False, False, True, True]
        assert all(("verdict=phishing" in text) is (f"\n{PHISH}" in text) for text in texts)
    finally:
        mail.stop_milter()


def test_many_connections_at_once(mail):
    """A thread each, with one model: nobody gets another's verdict."""
    texts = [PHISH, CLEAN] * 20

    def deliver(text):
        with smtplib.SMTP("127.0.0.1", mail.port, timeout=60) as client:
            client.sendmail("ann@a.example", ["bob@b.example"], message(text).as_bytes())

    mail.start_milter()
    try:
        before = mail.arrived()
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            list(pool.map(deliver, texts))
        until(lambda: len(mail.arrived() - before) == len(texts))
        arrived = [run(*AS_ROOT, "cat", mail.inbox / name) for name in mail.arrived() - before]
        assert sum("verdict=phishing" in text for text in arrived) == len(texts) // 2
        assert all(("verdict=phishing" in text) is (f"\n{PHISH}" in text) for text in arrived)
    finally:
        mail.stop_milter()


def test_malformed_mail_gets_through(mail):
    mail.start_milter()
    try:
        boundary = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n"
        for content in [
            boundary + b"Content-Type: text/html; charset=\"\n\n<a href='" + PHISH.encode(),
            boundary
            + b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n!!!===\xff"
            + os.urandom(300).replace(b"\r", b"").replace(b"\n", b""),
            b"Content-Type: multipart/mixed\n\n--\n--x--\n" + PHISH.encode(),
            b"Content-Type: multipart/mixed; boundary=b\n\n"
            + b"--b\nContent-Type: multipart/mixed; boundary=b\n\n" * 3000,
            b"Content-Type: text/html\n\n" + b'<a href="' * 5000,
            b"\n" + b"=?utf-8?q?" * 2000,
        ]:
            got = mail.send(b"From: ann@a.example\n" + content)
            assert re.match("verdict=", got["X-PhishCNN"]), content[:80]
    finally:
        mail.stop_milter()


def test_reject_and_quarantine(mail):
    mail.start_milter("--action", "reject")
    try:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            mail.send(message(PHISH))
        assert (refused.value.smtp_code, b"5.7.1 a link" in refused.value.smtp_error) == (550, True)
        assert mail.send(message())["X-PhishCNN"].startswith("verdict=benign")
    finally:
        mail.stop_milter()

    mail.start_milter("--action", "quarantine")
    try:
        before = mail.arrived()
        with smtplib.SMTP("127.0.0.1", mail.port, timeout=60) as client:
            client.sendmail("ann@a.example", ["bob@b.example"], message(PHISH).as_bytes())
        assert mail.send(message())["X-PhishCNN"].startswith("verdict=benign")
        assert len(mail.arrived() - before) == 1
        queue = run(*AS_ROOT, "find", mail.folder / "queue/hold", "-type", "f").split()
        assert len(queue) == 1
    finally:
        mail.stop_milter()


def test_mail_flows_without_the_milter(mail):
    assert not listens(mail.milter_port)
    assert mail.send(message())["X-PhishCNN"] is None


def test_milter_starts_or_says_why_not(milter, mail):
    for words, code, said in [
        (["--action", "delete"], 2, "usage"),
        (["--socket"], 2, "usage"),
        (["--model", FFI / "Makefile"], 3, "101: not a safetensors file"),
        (["--socket", f"inet:{mail.port}@127.0.0.1"], 1, "cannot listen"),
        (["--check", "absent.eml"], 1, "absent.eml"),
    ]:
        done = run(milter, *words, check=False)
        assert (done.returncode, said in done.stderr.decode()) == (code, True), words

"""The binary under test, and hosts that boot a real systemd."""

import os
import shutil
import signal
import socket
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = HERE / ".venv/bin"
CANARY_MODEL = ROOT / "weights/models/dephides-retrained.safetensors"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def binary() -> Path:
    """The release build, or what the variable PHISHCNN names."""
    path = Path(os.environ.get("PHISHCNN", ROOT / "target/release/phishcnn"))
    assert path.exists(), f"{path} is missing: cargo build --release"
    return path


@pytest.fixture(scope="module")
def services(binary, tmp_path_factory):
    """Stable and canary on two loopback addresses, as on two hosts; returns the ports and processes."""
    folder, port, admin, running = tmp_path_factory.mktemp("services"), free_port(), free_port(), {}
    try:
        for track, address, model in ("stable", "127.0.0.2", None), ("canary", "127.0.0.3", CANARY_MODEL):
            environment = {
                "PHISHCNN_LISTEN": f"{address}:{port}",
                "PHISHCNN_ADMIN_LISTEN": f"{address}:{admin}",
                "PHISHCNN_FEEDBACK": "none",
                "PHISHCNN_TRUSTED_PROXIES": "127.0.0.0/8",
            } | ({"PHISHCNN_MODEL": str(model)} if model else {})
            log = (folder / f"{track}.log").open("w")
            running[track] = subprocess.Popen([binary, "serve"], env=environment, stderr=log)
        yield port, admin, running
    finally:
        for process in running.values():
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def canary_digest() -> str:
    return sha256(CANARY_MODEL.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def deb(binary) -> Path:
    """The Debian package of that binary; `make -C ffi` has built the library."""
    done = subprocess.run(
        [ROOT / "infra/debian/build.sh"],
        capture_output=True,
        text=True,
        env=os.environ | {"PHISHCNN": str(binary)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / done.stdout.splitlines()[-1]


class Host:
    """A Debian that systemd-nspawn boots from hosts/debian; what it writes is gone afterwards."""

    def __init__(self, name: str, address: str, key: Path, bridge: str):
        self.name, self.address, self.key = name, address, key
        self.log = (key.parent / f"{name}.log").open("wb")
        self.process = subprocess.Popen(
            [
                *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--volatile=overlay"),
                *(f"--directory={HERE / 'hosts/debian'}", f"--machine={name}", f"--network-bridge={bridge}"),
                f"--load-credential=ssh.authorized_keys.root:{key}.pub",
                # For IPAddressDeny= and IPAddressAllow=, which are programs in the kernel.
                *("--capability=CAP_BPF", "--system-call-filter=bpf"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            preexec_fn=self.own_groups,
        )

    def groups(self) -> list[Path]:
        """Control groups of this host alone: two systemds in one would end each other's processes."""
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
        # Of the old hierarchies systemd needs its own alone.
        tops = [Path(path) for path, kind in mounts if kind == "cgroup2" or path.endswith("/systemd")]
        return [top / self.name for top in tops]

    def own_groups(self) -> None:
        for group in self.groups():
            group.mkdir(exist_ok=True)
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def wait(self) -> None:
        """Gives the host its address and waits until it lets us in."""
        deadline = time.monotonic() + 60
        configured = False
        while time.monotonic() < deadline:
            assert self.process.poll() is None, Path(self.log.name).read_text()
            leader = subprocess.run(
                ["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True
            ).stdout.split()
            if leader and not configured:
                inside = ["nsenter", "--target", leader[0], "--net", "ip"]
                done = subprocess.run(
                    [*inside, "addr", "add", f"{self.address}/24", "dev", "host0"], capture_output=True
                )
                configured = done.returncode == 0
                subprocess.run([*inside, "link", "set", "host0", "up"], capture_output=True)
            if configured and self.run("true", check=False).returncode == 0:
                return
            time.sleep(0.3)
        raise TimeoutError(f"{self.name} did not boot: {Path(self.log.name).read_text()[-2000:]}")

    def run(self, command: str, check: bool = True) -> subprocess.CompletedProcess:
        options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        return subprocess.run(
            ["ssh", *options, "-o", "ConnectTimeout=3", "-i", str(self.key), f"root@{self.address}", command],
            check=check,
            capture_output=True,
            text=True,
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        for group in self.groups():
            for folder, _, _ in os.walk(group, topdown=False):
                Path(folder).rmdir()


BRIDGE, NETWORK = "phishcnn-test", "198.18.77"


@pytest.fixture(scope="session")
def hosts(tmp_path_factory):
    """Two hosts, `stable` and `canary`, in a network of their own without a way out."""
    if os.geteuid():
        pytest.skip("booting hosts needs root, which who only works on the chart need not be")
    assert shutil.which("systemd-nspawn") and (HERE / "hosts/debian").exists(), "setup.sh installs what is missing"
    folder = tmp_path_factory.mktemp("hosts")
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)
    subprocess.run(["ip", "link", "add", "name", BRIDGE, "type", "bridge"], check=True)
    booted = {}
    try:
        subprocess.run(["ip", "addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE], check=True)
        subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
        for number, name in enumerate(["stable", "canary"], 11):
            booted[name] = Host(f"phishcnn-{name}", f"{NETWORK}.{number}", key, BRIDGE)
        for host in booted.values():
            host.wait()
        yield booted
    finally:
        for host in booted.values():
            host.stop()
        subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)

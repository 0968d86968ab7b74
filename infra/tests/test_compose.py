"""The compose file: read by docker-compose, and every service of it run as a process with its files.

No image can be pulled where the tests run. Each service gets what a container would give it, by the
file: its own view of the file system with the volumes in place, its environment, its address and the
names of the others. The program is Debian's instead of the image's. Grafana, which Debian lacks, is
not run; its files are compared with what they refer to.
"""

import json
import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

FOLDER = ROOT / "infra/compose"
SECRETS = {"POSTGRES_PASSWORD": "test1secret", "GRAFANA_PASSWORD": "test2secret"}
SPACE = "phishcnn-compose"


def compose(*arguments, **environment):
    # An .env of whoever works here must not decide.
    command = ["docker-compose", "--file", FOLDER / "compose.yaml", "--project-directory", FOLDER]
    return subprocess.run(
        [*command, "--env-file", FOLDER / ".env.example", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]} | environment,
    )


@pytest.fixture(scope="module")
def services():
    done = compose("config", **SECRETS)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)["services"]


def mounts(service):
    """Source, target and mode of each volume."""
    return [volume.split(":") for volume in service.get("volumes", [])]


def test_the_file_is_what_compose_wants(services):
    assert services.keys() == {"stable", "canary", "gateway", "postgres", "prometheus", "grafana"}
    for name, service in services.items():
        assert service["image"].split(":")[1] != "latest", name
        for source, _, _ in mounts(service):
            assert not source.startswith("/") or Path(source).exists(), source
    build = services["stable"]["build"]
    assert (Path(build["context"]) / build["dockerfile"]).exists()
    assert services["canary"]["build"] == build


@pytest.mark.parametrize("name", SECRETS)
def test_no_password_no_start(name):
    done = compose("config", **{other: "x" for other in SECRETS if other != name})
    assert done.returncode != 0 and name in done.stderr and ".env.example" in done.stderr


def test_only_the_gateway_is_public(services):
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports.keys() == {"gateway", "prometheus", "grafana"}
    assert all(port.startswith("127.0.0.1:") for list in ports.values() for port in list)


def test_grafana_finds_its_source_and_its_dashboards(services):
    inside = {target: Path(source) for source, target, _ in mounts(services["grafana"])}
    sources = yaml.safe_load(inside["/etc/grafana/provisioning/datasources/phishcnn.yaml"].read_text())
    providers = yaml.safe_load(inside["/etc/grafana/provisioning/dashboards/phishcnn.yaml"].read_text())
    [source] = sources["datasources"]
    assert source["url"] == "http://prometheus:9090" and source["isDefault"] and source["type"] == "prometheus"
    [provider] = providers["providers"]
    boards = [json.loads(path.read_text()) for path in inside[provider["options"]["path"]].glob("*.json")]
    assert {board["title"].split()[-1].lower() for board in boards} >= {"service", "model", "rollout"}
    for board in boards:
        [variable] = board["templating"]["list"]
        assert variable["type"] == "datasource" and variable["query"] == source["type"]


class Stack:
    """The services in a network of their own, each in a file system of its own."""

    def __init__(self, services, binary, folder):
        self.services, self.folder, self.processes = services, folder, []
        fixed = {name: one.get("networks", {}).get("default", {}).get("ipv4_address") for name, one in services.items()}
        self.addresses = {name: ip or f"172.28.77.{50 + i}" for i, (name, ip) in enumerate(fixed.items())}
        # A bridge, and a network name space for each service: all listen on the same ports, as in containers.
        self.remove()
        ip = lambda *command: subprocess.run(["ip", *command], check=True)  # noqa: E731
        ip("netns", "add", SPACE)
        ip("-n", SPACE, "link", "add", "bridge", "type", "bridge")
        ip("-n", SPACE, "addr", "add", "172.28.77.1/24", "dev", "bridge")
        ip("-n", SPACE, "link", "set", "bridge", "up")
        for name, address in self.addresses.items():
            own, wire = f"{SPACE}-{name}", f"to-{name}"
            ip("netns", "add", own)
            ip("-n", SPACE, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", own)
            ip("-n", SPACE, "link", "set", wire, "master", "bridge", "up")
            ip("-n", own, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", own, "link", "set", "eth0", "up")
            ip("-n", own, "link", "set", "lo", "up")
        names = [f"{ip} {name}" for name, ip in self.addresses.items()]
        (folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
        (folder / "binary").mkdir()
        self.binary = folder / "binary/phishcnn"
        self.binary.write_bytes(binary.read_bytes())
        self.binary.chmod(0o755)

    def remove(self):
        for space in [SPACE, *(f"{SPACE}-{name}" for name in self.services)]:
            subprocess.run(["ip", "netns", "delete", space], capture_output=True)

    def start(self, name, command, user="nobody"):
        service, root = self.services[name], self.folder / name / "root"
        top = root.parent
        top.mkdir()
        steps = [
            "set -e",
            f"mount -t tmpfs tmpfs {top}",
            f"mkdir {top}/up {top}/work {root}",
            f"mount -t overlay overlay -o lowerdir=/,upperdir={top}/up,workdir={top}/work {root}",
            f"mount --rbind /dev {root}/dev",
            f"mount --rbind /proc {root}/proc",
            f"mount --bind {self.folder}/hosts {root}/etc/hosts",
            f"cp {self.binary} {root}/phishcnn",
        ]
        for source, target, mode in mounts(service):
            inside = f"{root}{target}"
            if not source.startswith("/"):
                steps += [f"mkdir -p {inside}", f"mount -t tmpfs tmpfs {inside}", f"chown {user} {inside}"]
                continue
            make = f"mkdir -p {inside}" if Path(source).is_dir() else f"mkdir -p $(dirname {inside}); touch {inside}"
            steps += [make, f"mount --bind {source} {inside}"]
            assert mode == "ro"
        environment = " ".join(
            f"{key}={shlex.quote(str(value))}" for key, value in service.get("environment", {}).items()
        )
        steps.append(
            f"exec chroot --userspec={user} {root} env -i PATH=/usr/sbin:/usr/bin:/bin {environment} {command}"
        )
        log = (self.folder / f"{name}.log").open("w")
        inside = ["ip", "netns", "exec", f"{SPACE}-{name}", "unshare", "--mount", "sh", "-c", "\n".join(steps)]
        self.processes.append(subprocess.Popen(inside, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def run(self, *command, **options):
        return subprocess.run(["ip", "netns", "exec", SPACE, *command], capture_output=True, text=True, **options)

    def ask(self, url, body=None):
        """Status, headers and JSON of one request."""
        data = [] if body is None else ["--json", json.dumps(body)]
        done = self.run("curl", "--silent", "--include", "--max-time", "10", *data, url)
        head, _, text = done.stdout.partition("\n\n" if "\r" not in done.stdout else "\r\n\r\n")
        lines = head.splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return (
            int(lines[0].split()[1]) if lines else 0,
            headers,
            json.loads(text) if text[:1] in "{[" and text else text,
        )

    def sql(self, query):
        # Through the network, with the password, as the service does.
        user, database = (self.services["postgres"]["environment"][f"POSTGRES_{key}"] for key in ("USER", "DB"))
        environment = os.environ | {"PGPASSWORD": self.services["postgres"]["environment"]["POSTGRES_PASSWORD"]}
        host = ["--host", self.addresses["postgres"], "--username", user, "--dbname", database]
        return self.run("psql", "--tuples-only", "--no-align", *host, "--command", query, env=environment).stdout

    def logs(self):
        return "\n".join(f"{path.stem}: {path.read_text()[-1500:]}" for path in self.folder.glob("*.log"))

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.remove()


# As the image's entry point: a new database with the variables' user, password and name.
POSTGRES = """
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
data=/var/lib/postgresql/data
echo "$POSTGRES_PASSWORD" |
  initdb --pgdata $data/new --username "$POSTGRES_USER" --pwfile /dev/stdin --auth scram-sha-256
echo 'host all all all scram-sha-256' >>$data/new/pg_hba.conf
(until PGPASSWORD=$POSTGRES_PASSWORD createdb --host /tmp --username "$POSTGRES_USER" --maintenance-db postgres "$POSTGRES_DB"
 do sleep 0.3; done) &
exec postgres -D $data/new -c listen_addresses='*' -c unix_socket_directories=/tmp -c fsync=off
"""


def eventually(true, what, seconds=90):
    deadline = time.monotonic() + seconds
    while not (got := true()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)
    return got


@pytest.fixture(scope="module")
def stack(services, binary, tmp_path_factory):
    if os.geteuid():
        pytest.skip("a network and file systems of their own need root")
    folder = tmp_path_factory.mktemp("compose")
    # Other users' processes must find their way in.
    for parent in [folder, *folder.parents][:3]:
        parent.chmod(0o755)
    stack = Stack(services, binary, folder)
    try:
        stack.start("postgres", f"sh -c {shlex.quote(POSTGRES)}", "postgres")
        # Database first; in compose a service that is too early is started again.
        eventually(lambda: stack.sql("select 1").strip() == "1", stack.logs)
        for track in "stable", "canary":
            stack.start(track, "/phishcnn serve", "65532:65532")
        ready = lambda track: stack.ask(f"http://{stack.addresses[track]}:9000/readyz")[0] == 200  # noqa: E731
        eventually(lambda: ready("stable") and ready("canary"), stack.logs)
        stack.start("gateway", "haproxy -W -db -f /usr/local/etc/haproxy/haproxy.cfg", "haproxy")
        options = "--config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus"
        stack.start("prometheus", f"prometheus {options}")
        yield stack
    finally:
        stack.stop()


def test_from_the_gateway_into_the_database_and_prometheus(stack):
    gateway = f"http://{stack.addresses['gateway']}:8080"
    prometheus = f"http://{stack.addresses['prometheus']}:9090"
    eventually(lambda: stack.ask(f"{gateway}/v1/model")[0] == 200, stack.logs)
    url = "http://paypal.com.secure-login.account-verify.ru/webscr"

    def version(_):
        status, headers, answer = stack.ask(f"{gateway}/v1/score", {"url": url})
        assert status == 200 and answer["verdict"] == "phishing"
        return headers["x-phishcnn-version"]

    # 300 draws of 1 in 10 all on one side: less likely than one in 10^13.
    seen = set()
    for draw in range(300):
        seen.add(version(draw))
        if len(seen) == 2:
            break
    assert seen == {"stable", "canary"}

    status, _, _ = stack.ask(f"{gateway}/v1/feedback", {"url": url, "truth": "phishing"})
    assert status in (200, 201, 202)
    eventually(lambda: url in stack.sql("select convert_from(url, 'UTF8') from feedback"), stack.logs)

    def measured(query):
        # Nothing to quote: no spaces.
        status, _, answer = stack.ask(f"{prometheus}/api/v1/query?query={query}")
        return {r["metric"]["track"]: float(r["value"][1]) for r in answer["data"]["result"]} if status == 200 else {}

    scored = eventually(
        lambda: (
            (got := measured("sum(prediction_time_count)by(track)")).keys() == {"stable", "canary"}
            and min(got.values()) > 0
            and got
        ),
        stack.logs,
    )
    assert sum(scored.values()) >= 2
    eventually(lambda: sum(measured("sum(feedback_received_total)by(track)").values()) >= 1, stack.logs)
    groups = stack.ask(f"{prometheus}/api/v1/rules")[2]["data"]["groups"]
    assert {group["name"] for group in groups} == {"phishcnn-recordings", "phishcnn-alerts"}

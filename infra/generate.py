"""Writes what follows from the chart's values and schema; `--check` only says what is stale.

- the table of values in charts/phishcnn/README.md, from the comments of values.yaml;
- Grafana's dashboards, from dashboards.py;
- the gateway of infra/compose, from the template of the Ansible role `gateway`;
- the argument_specs and defaults of the Ansible role `phishcnn`, from schema and values.
"""

import json
import re
import sys
from pathlib import Path

import jinja2
import yaml
from dashboards import DASHBOARDS, dashboard

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts/phishcnn"
ROLE = ROOT / "infra/ansible/roles/phishcnn"
# Top-level keys that the role takes too, as `phishcnn_KEY`.
SHARED = ("version", "model", "settings", "feedback", "security", "resources", "health")
TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "object": "dict"}
OWN = {
    "phishcnn_artefact": {
        "type": "str",
        "required": True,
        "description": "Binary or Debian package (.deb): a path on the control node, or an https:// address.",
    },
    "phishcnn_artefact_sha256": {
        "type": "str",
        "required": True,
        "description": "Its SHA-256; another one stops the play.",
    },
    "phishcnn_model_files": {
        "type": "list",
        "elements": "path",
        "default": [],
        "description": "Model files on the control node, which phishcnn_model.file and .shadow name.",
    },
    "phishcnn_feedback_url": {
        "type": "str",
        "default": "",
        "no_log": True,
        "description": "postgres://USER:PASSWORD@HOST/DATABASE for phishcnn_feedback.store=postgresql. Keep it in a vault.",
    },
    "phishcnn_api_keys": {
        "type": "list",
        "elements": "str",
        "default": [],
        "no_log": True,
        "description": "Keys for phishcnn_security.api_keys. Keep them in a vault.",
    },
    "phishcnn_tls_cert": {"type": "path", "default": "", "description": "Certificate chain (PEM) on the control node."},
    "phishcnn_tls_key": {"type": "path", "default": "", "description": "Its private key (PEM) on the control node."},
    "phishcnn_keep": {
        "type": "int",
        "default": 3,
        "description": "Releases that stay on the host, the running one included.",
    },
    "phishcnn_admin_allow": {
        "type": "list",
        "elements": "str",
        "default": ["localhost"],
        "description": "Who may reach the admin address (gateway, Prometheus), and the database; as IPAddressAllow of systemd takes it.",
    },
}


def comments() -> list[tuple[str, str]]:
    """Key path and comment of each documented value, in the order of the file."""
    rows, stack, said = [], [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        indent, text = len(line) - len(line.lstrip()), line.strip()
        if text.startswith("# -- "):
            said = [text.removeprefix("# -- ")]
        elif text.startswith("# ") and said:
            said.append(text.removeprefix("# "))
        elif match := re.match(r"([A-Za-z_]+):", text):
            while stack and stack[-1][0] >= indent:
                stack.pop()
            stack.append((indent, match[1]))
            if said:
                rows.append((".".join(key for _, key in stack), " ".join(said)))
            said = []
        else:
            said = []
    return rows


def table() -> str:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    lines = ["| value | default | what |", "|---|---|---|"]
    for path, comment in comments():
        default = values
        for key in path.split("."):
            default = default[key]
        lines.append(f"| `{path}` | `{json.dumps(default)}` | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


def option(schema: dict, definitions: dict, description: str) -> dict:
    """One Ansible option from one piece of JSON schema. Patterns are checked by the role's first task."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")]
    out = {
        "type": TYPES[schema.get("type", "string")],
        "description": description or schema.get("description", "See the chart."),
    }
    if "enum" in schema:
        out["choices"] = schema["enum"]
    if "properties" in schema:
        out["options"] = {key: option(value, definitions, "") for key, value in schema["properties"].items()}
    return out


def role_files() -> dict[Path, str]:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    head = "---\n# Made by infra/generate.py from the chart; change it there.\n"
    options = {
        f"phishcnn_{key}": option(schema["properties"][key], schema["$defs"], f"As `{key}` of the chart.")
        for key in SHARED
    }
    spec = {
        "argument_specs": {
            "main": {
                "short_description": "The phishing-URL service on a host with systemd",
                "options": {**OWN, **options},
            }
        }
    }
    defaults = {name: own["default"] for name, own in OWN.items() if "default" in own}
    defaults |= {f"phishcnn_{key}": values[key] for key in SHARED}
    dump = lambda data: yaml.dump(data, Dumper=Indented, sort_keys=False, width=1000)  # noqa: E731
    checked = {key: schema["properties"][key] for key in SHARED}
    return {
        ROLE / "meta/argument_specs.yml": head + dump(spec),
        ROLE / "defaults/main.yml": head + dump(defaults),
        ROLE / "vars/main/patterns.yml": head + dump({"phishcnn_patterns": patterns(checked, schema["$defs"])}),
    }


def compose_gateway() -> str:
    """The role's configuration of HAProxy, for the names and the image of infra/compose."""
    role = ROOT / "infra/ansible/roles/gateway"
    values = yaml.safe_load((role / "defaults/main.yml").read_text())
    values |= {"gateway_listen": "*:8080", "gateway_stable": ["stable"], "gateway_canary": ["canary"]}
    values |= {"gateway_canary_weight": 10, "hostvars": {"stable": {}, "canary": {}}}
    template = jinja2.Template(
        (role / "templates/haproxy.cfg.j2").read_text(), trim_blocks=True, keep_trailing_newline=True
    )
    text = template.render(values).replace("by the Ansible role `gateway`", "by infra/generate.py")
    # The image runs HAProxy as its own user, without a socket for reloads.
    for line in "stats socket", "chroot", "user", "group", "master-worker", "# A reload hands":
        text, found = re.subn(rf"^    {line}.*\n", "", text, flags=re.M)
        assert found == 1, line
    text, found = re.subn(r"rand\(100\) lt 10 ", 'rand(100) lt "${CANARY_WEIGHT}" ', text)
    assert found == 1
    return text.rstrip("\n") + "\n"


def patterns(properties: dict, definitions: dict, path: str = "phishcnn_") -> list[dict]:
    """Regular expressions and bounds of the shared values, which argument_specs cannot express."""
    out = []
    for key, schema in properties.items():
        schema = definitions[schema["$ref"].removeprefix("#/$defs/")] if "$ref" in schema else schema
        name = f"{path}{key}"
        if "properties" in schema:
            out += patterns(schema["properties"], definitions, f"{name}.")
        elif "pattern" in schema:
            out.append(
                {"name": name, "pattern": schema["pattern"], "needs": schema.get("description", "see the chart")}
            )
        elif schema.get("type") == "integer":
            low, high = schema["minimum"], schema.get("maximum", 2**31)
            out.append({"name": name, "minimum": low, "maximum": high, "needs": f"a whole number from {low} to {high}"})
    return out


class Indented(yaml.SafeDumper):
    """Lists indented under their key, as ansible-lint wants them."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


def wanted() -> dict[Path, str]:
    readme = CHART / "README.md"
    text = readme.read_text()
    begin, end = "<!-- values -->", "<!-- /values -->"
    text = text[: text.index(begin) + len(begin)] + "\n" + table() + "\n" + text[text.index(end) :]
    boards = {CHART / f"files/dashboards/{name}.json": dashboard(name) for name in DASHBOARDS}
    return {readme: text, ROOT / "infra/compose/haproxy.cfg": compose_gateway(), **boards, **role_files()}


def main() -> int:
    stale = [path for path, text in wanted().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is stale: make -C infra generate")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted()[path])
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())

"""The chart, rendered by Helm's own code, and the schemas of what it makes."""

import json
from functools import cache
from pathlib import Path

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/phishcnn"
CASES = {path.name.removesuffix("-values.yaml"): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}
CASES["ha"] = CHART / "values-ha.yaml"
KUBERNETES = "1.37"
# Where each package keeps its custom resources, as `PACKAGE/GROUP`.
CUSTOM = {
    "argoproj.io": "argo-rollouts/argoproj.io",
    "gateway.networking.k8s.io": "gateway-api/gateway.networking.k8s.io",
    "monitoring.coreos.com": "prometheus-operator/monitoring.coreos.com",
    "networking.istio.io": "istio/networking.istio.io",
}


def values(case: str) -> dict:
    return yaml.safe_load(CASES[case].read_text()) or {}


def render(values: dict, name: str = "demo", namespace: str = "web") -> dict[str, str]:
    """Text of each template, by its path inside `templates/`; values are checked as an install does."""
    chart = helm.Chart.load(str(CHART))
    chart.validate_schema(values)
    rendered = chart.render(values, name=name, namespace=namespace)
    return {path.removeprefix("phishcnn/templates/"): text for path, text in rendered.items()}


def objects(values: dict, name: str = "demo", namespace: str = "web") -> list[dict]:
    """All objects that an install would make."""
    texts = render(values, name, namespace)
    texts.pop("NOTES.txt", None)
    return [document for text in texts.values() for document in yaml.safe_load_all(text) if document]


def find(objects: list[dict], kind: str, name: str | None = None) -> dict:
    """The one object of that kind (and name)."""
    found = [o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} {name or ''}"
    return found[0]


def validate(thing: dict) -> None:
    """Raises where the object breaks its kind's schema or has a field that the schema lacks."""
    group, _, version = thing["apiVersion"].rpartition("/")
    if group not in CUSTOM:
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)
        return
    jsonschema.Draft7Validator(custom_schema(group, version, thing["kind"])).validate(thing)


@cache
def custom_schema(group: str, version: str, kind: str) -> dict:
    modules = ROOT / "infra/tests/schemas/node_modules/@kubernetes-models"
    text = (modules / CUSTOM[group] / version / f"{kind}.js").read_text()
    begin = text.index("const schema = ") + len("const schema = ")
    return closed(json.loads(text[begin : text.index("\n};", begin)] + "\n}"))


def closed(schema):
    """Refuses unknown fields wherever the schema lists the known ones."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:  # the only one is ObjectMeta
        text = {"type": "object", "additionalProperties": {"type": "string"}}
        name = {"type": "string"}
        properties = {"name": name, "namespace": name, "labels": text, "annotations": text}
        return {"type": "object", "properties": properties, "additionalProperties": False}
    out = {key: closed(value) for key, value in schema.items()}
    # An empty list means anything, as in the patch of an EnvoyFilter.
    if schema.get("properties") and all(isinstance(v, dict) for v in schema["properties"].values()):
        out.setdefault("additionalProperties", False)
    if out.pop("nullable", False) is True and "type" in out:
        out["type"] = [out["type"], "null"]
    return out

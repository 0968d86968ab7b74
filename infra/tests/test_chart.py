"""The chart as Helm renders it: strict values, valid objects, and what each template promises."""

import copy
import re

import helm_python as helm
import pytest
import yaml
from chart import CASES, CHART, ROOT, find, objects, render, validate, values

GOLDEN = ROOT / "infra/tests/golden"
WRONG = sorted((ROOT / "infra/tests/wrong-values").glob("*.yaml"))


def pod(objects, name):
    return find(objects, "Deployment", name)["spec"]["template"]["spec"]


@pytest.mark.parametrize("case", CASES)
def test_lint(case):
    messages = helm.lint(str(CHART), values(case), strict=True)
    assert messages["errors"] == []
    assert [m for m in messages["messages"] if m["severity"] > 1] == []


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_wrong_values_are_refused_by_name(path):
    first, text = path.read_text().split("\n", 1)
    with pytest.raises(helm.HelmError) as refused:
        render(yaml.safe_load(text))
    assert first.removeprefix("# says: ") in str(refused.value)


def test_there_are_enough_wrong_values():
    assert len(WRONG) >= 20


@pytest.mark.parametrize("case", CASES)
def test_objects_are_valid(case):
    made = objects(values(case))
    assert len(made) > 5
    for thing in made:
        validate(thing)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ["spec", "template", "spec", "containers", 0, "imagePullPolicie"], "Always"),
        ("NetworkPolicy", ["spec", "egres"], []),
        ("HorizontalPodAutoscaler", ["spec", "minReplica"], 1),
        ("VirtualService", ["spec", "http", 0, "route", 0, "wight"], 10),
        ("DestinationRule", ["spec", "trafficPolicy", "tls"], {"mode": "SIMPEL"}),
        ("Gateway", ["spec", "servers", 0, "port", "nummer"], 80),
        ("EnvoyFilter", ["spec", "configPatches", 0, "applyTo"], "HTTP_FILTERS"),
        ("ServiceMonitor", ["spec", "endpoints", 0, "intervall"], "30s"),
        ("PrometheusRule", ["spec", "groups", 0, "rules", 0, "expression"], "1"),
    ],
)
def test_validation_notices_misspelt_fields(kind, path, value):
    thing = copy.deepcopy([o for o in objects(values("canary")) if o["kind"] == kind][0])
    inner = thing
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(Exception, match=str(path[-1])):
        validate(thing)


@pytest.mark.parametrize("case", CASES)
def test_golden(case):
    """What changed in the objects is seen in review; `make -C infra golden` writes them anew."""
    golden = (GOLDEN / f"{case}.yaml").read_text()
    assert golden == golden_text(case), "see the difference with `make -C infra golden && git diff infra/tests/golden`"


def golden_text(case):
    # Rules and dashboards have tests and reviews of their own.
    texts = {k: v for k, v in render(values(case)).items() if k not in ("prometheusrule.yaml", "dashboards.yaml")}
    return "".join(f"# {path}\n{text.strip()}\n" for path, text in sorted(texts.items()) if text.strip())


def test_pods_are_locked_down():
    for case in CASES:
        for thing in objects(values(case)):
            spec = thing["spec"]["template"]["spec"] if thing["kind"] == "Deployment" else thing.get("spec", {})
            for container in spec.get("containers", []):
                security = container["securityContext"]
                assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
                assert security["capabilities"] == {"drop": ["ALL"]}
                assert spec["securityContext"]["runAsNonRoot"]
                assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
                assert spec["automountServiceAccountToken"] is False
                assert spec["enableServiceLinks"] is False
                assert container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_deployment_restarts_for_new_settings_only():
    def digests(extra):
        made = objects(values("canary") | extra)
        deployments = [o for o in made if o["kind"] == "Deployment"]
        annotations = [d["spec"]["template"]["metadata"]["annotations"] for d in deployments]
        return [a["checksum/settings"] for a in annotations]

    assert digests({}) == digests({"service": {"port": 81}})
    before, after = digests({}), digests({"settings": {"max_urls": 7}})
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_selectors_never_change():
    old, new = objects({}), objects({"version": "0.9.0", "podLabels": {"team": "mail"}})
    for made in old, new:
        deployment = find(made, "Deployment")
        labels = deployment["spec"]["selector"]["matchLabels"]
        assert labels.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance", "track"}
        assert labels.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert find(new, "Deployment")["spec"]["template"]["metadata"]["labels"]["team"] == "mail"


def test_two_releases_share_a_namespace():
    def names(release):
        return {
            (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"])
            for o in objects(values("canary"), release)
        }

    assert not names("one") & names("two")
    # And one name in two namespaces, although the gateway's filters lie in a third.
    filters = [find(objects(values("canary"), "one", space), "EnvoyFilter")["metadata"] for space in ("a", "b")]
    assert filters[0]["name"] != filters[1]["name"]


def test_one_image_tag_or_digest():
    assert pod(objects({"version": "0.9.0"}), None)["containers"][0]["image"] == "phishcnn:0.9.0"
    made = objects(values("gateway-api"))
    assert "@sha256:" in pod(made, "urls")["containers"][0]["image"]
    assert pod(made, "urls-canary")["containers"][0]["image"] == "registry.example.org/phishcnn:0.2.0-rc.1"


def test_canary_has_its_own_model():
    made = objects(values("canary"))
    stable, canary = (find(made, "ConfigMap", name)["data"] for name in ("demo-phishcnn", "demo-phishcnn-canary"))
    assert canary.pop("PHISHCNN_MODEL") == "/var/lib/phishcnn/models/candidate.safetensors"
    assert stable == canary
    mounts = pod(made, "demo-phishcnn-canary")["containers"][0]["volumeMounts"]
    assert {"name": "models", "mountPath": "/var/lib/phishcnn/models", "readOnly": True} in mounts


def test_secrets_are_only_referred_to():
    made = objects(values("canary"))
    env = pod(made, "demo-phishcnn")["containers"][0]["env"]
    reference = {"secretKeyRef": {"name": "phishcnn-feedback", "key": "url"}}
    assert env == [{"name": "PHISHCNN_FEEDBACK", "valueFrom": reference}]
    assert "PHISHCNN_FEEDBACK" not in find(made, "ConfigMap", "demo-phishcnn")["data"]
    assert not [o for case in CASES for o in objects(values(case)) if o["kind"] == "Secret"]


def test_sqlite_has_one_writer_and_a_kept_volume():
    made = objects(values("sqlite"))
    deployment = find(made, "Deployment")["spec"]
    assert deployment["replicas"] == 1 and deployment["strategy"] == {"type": "Recreate"}
    claim = find(made, "PersistentVolumeClaim")["metadata"]
    assert claim["annotations"]["helm.sh/resource-policy"] == "keep"
    volumes = {v["name"]: v for v in deployment["template"]["spec"]["volumes"]}
    assert volumes["feedback"]["persistentVolumeClaim"]["claimName"] == claim["name"]
    assert not [o for o in objects({}) if o["kind"] == "PersistentVolumeClaim"]


def test_probes_ask_the_admin_port():
    container = pod(objects({"settings": {"admin_listen": "0.0.0.0:9999"}, "health": {"interval": 7}}), None)[
        "containers"
    ][0]
    assert {"name": "admin", "containerPort": 9999} in container["ports"]
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "admin"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert container["readinessProbe"]["periodSeconds"] == 7


def test_grace_outlasts_the_shutdown():
    spec = pod(objects({}), None)
    settings = yaml.safe_load((CHART / "values.yaml").read_text())["settings"]
    seconds = [int(settings[key].removesuffix("s")) for key in ("shutdown_delay", "shutdown_timeout")]
    assert spec["terminationGracePeriodSeconds"] > sum(seconds)


def test_network_policy_closes_everything_else():
    policy = find(objects({}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and policy["egress"] == []
    assert [[p["port"] for p in rule["ports"]] for rule in policy["ingress"]] == [["http"], ["admin"]]
    assert all(rule["from"] for rule in policy["ingress"])
    policy = find(objects(values("canary")), "NetworkPolicy")["spec"]
    dns, database = policy["egress"]
    assert {p["port"] for p in dns["ports"]} == {53} and dns["to"]
    assert database == {"ports": [{"port": 5432}], "to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}]}
    spaces = [
        peer["namespaceSelector"]["matchLabels"] for peer in policy["ingress"][0]["from"] if "namespaceSelector" in peer
    ]
    assert [list(labels.values())[0] for labels in spaces] == ["istio-system", "shop"]


def test_autoscaling_owns_the_replicas():
    made = objects(values("canary"))
    assert "replicas" not in find(made, "Deployment", "demo-phishcnn")["spec"]
    assert find(made, "Deployment", "demo-phishcnn-canary")["spec"]["replicas"] == 1
    scaler = find(made, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "demo-phishcnn"
    assert [metric["type"] for metric in scaler["metrics"]] == ["Resource", "Pods"]


def test_disruption_budget_counts_stable_pods():
    made = objects({})
    selector = find(made, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert selector == find(made, "Deployment")["spec"]["selector"]["matchLabels"]


def test_services_reach_the_pods():
    for case in CASES:
        made = objects(values(case))
        pods = [d["spec"]["template"] for d in made if d["kind"] == "Deployment"]
        for service in (o for o in made if o["kind"] == "Service"):
            selected = [p for p in pods if service["spec"]["selector"].items() <= p["metadata"]["labels"].items()]
            assert selected, service["metadata"]["name"]
            ports = {port["name"] for p in selected for port in p["spec"]["containers"][0]["ports"]}
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_istio_weighs_and_sticks():
    made = objects(values("canary"))
    routes = {route["name"]: route for route in find(made, "VirtualService")["spec"]["http"]}
    # The first route that matches wins: what is asked for, then what was got before, then chance.
    assert list(routes) == [
        "asked-for-canary",
        "asked-for-stable",
        "stays-with-canary",
        "stays-with-stable",
        "weighted",
    ]
    weighted = {r["destination"]["subset"]: r for r in routes["weighted"]["route"]}
    assert {subset: r["weight"] for subset, r in weighted.items()} == {"stable": 90, "canary": 10}
    subsets = {s["name"]: s["labels"] for s in find(made, "DestinationRule")["spec"]["subsets"]}
    for subset, route in weighted.items():
        name = "demo-phishcnn" + ("-canary" if subset == "canary" else "")
        labels = find(made, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert subsets[subset].items() <= labels.items()
        # The cookie that is set is the one that the other routes know; Envoy matches it in full.
        cookie = route["headers"]["response"]["add"]["set-cookie"].split(";")[0]
        expression = routes[f"stays-with-{subset}"]["match"][0]["headers"]["cookie"]["regex"]
        for sent in cookie, f"a=b; {cookie}", f"{cookie}; c=d":
            assert re.fullmatch(expression, sent)
        for sent in f"{cookie}2", f"x{cookie}", f"a={cookie}":
            assert not re.fullmatch(expression, sent)


def test_no_canary_no_weights():
    made = objects({"istio": {"enabled": True}})
    [route] = find(made, "VirtualService")["spec"]["http"]
    assert [r["destination"]["subset"] for r in route["route"]] == ["stable"]
    assert "weight" not in route["route"][0]


def test_rate_limit_defaults_to_ten_a_minute():
    patches = find(objects({"istio": {"enabled": True, "rateLimit": {"enabled": True}}}), "EnvoyFilter")["spec"][
        "configPatches"
    ]
    [filter_, host] = patches
    assert filter_["applyTo"] == "HTTP_FILTER"
    assert host["match"]["routeConfiguration"]["vhost"]["name"] == "phishcnn.example.com:80"
    limit = host["patch"]["value"]["typed_per_filter_config"]["envoy.filters.http.local_ratelimit"]
    assert limit["token_bucket"] == {"max_tokens": 10, "tokens_per_fill": 10, "fill_interval": "60s"}
    assert limit["response_headers_to_add"][0]["header"] == {"key": "retry-after", "value": "60"}


def test_gateway_api_weighs_services():
    made = objects(values("gateway-api"))
    [rule] = find(made, "HTTPRoute")["spec"]["rules"]
    assert {b["name"]: b["weight"] for b in rule["backendRefs"]} == {"urls-stable-route": 75, "urls-canary-route": 25}
    for backend in rule["backendRefs"]:
        find(made, "Service", backend["name"])


def test_monitoring_carries_the_rules_and_dashboards():
    made = objects(values("canary"))
    assert find(made, "PrometheusRule")["spec"] == yaml.safe_load((CHART / "files/rules.yml").read_text())
    dashboards = find(made, "ConfigMap", "demo-phishcnn-dashboards")["data"]
    assert dashboards == {p.name: p.read_text() for p in (CHART / "files/dashboards").iterdir()}
    monitor = find(made, "ServiceMonitor")["spec"]
    service = find(made, "Service", "demo-phishcnn-admin")
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    # Not the public Service too: its port has no metrics.
    assert (
        not monitor["selector"]["matchLabels"].items()
        <= find(made, "Service", "demo-phishcnn")["metadata"]["labels"].items()
    )
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_analysis_fails_without_numbers():
    made = objects(values("canary"))
    template, run = find(made, "AnalysisTemplate"), find(made, "AnalysisRun")
    assert template["spec"] == run["spec"] and len(run["spec"]["metrics"]) == 2
    for metric in run["spec"]["metrics"]:
        assert metric["successCondition"].startswith("len(result) == 1 && result[0] <= ")
        # Nothing is forgiven: neither a failure, nor an error of the query.
        assert {metric[f"{kind}Limit"] for kind in ("failure", "inconclusive", "consecutiveError")} == {0}
    other = copy.deepcopy(values("canary"))
    other["canary"]["weight"] = 50
    assert find(objects(other), "AnalysisRun")["metadata"]["name"] != run["metadata"]["name"]


def test_helm_test_asks_the_service():
    made = objects({})
    hook = find(made, "Pod")
    assert hook["metadata"]["annotations"]["helm.sh/hook"] == "test"
    base = hook["spec"]["containers"][0]["env"][0]["value"]
    assert base == f"http://{find(made, 'Service', 'demo-phishcnn')['metadata']['name']}:80"
    # The network policy knows the pod.
    peers = find(made, "NetworkPolicy")["spec"]["ingress"][0]["from"]
    labels = [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]
    assert labels[0].items() <= hook["metadata"]["labels"].items()


def test_notes_name_the_next_step():
    notes = render({})["NOTES.txt"]
    for command in "rollout status deployment/demo-phishcnn", "helm -n web test demo", "helm -n web rollback demo":
        assert command in notes
    assert (
        "The canary gets 10 % of the requests; the header `x-phishcnn-version: canary`"
        in render(values("canary"))["NOTES.txt"]
    )
    assert "2 stable, 1 canary" in render({"canary": {"enabled": True, "version": "0.2.0"}})["NOTES.txt"]

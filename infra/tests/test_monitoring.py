"""Rules and dashboards: tested by promtool, and run on a Prometheus that scrapes two services under load."""

import json
import re
import subprocess
import urllib.request

import pytest
import yaml
from chart import ROOT, find, objects, values
from watched import RULES, numbers, query, until, watched

INFRA = ROOT / "infra"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((INFRA / "grafana").glob("*.json"))}
QUERIES = {
    f"{name}: {panel['title']} {target['refId']}": target["expr"]
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
} | {rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule}


ANALYSIS = {
    f"analysis: {metric['name']}": metric["provider"]["prometheus"]["query"]
    for metric in find(objects(values("canary")), "AnalysisRun")["spec"]["metrics"]
}
QUERIES |= ANALYSIS


def test_rules_fire_and_resolve():
    done = subprocess.run(
        ["promtool", "test", "rules", "rules_test.yml"], cwd=RULES.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_has_a_runbook():
    tests = yaml.safe_load((RULES.parent / "rules_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == ALERTS.keys()
    # Each also has a moment without it, later than one with it.
    for name in ALERTS:
        moments = [(int(c["eval_time"][:-1]), bool(c.get("exp_alerts"))) for c in cases if c["alertname"] == name]
        fires, rests = ([minute for minute, firing in moments if firing == wanted] for wanted in (True, False))
        assert max(rests) > min(fires), name
    pages = {path.stem: path.read_text() for path in (INFRA / "runbooks").glob("*.md")}
    assert pages.keys() == ALERTS.keys()
    for name, page in pages.items():
        assert ALERTS[name]["annotations"]["runbook"] == f"infra/runbooks/{name}.md"
        assert page.startswith(f"# {name}\n") and "\n## Look\n" in page and "\n## Act\n" in page


@pytest.fixture(scope="module")
def prometheus(binary, tmp_path_factory):
    with watched(binary, tmp_path_factory.mktemp("monitoring")) as base:
        yield base


@pytest.mark.parametrize("name", QUERIES)
def test_query_returns_numbers(name, prometheus):
    until(lambda: numbers(prometheus, QUERIES[name]), 20, f"no data for {QUERIES[name]}")


@pytest.mark.parametrize("name", ANALYSIS)
def test_analysis_of_nobody_has_no_number(name, prometheus):
    assert numbers(prometheus, ANALYSIS[name].replace('"canary"', '"nobody"')) == []


def test_tracks_are_told_apart(prometheus):
    def tracks():
        return {r["metric"]["track"] for r in query(prometheus, "phishcnn:requests:rate5m")}

    until(lambda: tracks() == {"stable", "canary"}, 20, "both tracks have a rate")
    assert tracks() == {"stable", "canary"}


def test_alerts_use_metrics_that_exist(prometheus):
    """An alert is silent as it should be, or because a name is misspelt; this tells the two apart."""
    for name, rule in ALERTS.items():
        used = re.findall(r"\b(?:up|phishcnn[\w:]*)\b", re.sub('"[^"]*"', "", rule["expr"]))
        assert used, name
        for metric in used:
            assert query(prometheus, metric), f"{name}: {metric}"


def test_no_alert_fires_without_a_reason(prometheus):
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules") as answer:
        groups = json.load(answer)["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == sum(len(group["rules"]) for group in GROUPS)
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert [rule["name"] for rule in rules if rule.get("state") == "firing"] == []

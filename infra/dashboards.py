"""Grafana's dashboards, from a short list of panels; infra/generate.py writes the JSON.

Each query is executed by infra/tests/test_monitoring.py against a Prometheus that scrapes the
service, so that no panel stays empty by mistake.
"""

import json

# Dashboard: rows of panels; a panel is (title, unit, {legend: query}).
DASHBOARDS = {
    "service": [
        (
            "Requests per second",
            "reqps",
            {"{{track}} {{status}}": "sum by (track, status) (rate(phishcnn_requests_total[5m]))"},
        ),
        ("Share of answers 5xx", "percentunit", {"{{track}}": "phishcnn:errors:ratio_rate5m"}),
        (
            "Time to answer, 99 of 100 scores",
            "s",
            {"{{track}}": "phishcnn:request_duration_seconds:p99_5m"},
        ),
        (
            "Time to answer, mean by route",
            "s",
            {
                "{{track}} {{route}}": "sum by (track, route) (rate(phishcnn_request_duration_seconds_sum[5m]))"
                " / (sum by (track, route) (rate(phishcnn_request_duration_seconds_count[5m])) > 0)"
            },
        ),
        (
            "Time to score one URL, mean",
            "s",
            {
                "{{track}}": "sum by (track) (rate(prediction_time_sum[5m]))"
                " / (sum by (track) (rate(prediction_time_count[5m])) > 0)"
            },
        ),
        ("Requests at work", "short", {"{{instance}}": "phishcnn_requests_in_flight"}),
        ("Connections", "short", {"{{instance}}": "phishcnn_connections"}),
        (
            "Connections refused or closed for want of room, per second",
            "short",
            {
                "refused {{instance}}": "rate(phishcnn_connections_refused_total[5m])",
                "closed {{instance}}": "rate(phishcnn_connections_evicted_total[5m])",
            },
        ),
        (
            "URLs per request, mean",
            "short",
            {
                "{{track}}": "sum by (track) (rate(phishcnn_batch_urls_sum[5m])) / (sum by (track) (rate(phishcnn_batch_urls_count[5m])) > 0)"
            },
        ),
        ("Memory", "bytes", {"{{instance}}": 'process_resident_memory_bytes{job="phishcnn"}'}),
        ("CPU, cores", "short", {"{{instance}}": 'rate(process_cpu_seconds_total{job="phishcnn"}[5m])'}),
        ("Feedback waiting to be stored", "short", {"{{instance}}": "phishcnn_feedback_queue_depth"}),
    ],
    "model": [
        (
            "Share of each verdict",
            "percentunit",
            {
                "{{track}} {{verdict}}": "sum by (track, verdict) (rate(phishcnn_verdicts_total[5m]))"
                " / on (track) group_left () (sum by (track) (rate(phishcnn_verdicts_total[5m])) > 0)"
            },
        ),
        ("Share called phishing, one hour", "percentunit", {"{{track}}": "phishcnn:flagged:ratio_rate1h"}),
        ("Logits, stable", "heatmap", {"{{le}}": 'sum by (le) (increase(phishcnn_logit_bucket{track="stable"}[5m]))'}),
        ("Logits, canary", "heatmap", {"{{le}}": 'sum by (le) (increase(phishcnn_logit_bucket{track="canary"}[5m]))'}),
        (
            "Drift of the input (0.25 is much)",
            "short",
            {"{{track}} {{feature}}": "max by (track, feature) (phishcnn_input_drift_psi)"},
        ),
        ("Length of the URLs", "heatmap", {"{{le}}": "sum by (le) (increase(url_length_bucket[5m]))"}),
        (
            "Phishing verdicts that people call right",
            "percentunit",
            {"{{track}}": "min by (track) (phishcnn_feedback_precision)"},
        ),
        ("All predictions that people call right", "percentunit", {"{{track}}": "min by (track) (model_performance)"}),
        ("Feedback per second", "short", {"{{track}}": "sum by (track) (rate(feedback_received_total[5m]))"}),
        (
            "Live against shadow",
            "short",
            {"live {{live}}, shadow {{shadow}}": "sum by (live, shadow) (rate(phishcnn_shadow_urls_total[5m]))"},
        ),
    ],
    "rollout": [
        ("Instances", "short", {"{{track}}": 'sum by (track) (up{job="phishcnn"})'}),
        ("Releases", "short", {"{{track}} {{version}}": "count by (track, version) (phishcnn_build_info)"}),
        (
            "Models",
            "short",
            {
                "{{track}} {{name}} {{model_version}} {{sha256}}": 'count by (track, name, model_version, sha256) (phishcnn_model_info{role="live"})'
            },
        ),
        (
            "The canary's share of the requests",
            "percentunit",
            {"canary": 'phishcnn:requests:rate5m{track="canary"} / on () sum(phishcnn:requests:rate5m)'},
        ),
        ("Share of answers 5xx", "percentunit", {"{{track}}": "phishcnn:errors:ratio_rate5m"}),
        ("Share called phishing", "percentunit", {"{{track}}": "phishcnn:flagged:ratio_rate1h"}),
        (
            "Exchanges of the model",
            "short",
            {"{{track}} {{result}}": "sum by (track, result) (increase(phishcnn_model_reloads_total[1h]))"},
        ),
        ("Since the start", "s", {"{{instance}}": 'time() - process_start_time_seconds{job="phishcnn"}'}),
    ],
}


def dashboard(name: str) -> str:
    panels = []
    for number, (title, unit, queries) in enumerate(DASHBOARDS[name]):
        heatmap = unit == "heatmap"
        targets = [
            {"refId": chr(65 + i), "expr": query, "legendFormat": legend, **({"format": "heatmap"} if heatmap else {})}
            for i, (legend, query) in enumerate(queries.items())
        ]
        panels.append(
            {
                "id": number + 1,
                "title": title,
                "type": "heatmap" if heatmap else "timeseries",
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "gridPos": {"x": 12 * (number % 2), "y": 8 * (number // 2), "w": 12, "h": 8},
                "targets": targets,
                **({} if heatmap else {"fieldConfig": {"defaults": {"unit": unit}, "overrides": []}}),
            }
        )
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    whole = {
        "uid": f"phishcnn-{name}",
        "title": f"PhishCNN: {name}",
        "tags": ["phishcnn"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"

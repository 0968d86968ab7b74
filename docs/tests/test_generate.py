"""What `docs/generate.py` quotes is the product's, whatever the shell has set."""

import re
import sys

import generate

# Answers as the command line and the service do, with the names of the settings that reached it.
PROGRAM = f"""#!{sys.executable}
import http.server, json, os, sys
told = json.dumps(sorted(name for name in os.environ if name.startswith("PHISHCNN_"))).encode()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200), self.end_headers(), self.wfile.write(told)
if "serve" in sys.argv:
    service = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    print(f"listening on http://127.0.0.1:{{service.server_port}}", file=sys.stderr, flush=True)
    service.serve_forever()
print(told.decode())
"""


def test_settings_of_the_shell_change_nothing(tmp_path, monkeypatch):
    program = tmp_path / "phishcnn"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setattr(generate, "BINARY", program)
    monkeypatch.setenv("PHISHCNN_MODEL", "/another/model.safetensors")
    monkeypatch.setenv("PHISHCNN_LISTEN", "127.0.0.1:1")
    assert generate.binary("score") == "[]\n"
    assert generate.openapi() == []


def test_the_baselines_are_dated_as_in_the_cards():
    (told,) = re.findall(r"^Baselines: (.*?)\n\n", (generate.ROOT / "weights/DATA.md").read_text(), re.M | re.S)
    (day,) = re.findall(r"\d{4}-\d\d-\d\d", told)
    dated = {key.partition("/")[2] for key, title in generate.MODELS.items() if title.endswith(f" rows of {day}")}
    assert dated == set(re.findall("`([\\w-]+)`", told.partition(" learned ")[0]))


def test_what_padding_and_the_large_model_do_is_counted_from_the_metrics(monkeypatch):
    found = {
        "models/phishcnn-compact": {
            "path padded": (50, 20, 40),
            "query padded": (50, 25, 30),
            "URL in query": (50, 50, 5),
        },
        "models/phishcnn-large": {
            "path padded": (60, 30, 35),
            "query padded": (60, 45, 30),
            "URL in query": (60, 9, 55),
        },
    }

    def counts(before, after, lost):
        return {"rows": 100, **dict.fromkeys(generate.THRESHOLDS, {"before": before, "after": after, "lost": lost})}

    told = {
        name: {
            "evasion": {
                "phishing": {change: counts(*c) for change, c in changes.items()},
                "legitimate": {"URL in query": counts(1, 7, 0)},
            }
        }
        for name, changes in found.items()
    }
    monkeypatch.setattr(generate, "metrics", lambda name="models/phishcnn-compact": told[name])
    kept = "20 % behind a padded path, 40 % behind a padded query and 90 % behind a redirect"
    assert generate.padding().endswith(f" still finds {kept}")
    assert "behind a redirect 9.0 % / 9.0 % (the embedded one 50.0 % / 50.0 %)" in generate.large()
    large = "7.0 % / 7.0 % of the legitimate and 9.0 % / 9.0 % of the phishing ones (`phishcnn-large`)"
    assert generate.rewritten(("phishcnn-compact", "phishcnn-large")).endswith(large)
